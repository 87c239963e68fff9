// Random buffers through extraction, filling and release, against a model that goes byte by byte.

import Block
import IOVector
import Memory
import Testing

@Suite("Filling, whatever the buffer,")
struct RandomFillTests {
  @Test("keeps the order of bytes, pins what it holds, and lets go of all", arguments: 1...60)
  func shadow(_ seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let user = (0..<48).map {
      Bool.random(using: &generator) ? $0 : Int.random(in: 0..<48, using: &generator)
    }
    let rig = Rig(folios: [(Page(8), 3), (Page(32), 4)], slots: 64, user: user)
    for round in 0..<12 {
      let buffer = RandomBuffer(user: user, &generator)
      try drive(
        rig, buffer, CleanupPolicy.allCases.randomElement(using: &generator) ?? .auto, &generator)
      #expect(rig.isBalanced, "seed \(seed) round \(round)")
    }
  }

  private func drive(
    _ rig: Rig, _ buffer: RandomBuffer, _ policy: CleanupPolicy,
    _ generator: inout SeededGenerator
  ) throws {
    var iterator = buffer.iterator
    var limits = QueueLimits()
    limits.logicalBlockSize = 1
    var flying: [BioIndex] = []
    var bytes: [Int] = []
    var held: [Int: Int] = [:]
    while iterator.count > 0 {
      var bio = try rig.pool.makeBio(
        .write, sector: 0, vectorCapacity: Int.random(in: 1...16, using: &generator))
      try bio.fill(from: &iterator, limits: limits, policy: policy)
      bytes += Self.addresses(bio)
      if !bio.flags.cleanupMode.isEmpty {
        for index in 0..<bio.vectorCount {
          let run = bio.vector(at: index).pageRun
          for page in run.first.number..<run.end.number { held[page, default: 0] += 1 }
        }
      }
      flying.append(bio.detach())
    }
    #expect(bytes == buffer.addresses)
    expectHeld(rig, held, policy.mode(for: buffer.iterator))
    for index in flying.shuffled(using: &generator) { rig.pool.adopt(index).end() }
  }

  /// Each page is held once for each segment that touches it: by 1,024 or, in a folio, by a reference and a pin.
  private func expectHeld(_ rig: Rig, _ held: [Int: Int], _ mode: FollFlags) {
    var expected = Array(repeating: [1, 0], count: rig.map.table.count)
    for (page, times) in held {
      let head = rig.map.table.head(of: Page(page)).number
      let isLarge = rig.map.table.isCompound(Page(page))
      expected[head][0] += times * (mode.contains(.pin) && !isLarge ? 1024 : 1)
      expected[head][1] += mode.contains(.pin) && isLarge ? times : 0
    }
    #expect(rig.counts == expected)
  }

  private static func addresses(_ bio: borrowing Bio) -> [Int] {
    var position = bio.iterator
    var result: [Int] = []
    while let piece = bio.nextSegment(&position) {
      let start = piece.page.number * pageSize + Int(piece.offset)
      result += start..<start + Int(piece.length)
    }
    return result
  }
}

/// A random iterator with the physical address of each of its bytes.
private final class RandomBuffer {
  private let vectors: SegmentTable<IOVec>
  private let bioVectors: SegmentTable<BioVec>
  private let cache: XArrayTable
  let iterator: IOVIter
  let addresses: [Int]

  init(user: [Int], _ generator: inout SeededGenerator) {
    let kinds: [IOVIter.Kind] = [.ubuf, .iovec, .kvec, .bvec, .xarray]
    let kind = kinds.randomElement(using: &generator) ?? .ubuf
    let limit = user.count * pageSize
    var ranges: [Range<Int>] = []
    for _ in 0..<(kind == .ubuf || kind == .xarray ? 1 : Int.random(in: 1...6, using: &generator)) {
      let start =
        Bool.random(using: &generator)
        ? ranges.last?.upperBound ?? 0 : Int.random(in: 0..<limit, using: &generator)
      let length = Int.random(in: 1...20_000, using: &generator)
      if start < limit { ranges.append(start..<min(start + length, limit)) }
    }
    let total = ranges.reduce(0) { $0 + $1.count }
    let translated = kind == .ubuf || kind == .iovec || kind == .xarray
    addresses = ranges.flatMap { range in
      range.map { translated ? user[$0 / pageSize] * pageSize + $0 % pageSize : $0 }
    }
    let base = kind == .iovec ? Rig.base : 0
    vectors = SegmentTable(
      ranges.map { IOVec(base: base + UInt64($0.lowerBound), length: $0.count) })
    bioVectors = SegmentTable(
      ranges.map {
        BioVec(page: Page(0), offset: UInt32($0.lowerBound), length: UInt32($0.count))
      })
    cache = XArrayTable(user.indices.map { XArrayEntry(index: UInt64($0), head: Page(user[$0])) })
    let start = UInt64(ranges[0].lowerBound)
    switch kind {
    case .iovec:
      iterator = unsafe IOVIter(userVectors: vectors.buffer, count: total, direction: .source)
    case .kvec:
      iterator = unsafe IOVIter(kernelVectors: vectors.buffer, count: total, direction: .source)
    case .bvec:
      iterator = unsafe IOVIter(bioVectors: bioVectors.buffer, count: total, direction: .source)
    case .xarray:
      iterator = unsafe IOVIter(xarray: cache, position: start, count: total, direction: .source)
    default: iterator = IOVIter(userBuffer: Rig.base + start, count: total, direction: .source)
    }
  }
}
