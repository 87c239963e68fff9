// Pass-through requests under the hardware's limits: what is mapped, what is copied, and that all is given back.

import Block
import DirectIO
import IOVector
import Memory
import TestSupport
import Testing

/// Limits and a buffer, and how the engine is to reach it.
struct Mapping: CustomTestStringConvertible, Sendable {
  var testDescription: String
  var limits = QueueLimits()
  var segments = 1
  var dataOffset = 0
  var mapped = 12288
  var bios = 1

  static let all: [Mapping] = [
    Mapping(testDescription: "whole pages"),
    Mapping(testDescription: "blocks within pages", dataOffset: 512),
    Mapping(
      testDescription: "one page a segment, one segment a command",
      limits: limits {
        $0.maxSegments = 1; $0.maxSegmentSize = 4096
      }, bios: 3),
    Mapping(
      testDescription: "one page a segment, two segments a command",
      limits: limits {
        $0.maxSegments = 2; $0.maxSegmentSize = 4096
      }, bios: 2),
    Mapping(
      testDescription: "less than a page a command",
      limits: limits { $0.maxHwSectors = 2 }, mapped: 0, bios: 1),
    Mapping(
      testDescription: "eight sectors a command", limits: limits { $0.maxHwSectors = 8 }, bios: 3),
    Mapping(
      testDescription: "an address that DMA cannot take", dataOffset: 100, mapped: 0, bios: 1),
    Mapping(
      testDescription: "segments that join within a page, and a boundary of pages",
      limits: limits { $0.virtBoundaryMask = 4095 }, segments: 5, mapped: 0, bios: 1),
    Mapping(
      testDescription: "one range, and a boundary of pages",
      limits: limits { $0.virtBoundaryMask = 4095 }),
    Mapping(testDescription: "segments that join within a page", segments: 5),
  ]

  private static func limits(_ change: (inout QueueLimits) -> Void) -> QueueLimits {
    var limits = QueueLimits()
    change(&limits)
    return limits
  }
}

@Suite("A pass-through request")
struct PassThroughTests {
  private let length = 12288

  private func request(_ mapping: Mapping, isWrite: Bool, era: Era) -> DirectRequest {
    DirectRequest(
      isWrite: isWrite, unique: 1, inode: 2, fileOffset: 8192, deviceOffset: 8192, length: length,
      dataOffset: mapping.dataOffset,
      shape: RequestShape(
        kind: mapping.segments > 1 ? .iovec : .ubuf, era: era, segments: mapping.segments),
      isPassThrough: true)
  }

  private func fixture(_ mapping: Mapping) throws -> EngineFixture {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 21)
    device.limits = mapping.limits
    return try EngineFixture(device: device)
  }

  @Test(
    "maps what the hardware takes, copies the rest, and moves the bytes", arguments: Mapping.all,
    Era.allCases)
  func maps(mapping: Mapping, era: Era) throws {
    let fixture = try fixture(mapping)
    var generator = SeededGenerator(seed: 4)
    let bytes = generator.bytes(count: length)
    let buffer = unsafe fixture.buffer(
      engine: 0, request: 0, offset: mapping.dataOffset, count: length)
    unsafe buffer.copyBytes(from: bytes)
    try fixture.transfer(request(mapping, isWrite: true, era: era))
    #expect(Array(fixture.device.bytes[8192..<8192 + length]) == bytes)
    #expect(fixture.device.transfers == mapping.bios)
    unsafe _ = buffer.initializeMemory(as: UInt8.self, repeating: 0)
    try fixture.transfer(request(mapping, isWrite: false, era: era))
    #expect(unsafe Array(buffer) == bytes)
    expectCounts(mapping, era, fixture)
  }

  /// Each of two requests counts the same, and holds nothing of what it copies.
  private func expectCounts(_ mapping: Mapping, _ era: Era, _ fixture: EngineFixture) {
    let all = fixture.counters
    #expect(all.sum(.passthroughRequests) == 2)
    #expect(all.sum(.passthroughMappedBytes) == 2 * mapping.mapped)
    #expect(all.sum(.passthroughCopiedBytes) == 2 * (length - mapping.mapped))
    #expect(fixture.engines[0].passThroughBytes(0) == (mapping.mapped, length - mapping.mapped))
    if mapping.mapped == 0 { return }
    #expect((all.sum(.simPinAcquired) > 0) == (era != .get))
    #expect((all.sum(.simGetAcquired) > 0) == (era == .get))
  }

  @Test("gives everything back when the device fails", arguments: Mapping.all, [1, 2])
  func failure(mapping: Mapping, interval: Int) throws {
    let fixture = try fixture(mapping)
    fixture.device.failureInterval = interval
    for isWrite in [true, false] {
      let error = fixture.result(of: request(mapping, isWrite: isWrite, era: .v8))
      #expect(error == nil || error == .ioError)
      #expect(fixture.isBalanced)
    }
  }

  @Test("is kept apart from a write that reads its block first")
  func gate() throws {
    let fixture = try fixture(Mapping.all[0])
    let engine = fixture.engines[0]
    fixture.start(
      0,
      DirectRequest(
        isWrite: true, unique: 1, inode: 2, fileOffset: 100, deviceOffset: 100, length: 50,
        dataOffset: 0, shape: RequestShape()))
    fixture.start(1, request(Mapping.all[0], isWrite: true, era: .v8))
    #expect(engine.hasParkedRequests)
    var ended = 0
    while ended < 2 { ended += fixture.turn().count }
    #expect(fixture.isBalanced)
  }
}
