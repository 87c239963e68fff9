// What a request promises when it is answered, and what it tells the device with each bio.

import Block
import DirectIO
import IOVector
import Memory
import TestSupport
import Testing

@Suite("A durable write")
struct DurabilityTests {
  private func fixture() throws -> EngineFixture {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 17)
    device.record = []
    return try EngineFixture(device: device)
  }

  private func write(_ range: Range<Int>, dataOffset: Int = 0) -> DirectRequest {
    var request = DirectRequest(
      isWrite: true, unique: 1, inode: 2, fileOffset: range.lowerBound,
      deviceOffset: range.lowerBound, length: range.count, dataOffset: dataOffset,
      shape: RequestShape())
    request.isDurable = true
    return request
  }

  @Test(
    "of one bio makes that one durable",
    arguments: [0..<4096, 512..<1024, 100..<200, 100..<1000, 0..<65536])
  func forced(range: Range<Int>) throws {
    let fixture = try fixture()
    try fixture.transfer(write(range))
    let writes = try #require(fixture.device.record).filter { $0.operation == .write }
    #expect(writes.count == 1 && writes[0].flags == .fua)
    #expect(fixture.device.flushes == 0)
  }

  @Test("of several bios is followed by a flush", arguments: [100..<8192, 100..<9000, 0..<8200])
  func flushed(range: Range<Int>) throws {
    let fixture = try fixture()
    try fixture.transfer(write(range, dataOffset: range.lowerBound % 512))
    try expectFlushAtEnd(fixture)
  }

  private func expectFlushAtEnd(_ fixture: EngineFixture) throws {
    let record = try #require(fixture.device.record)
    #expect(record.last?.operation == .flush && fixture.device.flushes == 1)
    let writes = record.filter { $0.operation == .write }
    #expect(writes.count > 1 && writes.allSatisfy { $0.flags.isEmpty })
  }

  @Test("over two extents is followed by a flush, and so is one that is padded")
  func extents() throws {
    let two = try fixture()
    var request = write(0..<8192)
    request.extent = nil
    try two.transfer(
      request,
      extents: [
        Extent(deviceOffset: 0, byteCount: 4096, kind: .mapped),
        Extent(deviceOffset: 16384, byteCount: 4096, kind: .mapped),
      ])
    try expectFlushAtEnd(two)
    let padded = try fixture()
    var fresh = write(512..<1024)
    fresh.extent?.kind = .new
    fresh.zeroing = .typed(blockBytes: 4096)
    try padded.transfer(fresh)
    try expectFlushAtEnd(padded)
  }

  @Test("that failed is not flushed")
  func failed() throws {
    let fixture = try fixture()
    fixture.device.failureInterval = 1
    #expect(fixture.result(of: write(100..<9000)) == .ioError)
    #expect(fixture.device.flushes == 0)
  }

  @Test("that is not asked for tells the device nothing")
  func plain() throws {
    let fixture = try fixture()
    var request = write(0..<4096)
    request.isDurable = false
    try fixture.transfer(request)
    #expect(fixture.device.record?.map(\.flags) == [[]] && fixture.device.flushes == 0)
  }

  @Test("that finishes in the volume is flushed when it is asked to, and keeps its gate until then")
  func volume() throws {
    let fixture = try fixture()
    var request = write(100..<200)
    request.finishesInVolume = true
    fixture.start(0, request)
    fixture.start(1, write(300..<400))
    var ended: [Ended] = []
    while ended.isEmpty { ended = fixture.turn(releases: false) }
    for _ in 0..<50 { ended += fixture.turn(releases: false) }
    #expect(ended.map(\.request) == [0])
    #expect(fixture.device.record?.map(\.flags) == [[], []] && fixture.device.flushes == 0)
    fixture.engines[0].startFlush(0)
    #expect(Set(fixture.finish(2).map(\.request)) == [0, 1])
    #expect(fixture.device.flushes == 1 && fixture.isBalanced)
  }

  @Test("counts its time from its arrival")
  func latency() throws {
    let fixture = try fixture()
    var request = write(0..<4096)
    request.arrivalNanoseconds = monotonicNanoseconds() - 5_000_000
    fixture.start(0, request)
    #expect(fixture.finish(1)[0].latencyNanoseconds >= 5_000_000)
  }

  @Test("has the time that it waited apart from that for which its pages were held")
  func queueTime() throws {
    let fixture = try fixture()
    func sums() -> [Int] {
      [Distribution.queueNanoseconds, .pinHoldNanoseconds].map { fixture.counters.total(of: $0) }
    }
    // Who starts at once has not waited, and has its pages from its arrival on.
    var request = write(0..<4096)
    request.arrivalNanoseconds = monotonicNanoseconds() - 5_000_000
    fixture.start(0, request)
    _ = fixture.finish(1)
    #expect(sums()[0] == 0 && sums()[1] >= 5_000_000)
    // Who has waited for the volume got its pages just now.
    let before = sums()
    request = write(4096..<8192)
    request.arrivalNanoseconds = monotonicNanoseconds() - 3_600_000_000_000
    request.beginning = .delayed
    fixture.start(0, request)
    _ = fixture.finish(1)
    #expect(sums()[0] - before[0] >= 3_600_000_000_000)
    #expect(sums()[1] - before[1] < 3_600_000_000_000)
    // A request's later parts have waited in no queue.
    let after = sums()
    request.beginning = .continued
    fixture.start(0, request)
    _ = fixture.finish(1)
    #expect(sums()[0] == after[0])
    #expect(sums()[1] - after[1] < 3_600_000_000_000)
  }
}

@Suite("What a bio says")
struct BioFlagTests {
  private func fixture() throws -> EngineFixture {
    let device = ScriptedDevice(byteCount: (1 << 20) + 1024, blockSize: 512, seed: 17)
    device.record = []
    return try EngineFixture(device: device)
  }

  private func write(_ range: Range<Int>, kind: IOVIter.Kind = .ubuf) -> DirectRequest {
    var request = DirectRequest(
      isWrite: true, unique: 1, inode: 2, fileOffset: range.lowerBound,
      deviceOffset: range.lowerBound, length: range.count, dataOffset: 0,
      shape: RequestShape(kind: kind))
    request.mayUseHostCache = true
    return request
  }

  @Test("lets a small partial write, and nothing else, through the host's page cache")
  func cached() throws {
    let fixture = try fixture()
    try fixture.transfer(write(1000..<2000))
    #expect(
      fixture.device.record == [
        RecordedBio(operation: .read, offset: 0, byteCount: 4096, flags: .cached),
        RecordedBio(operation: .write, offset: 0, byteCount: 4096, flags: .cached),
      ])
    for range in [0..<512, 512..<4096, 0..<8192] {
      fixture.device.record = []
      try fixture.transfer(write(range))
      #expect(fixture.device.record?.contains { $0.flags.contains(.cached) } == false)
    }
  }

  @Test("spans pages of the host, and stops where the device does")
  func edges() throws {
    let fixture = try fixture()
    try fixture.transfer(write(4000..<4200))
    let writes = try #require(fixture.device.record).filter { $0.operation == .write }
    #expect(writes.map { [$0.offset, $0.byteCount] } == [[0, 8192]])
    fixture.device.record = []
    try fixture.transfer(write((1 << 20) + 10..<(1 << 20) + 20))
    #expect(fixture.device.record?.map(\.byteCount) == [1024, 1024])
    #expect(fixture.device.record?.allSatisfy { $0.flags == .cached } == true)
  }

  @Test("does not go through the cache where the volume does not vouch, or pages are shared")
  func refused() throws {
    let fixture = try fixture()
    var request = write(1000..<2000)
    request.mayUseHostCache = false
    try fixture.transfer(request)
    request = write(1000..<2000)
    request.extent?.deviceOffset = 1000 + 512
    try fixture.transfer(request)
    #expect(fixture.device.record?.contains { $0.flags.contains(.cached) } == false)
  }

  @Test("names memory that can be registered beforehand, for whole segments of pages")
  func registered() throws {
    let fixture = try fixture()
    for (kind, isRegistered) in [(IOVIter.Kind.bvec, true), (.ubuf, false), (.xarray, false)] {
      fixture.device.record = []
      try fixture.transfer(write(0..<8192, kind: kind))
      #expect(fixture.device.record?.map(\.flags) == [isRegistered ? .registered : []])
    }
  }
}

@Suite("A file's gate")
struct FileGateTests {
  private func write(_ range: Range<Int>) -> DirectRequest {
    DirectRequest(
      .write, unique: 1, inode: 2, fileOffset: range.lowerBound, length: range.count,
      shape: RequestShape())
  }

  @Test("keeps that file's writes apart, and no other's")
  func independent() throws {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 23)
    let fixture = try EngineFixture(device: device)
    let other = fixture.anotherGate()
    let here = [Extent(deviceOffset: 100, byteCount: 50, kind: .mapped)]
    let there = [Extent(deviceOffset: 8292, byteCount: 50, kind: .mapped)]
    fixture.start(0, write(100..<150), extents: here)
    fixture.start(1, write(100..<150), extents: there, gate: other)
    #expect(!fixture.engines[0].hasParkedRequests)
    fixture.start(2, write(100..<150), extents: there, gate: other)
    #expect(fixture.engines[0].hasParkedRequests)
    fixture.finish(3)
    #expect(fixture.isBalanced)
  }

  @Test("holds a request whose extents have changed until it has been told the new ones")
  func stale() throws {
    let device = ScriptedDevice(byteCount: 1 << 16, blockSize: 512, seed: 23)
    let fixture = try EngineFixture(device: device)
    let engine = fixture.engines[0]
    let buffer = unsafe fixture.buffer(engine: 0, request: 1, offset: 0, count: 512)
    unsafe _ = buffer.initializeMemory(as: UInt8.self, repeating: 7)
    var request = write(0..<512)
    request.mappingAge = fixture.gate.mappingAge
    fixture.gate.noteMappingChange()
    fixture.start(1, request, extents: [Extent(deviceOffset: 0, byteCount: 512, kind: .mapped)])
    #expect(engine.inFlightCount == 0 && engine.hasParkedRequests)
    let slot = try #require(engine.nextStale())
    #expect(slot == Slot(1) && engine.nextStale() == nil)
    fixture.buffers[extents: slot].removeAll()
    fixture.buffers[extents: slot].append(
      Extent(deviceOffset: 4096, byteCount: 512, kind: .mapped))
    engine.resume(slot)
    fixture.finish(1)
    #expect(device.bytes[0] == 0 && device.bytes[4096] == 7)
    #expect(fixture.isBalanced && !engine.hasParkedRequests)
  }
}
