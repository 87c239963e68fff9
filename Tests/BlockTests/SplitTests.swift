// Cutting bios, and mapping under hardware limits.

import Block
import IOVector
import Memory
import Testing

@Suite("A split bio")
struct SplitTests {
  @Test("unpins once when split", arguments: [1, 3, 8, 15])
  func once(_ sectors: Int) throws {
    let rig = Rig(user: [3, 9, 1, 7])
    var iterator = rig.user(512, 8192)
    var bio = try rig.pool.makeBio(.read, sector: 100, token: 4)
    try bio.fill(from: &iterator)
    let pinned = rig.counts
    let front = try bio.split(sectors: sectors)
    #expect(front.token == 4 && front.flags == .cloned && front.vectorCount == 0)
    #expect(front.sector == 100 && front.byteCount == sectors * 512)
    #expect(bio.sector == 100 + UInt64(sectors) && bio.byteCount == 8192 - sectors * 512)
    front.end()
    #expect(rig.counts == pinned)
    bio.end()
    #expect(rig.isBalanced)
    #expect(rig.counters.sum(.bioSplits) == 1)
    #expect(rig.dirty == [1, 3, 9])
  }

  @Test("lists together what the whole listed", arguments: 1...20)
  func pieces(_ seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let rig = Rig(slots: 64, user: (0..<16).shuffled(using: &generator))
    var iterator = rig.user(512 * Int.random(in: 0..<8, using: &generator), 48 * 512)
    var bio = try rig.pool.makeBio(.write, sector: 0)
    try bio.fill(from: &iterator)
    let whole = Self.bytes(bio)
    var together: [Int] = []
    while bio.sectorCount > 1 && Int.random(in: 0..<8, using: &generator) > 0 {
      let front = try bio.split(
        sectors: Int.random(in: 1..<bio.sectorCount, using: &generator))
      together += Self.bytes(front)
      front.end()
    }
    together += Self.bytes(bio)
    bio.end()
    #expect(together == whole, "seed \(seed)")
    #expect(rig.isBalanced, "seed \(seed)")
  }

  /// The physical address of every 512th byte.
  private static func bytes(_ bio: borrowing Bio) -> [Int] {
    var position = bio.iterator
    var result: [Int] = []
    while let piece = bio.nextVector(&position) {
      let start = piece.page.number * pageSize + Int(piece.offset)
      result += stride(from: start, to: start + Int(piece.length), by: 512)
    }
    return result
  }

  @Test("is refused for a zone append, and outside the bio")
  func refused() throws {
    let rig = Rig()
    var append = try rig.pool.makeBio(.zoneAppend, sector: 0)
    var iterator = rig.user(0, 4096, .source)
    try append.fill(from: &iterator)
    Self.expectRefusal(&append, sectors: 1)
    append.end()
    var write = try rig.pool.makeBio(.write, sector: 0)
    var again = rig.user(0, 4096, .source)
    try write.fill(from: &again)
    for sectors in [-1, 0, 8, 9] { Self.expectRefusal(&write, sectors: sectors) }
    write.end()
    #expect(rig.isBalanced)
  }

  private static func expectRefusal(_ bio: inout Bio, sectors: Int) {
    do throws(Errno) {
      try bio.split(sectors: sectors).end()
      Issue.record("a split after \(sectors) sectors was not refused")
    } catch {
      #expect(error == .invalidArgument)
    }
  }

  @Test("leaves zeroes where a read was shortened")
  func truncated() throws {
    let rig = Rig()
    for page in 0..<2 {
      let bytes = unsafe rig.map.table.memory(at: Page(page), offset: 0, length: pageSize)
      unsafe bytes.initializeMemory(as: UInt8.self, repeating: 7)
    }
    var iterator = rig.user(0, 8192)
    var bio = try rig.pool.makeBio(.read, sector: 0)
    try bio.fill(from: &iterator)
    bio.truncate(to: 1000)
    #expect(bio.byteCount == 1000)
    bio.end()
    let bytes = unsafe Array(rig.map.table.memory(at: Page(0), offset: 0, length: 8192))
    #expect(bytes == Array(repeating: 7, count: 1000) + Array(repeating: 0, count: 7192))
    #expect(rig.isBalanced)
  }
}

@Suite("A pass-through bio")
struct PassThroughTests {
  @Test(
    "drops one pin for each page that merged within itself, and leaves the rest in the iterator")
  func limited() throws {
    let rig = Rig()
    var limits = QueueLimits()
    limits.maxHwSectors = 12
    let table = SegmentTable([
      IOVec(base: Rig.base, length: 1024), IOVec(base: Rig.base + 1024, length: 3072),
      IOVec(base: Rig.base + 4096, length: 2048), IOVec(base: Rig.base + 6144, length: 512),
    ])
    var iterator = unsafe IOVIter(userVectors: table.buffer, count: 6656, direction: .source)
    var bio = try rig.pool.makeBio(.driverOut, sector: 0, vectorCapacity: 4)
    try bio.mapUser(from: &iterator, limits: limits)
    #expect(bio.list == [[0, 0, 6144]])
    #expect(iterator.count == 512)
    #expect(rig.counts[0] == [1025, 0] && rig.counts[1] == [1025, 0])
    bio.end()
    #expect(rig.isBalanced)
  }

  @Test("is undone as a whole by a fault")
  func fault() throws {
    let rig = Rig(pages: 2)
    let table = SegmentTable([
      IOVec(base: Rig.base, length: 512), IOVec(base: Rig.base + 0x10000, length: 512),
    ])
    var iterator = unsafe IOVIter(userVectors: table.buffer, count: 1024, direction: .source)
    var bio = try rig.pool.makeBio(.driverOut, sector: 0)
    #expect(throws: Errno.badAddress) { try bio.mapUser(from: &iterator, limits: QueueLimits()) }
    #expect(bio.vectorCount == 0 && bio.byteCount == 0)
    bio.end()
    #expect(rig.isBalanced)
  }
}
