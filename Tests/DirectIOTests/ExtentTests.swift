// Requests over many extents of every kind, against plain arrays.

import Block
import DirectIO
import Glibc
import IOVector
import Memory
import TestSupport
import Testing

@Suite("A request over many extents")
struct ExtentTests {
  /// A file and a device, and how buffers are presented.
  struct Setting: CustomTestStringConvertible, Sendable {
    var presentation: Presentation
    /// Bytes of a filesystem block.
    var blockBytes: Int
    /// Where on the device these begin.
    var shift = 0
    var mayUseHostCache = false

    var testDescription: String {
      "\(presentation.testDescription) blocks=\(blockBytes)+\(shift) cache=\(mayUseHostCache)"
    }

    static let all: [Setting] = Presentation.kinds.flatMap { kind in
      [
        Setting(presentation: Presentation(kind: kind), blockBytes: 4096),
        Setting(
          presentation: Presentation(kind: kind, misalignment: 100), blockBytes: 4096,
          mayUseHostCache: true),
        Setting(presentation: Presentation(kind: kind), blockBytes: 4096, mayUseHostCache: true),
        Setting(presentation: Presentation(kind: kind, segments: 7), blockBytes: 512),
        Setting(
          presentation: Presentation(kind: kind, segments: 3, misalignment: 512),
          blockBytes: 4096, shift: 1536),
        Setting(presentation: Presentation(kind: kind, blockSize: 4096), blockBytes: 4096),
        Setting(
          presentation: Presentation(kind: kind, segments: 64, misalignment: 1, era: .get),
          blockBytes: 1024, shift: 512),
      ]
    }
  }

  /// What one slot is to do.
  private struct Pending {
    var operation: DirectOperation
    var range: Range<Int>
    var data: [UInt8] = []
    var dataOffset: Int
  }

  @Test("moves what plain arrays hold", arguments: Setting.all)
  func matchesShadow(setting: Setting) throws {
    for seed in 1...3 { try run(setting, seed: UInt64(seed), failureInterval: 0) }
  }

  @Test("gives everything back when the device fails", arguments: Setting.all)
  func survivesErrors(setting: Setting) throws {
    try run(setting, seed: 5, failureInterval: 7)
  }

  private func run(_ setting: Setting, seed: UInt64, failureInterval: Int) throws {
    var generator = SeededGenerator(seed: seed &* 7919)
    let device = ScriptedDevice(
      byteCount: 512 << 10, blockSize: setting.presentation.blockSize, seed: seed)
    device.bytes = generator.bytes(count: device.bytes.count)
    device.failureInterval = failureInterval
    let before = device.bytes
    let fixture = try EngineFixture(device: device)
    var file = ScatteredFile(
      blockCount: (256 << 10) / setting.blockBytes, blockBytes: setting.blockBytes,
      shift: setting.shift, device: device, &generator)
    for _ in 0..<10 {
      file.settle(0..<file.bytes.count)
      let batch = makeBatch(setting, &file, &generator)
      for (index, pending) in batch.enumerated() {
        start(pending, index, setting, file, fixture)
      }
      for ended in fixture.finish(batch.count) {
        let pending = batch[ended.engine + 2 * ended.request]
        if failureInterval > 0 {
          #expect(ended.error == nil || ended.error == .ioError)
        } else {
          #expect(ended.error == nil)
          note(pending, ended, &file, fixture, seed)
        }
      }
    }
    #expect(fixture.isBalanced, "seed \(seed): \(fixture.defects.lines)")
    #expect(fixture.engines.allSatisfy { $0.isIdle && !$0.hasParkedRequests })
    if failureInterval > 0 { return }
    #expect(file.wrongBlocks(on: device.bytes) == [], "seed \(seed)")
    for place in file.free
    where device.bytes[place..<place + setting.blockBytes]
      != before[place..<place + setting.blockBytes]
    {
      Issue.record("a free block at \(place) was written, seed \(seed)")
    }
  }

  /// Requests whose blocks are apart, so that their order does not matter.
  private func makeBatch(
    _ setting: Setting, _ file: inout ScatteredFile, _ generator: inout SeededGenerator
  ) -> [Pending] {
    var batch: [Pending] = []
    let block = max(4096, setting.blockBytes)
    for _ in 0..<2 * EngineFixture.requests {
      let unit = [1, 512, 4096][Int(generator.next() % 3)]
      let length = (1 + Int(generator.next() % UInt64(40_000 / unit))) * unit
      let offset = Int(generator.next() % UInt64((file.bytes.count - length) / unit)) * unit
      var range = offset..<offset + length
      let wide = offset / block * block..<(offset + length + block - 1) / block * block
      if batch.contains(where: {
        $0.range.lowerBound < wide.upperBound && wide.lowerBound < $0.range.upperBound
      }) {
        continue
      }
      let operation: DirectOperation =
        [.read, .read, .write, .write, .zero(unmap: true), .discard][Int(generator.next() % 6)]
      if operation == .write { file.allocate(range) }
      range = offset..<offset + file.extents(of: range).reduce(0) { $0 + $1.byteCount }
      file.settle(range.upperBound..<offset + length)
      batch.append(
        Pending(
          operation: operation, range: range,
          data: operation == .write ? generator.bytes(count: range.count) : [],
          dataOffset: setting.presentation.dataOffset(isWrite: operation == .write)))
    }
    return batch
  }

  private func start(
    _ pending: Pending, _ index: Int, _ setting: Setting, _ file: ScatteredFile,
    _ fixture: EngineFixture
  ) {
    let (engine, slot) = (index % 2, index / 2)
    let shape = RequestShape(
      kind: setting.presentation.kind, cleanup: setting.presentation.cleanup,
      era: setting.presentation.era, segments: setting.presentation.segments)
    var request = DirectRequest(
      pending.operation, unique: 1, inode: 2, fileOffset: pending.range.lowerBound,
      length: pending.range.count, dataOffset: pending.dataOffset, shape: shape,
      zeroing: .typed(blockBytes: setting.blockBytes))
    request.mayUseHostCache = setting.mayUseHostCache
    if pending.operation == .read || pending.operation == .write {
      let buffer = unsafe fixture.buffer(
        engine: engine, request: slot, offset: pending.dataOffset, count: pending.range.count)
      unsafe _ = buffer.initializeMemory(as: UInt8.self, repeating: 0xee)
      unsafe buffer.copyBytes(from: pending.data)
    }
    fixture.start(engine: engine, slot, request, extents: file.extents(of: pending.range))
  }

  private func note(
    _ pending: Pending, _ ended: Ended, _ file: inout ScatteredFile, _ fixture: EngineFixture,
    _ seed: UInt64
  ) {
    switch pending.operation {
    case .read:
      let buffer = unsafe fixture.buffer(
        engine: ended.engine, request: ended.request, offset: pending.dataOffset,
        count: pending.range.count)
      let isSame = unsafe buffer.elementsEqual(file.bytes[pending.range])
      #expect(isSame, "a read of \(pending.range) differs, seed \(seed)")
    case .write: file.write(pending.data, at: pending.range.lowerBound)
    case .zero: file.zero(pending.range)
    case .discard:
      file.discard(pending.range, deviceBlock: fixture.device.limits.logicalBlockSize)
    case .flush, .provision: break
    }
  }

  @Test("joins what follows, and says when its list is full")
  func list() {
    var list = ExtentList()
    list.append(Extent(deviceOffset: 0, byteCount: 512, kind: .mapped))
    list.append(Extent(deviceOffset: 512, byteCount: 512, kind: .mapped))
    list.append(Extent(deviceOffset: 1024, byteCount: 512, kind: .unwritten))
    list.append(Extent(deviceOffset: -1, byteCount: 512, kind: .hole))
    list.append(Extent(deviceOffset: -1, byteCount: 512, kind: .hole))
    #expect(list.count == 3 && list[0].byteCount == 1024 && list.byteCount == 2560)
    while !list.isFull {
      list.append(Extent(deviceOffset: list.count << 20, byteCount: 512, kind: .mapped))
    }
    #expect(list.count == 64)
    let fits = list.append(Extent(deviceOffset: 7 << 30, byteCount: 512, kind: .mapped))
    #expect(!fits && list.count == 64)
  }

  @Test("asks the device for nothing where all is hole or unwritten")
  func holes() throws {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 3)
    let fixture = try EngineFixture(device: device)
    let buffer = unsafe fixture.buffer(engine: 0, request: 0, offset: 0, count: 8192)
    unsafe _ = buffer.initializeMemory(as: UInt8.self, repeating: 0xee)
    try fixture.transfer(
      DirectRequest(.read, unique: 1, inode: 2, fileOffset: 100, length: 8000),
      extents: [
        Extent(deviceOffset: -1, byteCount: 3996, kind: .hole),
        Extent(deviceOffset: 8192, byteCount: 4004, kind: .unwritten),
      ])
    #expect(device.transfers == 0)
    #expect(unsafe buffer[..<8000].allSatisfy { $0 == 0 } && buffer[8000] == 0xee)
  }

  @Test("waits for bios instead of failing, and gets them in turn")
  func waitsForBios() throws {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 3)
    var generator = SeededGenerator(seed: 9)
    device.bytes = generator.bytes(count: device.bytes.count)
    let fixture = try EngineFixture(device: device, bioCount: 1)
    for request in 0..<EngineFixture.requests {
      // Forty blocks, each somewhere else.
      let extents = (0..<40).map {
        Extent(deviceOffset: ($0 * 12 + request * 2) * 512, byteCount: 512, kind: .mapped)
      }
      fixture.start(
        request, DirectRequest(.read, unique: 1, inode: 2, fileOffset: 0, length: 40 * 512),
        extents: extents)
    }
    #expect(fixture.engines[0].hasRequestsWithoutBios)
    #expect(fixture.engines[0].inFlightCount == 40)
    for ended in fixture.finish(EngineFixture.requests) { #expect(ended.error == nil) }
    #expect(device.mostInFlight == 40 && fixture.isBalanced)
    for request in 0..<EngineFixture.requests {
      let buffer = unsafe fixture.buffer(engine: 0, request: request, offset: 0, count: 40 * 512)
      for block in 0..<40 {
        let place = (block * 12 + request * 2) * 512
        let isSame = unsafe buffer[block * 512..<(block + 1) * 512].elementsEqual(
          device.bytes[place..<place + 512])
        #expect(isSame)
      }
    }
  }
}
