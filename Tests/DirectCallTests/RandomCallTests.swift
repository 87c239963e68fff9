// Whole calls on random buffers under every era: what is taken is given back, and bytes are where they must be.

import DirectCall
import IOVector
import Memory
import Testing

@Suite("Whole calls")
struct RandomCallTests {
  private static let base: UInt64 = 1 << 32

  /// A random call on 32 pages, of which a few are missing, with its memory.
  private func call(
    _ generator: inout SeededGenerator, era: Era, bugs: ModelBugs = []
  ) -> (DirectCall, CallMemory) {
    var mapped: [UInt64: MappedPage] = [:]
    for index in 0..<32 where Int.random(in: 0..<12, using: &generator) > 0 {
      mapped[Self.base >> 12 + UInt64(index)] = MappedPage(
        page: Page(index),
        access: Int.random(in: 0..<8, using: &generator) > 0 ? .readWrite : .readOnly)
    }
    let memory = CallMemory(
      pageCount: 32, folios: [(Page(8), 3), (Page(16), 4)], mapped: mapped, era: era)
    var limits = CallLimits()
    limits.logicalBlockSize = [512, 4096].randomElement(using: &generator) ?? 512
    limits.dmaAlignment = [0, 1, 3, 511].randomElement(using: &generator) ?? 3
    limits.virtBoundaryMask = [0, 4095].randomElement(using: &generator) ?? 0
    limits.maxSegments = [3, 128].randomElement(using: &generator) ?? 128
    limits.stableWrites = Bool.random(using: &generator)
    limits.byteCount = 1 << 20
    let targets: [CallTarget] = [
      .device, .file(.ext4, .written), .file(.xfs, .hole), .file(.xfs, .written),
      .file(.btrfs, .written), .server,
    ]
    let segments = (0..<Int.random(in: 1...6, using: &generator)).map { _ in
      let unit = [1, 4, 512, 4096].randomElement(using: &generator) ?? 1
      return IOVec(
        base: Self.base + UInt64(Int.random(in: 0..<32 * 4096 / unit, using: &generator) * unit),
        length: Int.random(in: 0...24576 / unit, using: &generator) * unit)
    }
    var call = DirectCall(
      target: targets.randomElement(using: &generator) ?? .device, limits: limits,
      interface: Bool.random(using: &generator) ? .synchronous : .ring,
      isWrite: Bool.random(using: &generator),
      offset: 512 * Int.random(in: 0...2100, using: &generator), segments: segments, era: era)
    call.bugs = bugs
    return (call, memory)
  }

  @Test("hold nothing when they have returned", arguments: Era.allCases)
  func nothingHeld(era: Era) {
    for seed in 0..<1500 {
      var generator = SeededGenerator(seed: UInt64(seed))
      let (call, memory) = call(&generator, era: era)
      let records = call.run(in: memory)
      #expect(memory.heldPages == 0, "seed \(seed): \(call)")
      for page in 0..<32 where memory.map.table.head(of: Page(page)) == Page(page) {
        #expect(memory.map.table.referenceCount(of: Page(page)) == 1, "seed \(seed) page \(page)")
      }
      for record in records {
        #expect(record.result <= record.left, "seed \(seed)")
        if record.result < 0 { #expect(record.result >= -125, "seed \(seed)") }
      }
    }
  }

  @Test("cover the file's range in order, without gaps", arguments: Era.allCases)
  func inOrder(era: Era) {
    for seed in 0..<500 {
      var generator = SeededGenerator(seed: UInt64(seed))
      var (call, memory) = call(&generator, era: era)
      call.target = .device
      call.interface = .synchronous
      for record in call.run(in: memory) where record.result > 0 {
        var sector = record.offset >> 9
        for bio in record.bios {
          #expect(bio.sector == sector, "seed \(seed)")
          #expect(bio.vectors.reduce(0) { $0 + Int($1.length) } == bio.byteCount, "seed \(seed)")
          sector += bio.byteCount >> 9
        }
        let direct = (sector - (record.offset >> 9)) << 9
        #expect(direct + record.copiedBytes == record.result, "seed \(seed)")
      }
    }
  }

  @Test("keep a pin where a defect says so, and only then")
  func trimKeepsPin() {
    for (bugs, held) in [(ModelBugs(), 0), (.trimKeepsPin, 1)] {
      let mapped = Dictionary(
        uniqueKeysWithValues: (0..<8).map {
          (Self.base >> 12 + UInt64($0), MappedPage(page: Page($0), access: .readWrite))
        })
      let memory = CallMemory(pageCount: 8, folios: [(Page(0), 3)], mapped: mapped, era: .v7_3)
      var limits = CallLimits()
      limits.dmaAlignment = 3
      var call = DirectCall(
        target: .device, limits: limits, isWrite: false, offset: 0,
        segments: [
          IOVec(base: Self.base, length: 4196), IOVec(base: Self.base + 65536, length: 412),
        ], era: .v7_3)
      call.bugs = bugs
      let records = call.run(in: memory)
      #expect(records.first?.bios.map(\.byteCount) == [4096])
      #expect(memory.heldPages == held)
    }
  }
}
