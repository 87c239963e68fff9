// Writes that cover a block in part where nothing was written before.

import Block
import DirectIO
import IOVector
import Memory
import TestSupport
import Testing

@Suite("A write into a hole")
struct ZeroingTests {
  private func fixture(blockSize: Int = 512) throws -> EngineFixture {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: blockSize, seed: 11)
    device.written = Array(repeating: false, count: 2048)
    return try EngineFixture(device: device)
  }

  private func write(
    at offset: Int, _ length: Int, era: Era = .v8, zeroing: Zeroing = .ask(blockBytes: 4096)
  ) -> DirectRequest {
    DirectRequest(
      isWrite: true, unique: 1, inode: 2, fileOffset: offset, deviceOffset: offset, length: length,
      dataOffset: 0, shape: RequestShape(era: era), zeroing: zeroing)
  }

  private func fill(_ fixture: EngineFixture, _ request: Int, _ count: Int, with byte: UInt8) {
    let buffer = unsafe fixture.buffer(engine: 0, request: request, offset: 0, count: count)
    _ = unsafe buffer.initializeMemory(as: UInt8.self, repeating: byte)
  }

  @Test("counts the zero page before the series, and never since", arguments: Era.allCases)
  func counts(era: Era) throws {
    let fixture = try fixture()
    for slot in 0..<4 {
      fill(fixture, slot, 512, with: 7)
      fixture.start(slot, write(at: slot * 8192 + 1024, 512, era: era))
    }
    // The first has the gate alone: zeroes before and behind it are on their way.
    let zero = try #require(fixture.map.table.zeroPage)
    #expect(fixture.map.table.referenceCount(of: zero) == (era == .get ? 3 : 1))
    var ended = 0
    while ended < 4 { ended += fixture.turn().count }
    #expect(fixture.isBalanced)
    let all = fixture.counters
    #expect(all.sum(.simZeroPageUses) == 8)
    #expect(all.sum(.simGetAcquired) == (era == .get ? 4 + 8 : 0))
    #expect(all.sum(.simPinAcquired) == (era == .get ? 0 : 4))
    #expect(fixture.device.reads == 0)
    let written = try #require(fixture.device.written)
    for slot in 0..<4 { #expect(written[slot * 16..<slot * 16 + 8].allSatisfy { $0 }) }
    #expect(written.filter { $0 }.count == 32)
  }

  @Test("has its reference dropped when the device fails as well", arguments: Era.allCases)
  func failure(era: Era) throws {
    for interval in [1, 2] {
      let fixture = try fixture()
      fixture.device.failureInterval = interval
      #expect(fixture.result(of: write(at: 512, 512, era: era)) == .ioError)
      #expect(fixture.isBalanced)
    }
  }

  @Test(
    "leaves the bytes around it zero, and reads nothing", arguments: [512, 4096],
    [(100, 50), (700, 5000), (4096, 100), (3996, 100), (10, 9000), (0, 4096)])
  func bytes(blockSize: Int, range: (offset: Int, length: Int)) throws {
    let fixture = try fixture(blockSize: blockSize)
    fill(fixture, 0, range.length, with: 9)
    try fixture.transfer(write(at: range.offset, range.length))
    #expect(fixture.device.reads == 0)
    for offset in 0..<16384 {
      let inside = offset >= range.offset && offset < range.offset + range.length
      #expect(fixture.device.bytes[offset] == (inside ? 9 : 0), "at \(offset)")
    }
  }

  @Test("is padded once: then there is data, which stays")
  func onlyFresh() throws {
    let fixture = try fixture()
    fill(fixture, 0, 512, with: 1)
    try fixture.transfer(write(at: 0, 512))
    fill(fixture, 0, 512, with: 2)
    try fixture.transfer(write(at: 1024, 512))
    fill(fixture, 0, 100, with: 3)
    try fixture.transfer(write(at: 100, 100))
    #expect(fixture.counters.sum(.simZeroPageUses) == 1)
    #expect(fixture.device.reads == 1)
    let bytes = fixture.device.bytes
    #expect(bytes[99] == 1 && bytes[100] == 3 && bytes[200] == 1 && bytes[512] == 0)
    #expect(bytes[1024] == 2 && bytes[1535] == 2 && bytes[1536] == 0)
  }

  @Test("spares what others write to the same block meanwhile", arguments: 1...40)
  func neighbours(seed: Int) throws {
    let device = ScriptedDevice(byteCount: 1 << 16, blockSize: 512, seed: UInt64(seed))
    device.written = Array(repeating: false, count: 128)
    let fixture = try EngineFixture(device: device)
    for sector in 0..<8 {
      let (engine, slot) = (sector % 2, sector / 2)
      let buffer = unsafe fixture.buffer(engine: engine, request: slot, offset: 0, count: 512)
      _ = unsafe buffer.initializeMemory(as: UInt8.self, repeating: UInt8(sector + 1))
      fixture.start(engine: engine, slot, write(at: sector * 512, 512))
    }
    var ended = 0
    while ended < 8 { ended += fixture.turn().count }
    for sector in 0..<8 { #expect(device.bytes[sector * 512 + 7] == UInt8(sector + 1)) }
    #expect(fixture.isBalanced)
  }

  @Test("pads nothing beyond the end of the image")
  func end() throws {
    let device = ScriptedDevice(byteCount: 3 * 4096 + 1024, blockSize: 512, seed: 11)
    device.written = Array(repeating: false, count: 26)
    let fixture = try EngineFixture(device: device)
    fill(fixture, 0, 512, with: 4)
    try fixture.transfer(write(at: 3 * 4096, 512))
    #expect(fixture.counters.sum(.simZeroPageUses) == 1)
    #expect(device.written?.filter { $0 }.count == 2)
  }

  @Test("is left as it is when zeroing is off, and not asked about when the volume knows")
  func switches() throws {
    let off = try fixture()
    try off.transfer(write(at: 512, 512, zeroing: .off))
    #expect(off.counters.sum(.simZeroPageUses) == 0 && off.device.transfers == 1)
    let known = try fixture()
    known.device.written = nil
    var request = write(at: 512, 512, zeroing: .typed(blockBytes: 4096))
    request.extent = Extent(deviceOffset: 512, byteCount: 512, kind: .new)
    try known.transfer(request)
    #expect(known.counters.sum(.simZeroPageUses) == 2 && known.device.transfers == 3)
  }
}
