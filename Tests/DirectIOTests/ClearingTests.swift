// Zeroing and discarding.

import Block
import DirectIO
import Memory
import TestSupport
import Testing

@Suite("Clearing a range")
struct ClearingTests {
  private func fixture(blockSize: Int) throws -> EngineFixture {
    let device = ScriptedDevice(byteCount: 1 << 16, blockSize: blockSize, seed: 11)
    device.bytes = (0..<device.byteCount).map { UInt8($0 % 200 + 1) }
    device.record = []
    return try EngineFixture(device: device)
  }

  private func request(_ operation: DirectOperation, _ range: Range<Int>) -> DirectRequest {
    DirectRequest(operation, unique: 1, inode: 2, fileOffset: range.lowerBound, length: range.count)
  }

  @Test(
    "zeroes exactly its bytes", arguments: [512, 4096],
    [
      0..<4096, 100..<101, 100..<512, 0..<100, 511..<513, 4000..<12_300, 4096..<12_289,
      1..<65_535, 8191..<8192, 512..<1024,
    ])
  func zeroes(blockSize: Int, range: Range<Int>) throws {
    let fixture = try fixture(blockSize: blockSize)
    var expected = fixture.device.bytes
    expected.replaceSubrange(range, with: repeatElement(0, count: range.count))
    try fixture.transfer(
      request(.zero(unmap: false), range),
      extents: [Extent(deviceOffset: range.lowerBound, byteCount: range.count, kind: .mapped)])
    #expect(fixture.device.bytes == expected)
    let record = try #require(fixture.device.record)
    let inner = record.filter { $0.operation == .writeZeroes }
    let first = (range.lowerBound + blockSize - 1) / blockSize * blockSize
    let end = range.upperBound / blockSize * blockSize
    #expect(inner.reduce(0) { $0 + $1.byteCount } == max(0, end - first))
    #expect(inner.allSatisfy { $0.flags == .noUnmap })
  }

  @Test("discards whole blocks only, and zeroing may unmap")
  func flags() throws {
    let fixture = try fixture(blockSize: 512)
    let before = fixture.device.bytes
    let extent = [Extent(deviceOffset: 100, byteCount: 5000, kind: .mapped)]
    try fixture.transfer(request(.discard, 100..<5100), extents: extent)
    #expect(
      fixture.device.record == [
        RecordedBio(operation: .discard, offset: 512, byteCount: 4096, flags: [])
      ])
    #expect(fixture.device.bytes[..<512] == before[..<512])
    fixture.device.record = []
    try fixture.transfer(
      request(.zero(unmap: true), 1024..<2048),
      extents: [
        Extent(deviceOffset: 1024, byteCount: 1024, kind: .mapped)
      ])
    #expect(
      fixture.device.record == [
        RecordedBio(operation: .writeZeroes, offset: 1024, byteCount: 1024, flags: [])
      ])
  }

  @Test("cuts a range beyond 32 bits into bios, a few at a time")
  func long() throws {
    let fixture = try fixture(blockSize: 512)
    let size = 100 << 30
    fixture.device.pretendedByteCount = size
    try fixture.transfer(
      request(.zero(unmap: true), 0..<size),
      extents: [Extent(deviceOffset: 0, byteCount: size, kind: .mapped)])
    let record = try #require(fixture.device.record)
    #expect(record.reduce(0) { $0 + $1.byteCount } == size)
    var next = 0
    for bio in record.sorted(by: { $0.offset < $1.offset }) {
      #expect(bio.offset == next)
      next += bio.byteCount
    }
    #expect(fixture.device.mostInFlight == 8)
  }

  @Test("has the file's gate alone")
  func gate() throws {
    let fixture = try fixture(blockSize: 512)
    let whole = [Extent(deviceOffset: 0, byteCount: 4096, kind: .mapped)]
    fixture.start(0, request(.zero(unmap: true), 0..<4096), extents: whole)
    fixture.start(1, request(.write, 0..<4096), extents: whole)
    #expect(fixture.engines[0].hasParkedRequests)
    fixture.start(2, request(.write, 0..<4096), extents: whole, gate: fixture.anotherGate())
    var ended: [Int] = []
    while ended.count < 3 { ended += fixture.turn().map(\.request) }
    #expect(ended.firstIndex(of: 0)! < ended.firstIndex(of: 1)!)
    #expect(fixture.isBalanced && !fixture.engines[0].hasParkedRequests)
  }
}
