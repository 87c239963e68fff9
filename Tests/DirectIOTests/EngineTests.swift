// The direct-I/O engine against plain arrays.

import Block
import DirectIO
import Glibc
import IOVector
import Memory
import TestSupport
import Testing

/// One way to present a buffer, and the device's block size.
struct Presentation: CustomTestStringConvertible, Sendable {
  var kind: IOVIter.Kind
  var cleanup = CleanupPolicy.auto
  var segments = 1
  var misalignment = 0
  var blockSize = 512
  var era = Era.v8

  var testDescription: String {
    "\(kind.name) \(cleanup.rawValue) segs=\(segments) misalign=\(misalignment) block=\(blockSize) "
      + "era=\(era.rawValue)"
  }

  static let kinds: [IOVIter.Kind] = [.ubuf, .iovec, .kvec, .bvec, .xarray, .pipe]

  static let all: [Presentation] = kinds.flatMap { kind in
    [
      Presentation(kind: kind),
      Presentation(kind: kind, blockSize: 4096),
      Presentation(kind: kind, segments: 7, misalignment: 512),
      Presentation(kind: kind, segments: 7, misalignment: 100, blockSize: 4096),
      Presentation(kind: kind, cleanup: .get, segments: 3),
      Presentation(kind: kind, cleanup: .pin, segments: 64, misalignment: 1),
      Presentation(kind: kind, cleanup: .none),
      Presentation(kind: kind, era: .get),
      Presentation(kind: kind, segments: 7, misalignment: 100, blockSize: 4096, era: .get),
      Presentation(kind: kind, segments: 3, misalignment: 512, era: .merged),
    ]
  }

  func dataOffset(isWrite: Bool) -> Int { kind == .pipe && !isWrite ? 0 : misalignment }
}

@Suite("The direct-I/O engine")
struct EngineTests {
  /// What a request under way is to do.
  private struct Pending {
    var isWrite: Bool
    var offset: Int
    var length: Int
    var dataOffset: Int
  }

  @Test(
    "Moves what plain arrays hold, at any offset, length and order", arguments: Presentation.all)
  func matchesShadow(presentation: Presentation) throws {
    for seed in 1...2 {
      try run(presentation, seed: UInt64(seed), failureInterval: 0)
    }
  }

  @Test("Releases everything when the device fails", arguments: Presentation.all)
  func survivesErrors(presentation: Presentation) throws {
    for seed in 7...8 { try run(presentation, seed: UInt64(seed), failureInterval: 5) }
  }

  /// Random reads and writes under way at once; byte ranges never overlap, but share blocks.
  private func run(_ presentation: Presentation, seed: UInt64, failureInterval: Int) throws {
    let size = 256 << 10
    let device = ScriptedDevice(
      byteCount: size, blockSize: presentation.blockSize, seed: seed &* 977)
    device.failureInterval = failureInterval
    // Every other run starts on a device that is one hole.
    if seed % 2 == 0 { device.written = Array(repeating: false, count: size / 512) }
    let fixture = try EngineFixture(device: device)
    var generator = SeededGenerator(seed: seed)
    var shadow = device.bytes
    var pending: [[Pending?]] = Array(
      repeating: Array(repeating: nil, count: EngineFixture.requests), count: 2)
    var started = 0
    let total = 80
    while started < total || pending.joined().contains(where: { $0 != nil }) {
      if started < total, generator.next() % 2 == 0 {
        let engine = Int(generator.next() % 2)
        if let slot = pending[engine].firstIndex(where: { $0 == nil }),
          let next = pick(size, presentation, avoiding: pending, &generator)
        {
          started += 1
          pending[engine][slot] = next
          start(next, engine: engine, slot: slot, presentation, fixture, &shadow, &generator)
        }
      }
      for ended in fixture.turn() {
        let done = try #require(pending[ended.engine][ended.request])
        pending[ended.engine][ended.request] = nil
        check(done, ended, fixture, &shadow, mayFail: failureInterval > 0)
      }
    }
    #expect(fixture.isBalanced, "seed \(seed): \(fixture.defects.lines)")
    if failureInterval == 0 {
      #expect(device.bytes == shadow, "seed \(seed)")
    }
  }

  private func pick(
    _ size: Int, _ presentation: Presentation, avoiding pending: [[Pending?]],
    _ generator: inout SeededGenerator
  ) -> Pending? {
    let unit = [1, 512, 4096][Int(generator.next() % 3)]
    let length = (1 + Int(generator.next() % UInt64(24_000 / unit))) * unit
    let offset = Int(generator.next() % UInt64((size - length) / unit + 1)) * unit
    let isWrite = generator.next() % 2 == 0
    for other in pending.joined().compactMap({ $0 })
    where offset < other.offset + other.length && other.offset < offset + length {
      return nil
    }
    return Pending(
      isWrite: isWrite, offset: offset, length: length,
      dataOffset: presentation.dataOffset(isWrite: isWrite))
  }

  private func start(
    _ next: Pending, engine: Int, slot: Int, _ presentation: Presentation,
    _ fixture: EngineFixture, _ shadow: inout [UInt8], _ generator: inout SeededGenerator
  ) {
    let buffer = unsafe fixture.buffer(
      engine: engine, request: slot, offset: next.dataOffset, count: next.length)
    if next.isWrite {
      let bytes = generator.bytes(count: next.length)
      unsafe buffer.copyBytes(from: bytes)
      shadow.replaceSubrange(next.offset..<next.offset + next.length, with: bytes)
    } else {
      unsafe _ = buffer.initializeMemory(as: UInt8.self, repeating: 0xee)
    }
    fixture.start(
      engine: engine, slot,
      DirectRequest(
        isWrite: next.isWrite, unique: RequestNumber(UInt64(next.offset + 1)), inode: 2,
        fileOffset: next.offset,
        deviceOffset: next.offset, length: next.length, dataOffset: next.dataOffset,
        shape: RequestShape(
          kind: presentation.kind, cleanup: presentation.cleanup, era: presentation.era,
          segments: presentation.segments, misalignment: presentation.misalignment),
        zeroing: .ask(blockBytes: 4096)))
  }

  private func check(
    _ done: Pending, _ ended: Ended, _ fixture: EngineFixture,
    _ shadow: inout [UInt8], mayFail: Bool
  ) {
    if mayFail {
      #expect(ended.error == nil || ended.error == .ioError)
      // What a failed write left behind is anybody's guess: the device's word counts from here on.
      let range = done.offset..<done.offset + done.length
      shadow.replaceSubrange(range, with: fixture.device.bytes[range])
      if ended.error != nil { return }
    } else {
      #expect(ended.error == nil)
    }
    if done.isWrite { return }
    let buffer = unsafe fixture.buffer(
      engine: ended.engine, request: ended.request, offset: done.dataOffset, count: done.length)
    let same = unsafe shadow.withUnsafeBytes { shadow in
      unsafe memcmp(shadow.baseAddress! + done.offset, buffer.baseAddress!, done.length) == 0
    }
    #expect(same, "a read at \(done.offset) of \(done.length) bytes differs")
  }

  @Test("Counts one pin per page of an aligned transfer, and bounces nothing")
  func countsPages() throws {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 3)
    let fixture = try EngineFixture(device: device)
    try fixture.transfer(
      DirectRequest(
        isWrite: true, unique: 1, inode: 2, fileOffset: 4096, deviceOffset: 4096, length: 64 << 10,
        dataOffset: 0, shape: RequestShape()))
    #expect(fixture.counters.sum(.simPinAcquired) == 16)
    #expect(fixture.counters.sum(.simPinReleased) == 16)
    #expect(fixture.counters.sum(.bouncedBytes) == 0)
    #expect(fixture.counters.sum(.bios) == 1)
  }

  @Test("Lists the pages of kinds that are not user memory")
  func listsPages() throws {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 3)
    for kind in [IOVIter.Kind.kvec, .bvec, .xarray] {
      let fixture = try EngineFixture(device: device)
      try fixture.transfer(
        DirectRequest(
          isWrite: true, unique: 1, inode: 2, fileOffset: 0, deviceOffset: 0, length: 32 << 10,
          dataOffset: 0, shape: RequestShape(kind: kind)))
      #expect(fixture.counters.sum(.simPinAcquired) == 0)
      #expect(fixture.counters.sum(.simPagesListed) == 8, "\(kind.name)")
    }
  }

  @Test("Bounces only the edges of an unaligned read, where addresses suit")
  func bouncesEdges() throws {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 3)
    let fixture = try EngineFixture(device: device)
    try fixture.transfer(
      DirectRequest(
        isWrite: false, unique: 1, inode: 2, fileOffset: 100, deviceOffset: 100, length: 8192,
        dataOffset: 100, shape: RequestShape()))
    #expect(fixture.counters.sum(.bouncedBytes) == 412 + 100)
    #expect(fixture.counters.sum(.simPinAcquired) == 2)
  }

  @Test("Flushes when asked to")
  func flushes() throws {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 3)
    let fixture = try EngineFixture(device: device)
    fixture.engines[0].startFlush(0)
    while fixture.turn().isEmpty {}
    #expect(device.flushes == 1)
  }
}

@Suite("The write gate")
struct WriteGateTests {
  private final class Woken: @unchecked Sendable {
    // Guard of the unchecked Sendable: the test's thread only.
    var requests: [Int] = []
  }

  private func waiter(_ request: Int, exclusive: Bool) -> WriteGate.Waiter {
    WriteGate.Waiter(worker: 0, slot: Slot(request), isExclusive: exclusive)
  }

  @Test("Lets whole-block writes in together, and a partial one alone")
  func sharedAndExclusive() {
    let woken = Woken()
    let gate = WriteGate { woken.requests.append($0.slot.number) }
    #expect(gate.enter(waiter(1, exclusive: false)))
    #expect(gate.enter(waiter(2, exclusive: false)))
    #expect(!gate.enter(waiter(3, exclusive: true)))
    gate.leave(exclusive: false)
    #expect(woken.requests.isEmpty)
    gate.leave(exclusive: false)
    #expect(woken.requests == [3])
    #expect(!gate.enter(waiter(4, exclusive: false)))
    gate.leave(exclusive: true)
    #expect(woken.requests == [3, 4])
  }

  @Test("Does not let newcomers overtake a parked request")
  func fairness() {
    let woken = Woken()
    let gate = WriteGate { woken.requests.append($0.slot.number) }
    #expect(gate.enter(waiter(1, exclusive: false)))
    #expect(!gate.enter(waiter(2, exclusive: true)))
    #expect(!gate.enter(waiter(3, exclusive: false)))
    #expect(!gate.enter(waiter(4, exclusive: false)))
    gate.leave(exclusive: false)
    #expect(woken.requests == [2])
    gate.leave(exclusive: true)
    #expect(woken.requests == [2, 3, 4])
  }
}
