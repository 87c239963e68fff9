// Which blocks of the image are free, and an allocator that does its worst: short runs, far apart.

/// Gives out runs of 1 to 16 blocks at places that a seed decides, so that any larger request spans many extents.
///
/// Free blocks are bits, kept for those groups only in which a block was ever given out: an image of any size costs
/// nothing before it is used.
struct ScatterAllocator: Sendable {
  /// The most blocks that one run has.
  static let longestRun = 16
  private static let groupBlocks = 1 << 15
  private static let wordBits = 64

  /// The blocks of a group: a set bit is a block in use.
  private struct Group {
    var words = [UInt64](repeating: 0, count: groupBlocks / wordBits)
    var usedCount = 0

    mutating func mark(_ run: Range<Int>, used: Bool) {
      for place in run {
        let bit: UInt64 = 1 << UInt64(place % wordBits)
        let wasUsed = words[place / wordBits] & bit != 0
        precondition(
          wasUsed != used, used ? "a block was given out twice" : "a block was freed twice")
        words[place / wordBits] ^= bit
      }
      usedCount += used ? run.count : -run.count
    }
  }

  /// Blocks in all.
  let blockCount: Int
  /// Blocks that nobody has.
  private(set) var freeCount: Int
  private var groups: [Int: Group] = [:]
  private var random: UInt64

  /// All blocks are free.
  init(blockCount: Int, seed: UInt64) {
    self.blockCount = blockCount
    freeCount = blockCount
    // Neighbouring seeds begin far apart, and none of them at 0.
    random = max(1, (seed &+ 1) &* 0x9E37_79B9_7F4A_7C15)
  }

  /// Takes a run of free blocks, shorter than what is wanted more often than not.
  /// - Parameter limit: the most blocks that are wanted, at least 1.
  /// - Returns: nil if no block is free.
  mutating func allocate(upTo limit: Int) -> Range<Int>? {
    precondition(limit > 0, "nothing was asked for")
    if freeCount == 0 { return nil }
    let wanted = min(limit, 1 + Int(draw() % UInt64(Self.longestRun)))
    let start = firstFree(from: Int(draw() % UInt64(blockCount)))
    let groupEnd = min((start / Self.groupBlocks + 1) * Self.groupBlocks, blockCount)
    var end = start + 1
    while end < min(start + wanted, groupEnd), !isUsed(end) { end += 1 }
    mark(start..<end, used: true)
    return start..<end
  }

  /// Gives a run of blocks back, or a part of one, or several that follow each other.
  mutating func free(_ run: Range<Int>) { mark(run, used: false) }

  /// Whether somebody has a block.
  func isUsed(_ block: Int) -> Bool {
    guard let group = groups[block / Self.groupBlocks] else { return false }
    let place = block % Self.groupBlocks
    return group.words[place / Self.wordBits] >> UInt64(place % Self.wordBits) & 1 == 1
  }

  /// The first free block at or behind a place, and from the beginning again. There is one.
  private func firstFree(from place: Int) -> Int {
    var start = place
    while true {
      if let found = firstFreeInGroup(from: start) { return found }
      start = (start / Self.groupBlocks + 1) * Self.groupBlocks
      if start >= blockCount { start = 0 }
    }
  }

  private func firstFreeInGroup(from start: Int) -> Int? {
    let number = start / Self.groupBlocks
    guard let group = groups[number] else { return start }
    if group.usedCount == Self.groupBlocks { return nil }
    let place = start % Self.groupBlocks
    var word = place / Self.wordBits
    // Blocks before the place count as used.
    var used = group.words[word] | ((1 << UInt64(place % Self.wordBits)) - 1)
    while used == .max {
      word += 1
      if word == group.words.count { return nil }
      used = group.words[word]
    }
    let block = number * Self.groupBlocks + word * Self.wordBits + (~used).trailingZeroBitCount
    return block < blockCount ? block : nil
  }

  private mutating func mark(_ run: Range<Int>, used: Bool) {
    precondition(run.lowerBound >= 0 && run.upperBound <= blockCount, "blocks beyond the image")
    var start = run.lowerBound
    while start < run.upperBound {
      let number = start / Self.groupBlocks
      let base = number * Self.groupBlocks
      let end = min(base + Self.groupBlocks, run.upperBound)
      groups[number, default: Group()].mark(start - base..<end - base, used: used)
      if groups[number]?.usedCount == 0 { groups[number] = nil }
      start = end
    }
    freeCount += used ? -run.count : run.count
  }

  /// Marsaglia's xorshift: its state is never 0.
  private mutating func draw() -> UInt64 {
    random ^= random << 13
    random ^= random >> 7
    random ^= random << 17
    return random &* 0x2545_F491_4F6C_DD1D >> 16
  }
}
