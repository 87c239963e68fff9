// Where the blocks of one file lie: an extent map in memory.

/// The extents of a file, in blocks: sorted, none touching another's blocks, what is between them is a hole.
struct ScatterFile: Sendable {
  /// Blocks that lie in one piece in the file and on the device.
  struct Piece: Equatable, Sendable {
    /// The first block in the file.
    var start: Int
    /// The first block on the device.
    var place: Int
    /// Blocks.
    var count: Int
    /// Whether their content counts; else they read as zeroes.
    var isWritten: Bool

    /// The file's block behind it.
    var end: Int { start + count }
    /// The device's blocks.
    var places: Range<Int> { place..<place + count }

    /// Whether another one goes on where this one ends, in every respect.
    func isContinued(by next: Piece) -> Bool {
      end == next.start && place + count == next.place && isWritten == next.isWritten
    }
  }

  /// The pieces in the file's order.
  private(set) var pieces: [Piece] = []
  /// Blocks that the file has.
  private(set) var blockCount = 0

  /// The place of the first piece that ends behind a block; the number of pieces if there is none.
  func index(endingBehind block: Int) -> Int {
    var low = 0
    var high = pieces.count
    while low < high {
      let middle = (low + high) / 2
      if pieces[middle].end > block { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// The piece that holds a block, or nil for a hole.
  func piece(at block: Int) -> Piece? {
    let index = index(endingBehind: block)
    return index < pieces.count && pieces[index].start <= block ? pieces[index] : nil
  }

  /// Whether a block's content counts.
  func isWritten(_ block: Int) -> Bool { piece(at: block)?.isWritten ?? false }

  /// Where a hole ends that a block lies in: at the next piece, or never.
  func holeEnd(at block: Int) -> Int {
    let index = index(endingBehind: block)
    return index < pieces.count ? pieces[index].start : .max
  }

  /// Blocks of a range that the file does not have.
  func missingBlocks(in range: Range<Int>) -> Int {
    var missing = range.count
    var index = index(endingBehind: range.lowerBound)
    while index < pieces.count, pieces[index].start < range.upperBound {
      missing -=
        min(pieces[index].end, range.upperBound) - max(pieces[index].start, range.lowerBound)
      index += 1
    }
    return missing
  }

  /// Gives a hole, or its beginning, blocks of the device that count as never written.
  mutating func add(_ places: Range<Int>, at block: Int) {
    let index = index(endingBehind: block)
    precondition(
      index == pieces.count || pieces[index].start >= block + places.count, "no hole is there")
    pieces.insert(
      Piece(start: block, place: places.lowerBound, count: places.count, isWritten: false),
      at: index)
    blockCount += places.count
    join(around: index..<index + 1)
  }

  /// Makes what the file has in a range count, or not.
  mutating func setWritten(_ isWritten: Bool, in range: Range<Int>) {
    if !differs(from: isWritten, in: range) { return }
    let part = isolate(range)
    for index in part { pieces[index].isWritten = isWritten }
    join(around: part)
  }

  /// Takes a range's blocks out of the file.
  /// - Returns: the pieces that were there.
  mutating func remove(_ range: Range<Int>) -> [Piece] {
    let part = isolate(range)
    let removed = Array(pieces[part])
    pieces.removeSubrange(part)
    for piece in removed { blockCount -= piece.count }
    return removed
  }

  private func differs(from isWritten: Bool, in range: Range<Int>) -> Bool {
    var index = index(endingBehind: range.lowerBound)
    while index < pieces.count, pieces[index].start < range.upperBound {
      if pieces[index].isWritten != isWritten { return true }
      index += 1
    }
    return false
  }

  /// Cuts pieces so that a range has pieces of its own, and says which.
  private mutating func isolate(_ range: Range<Int>) -> Range<Int> {
    cut(at: range.lowerBound)
    cut(at: range.upperBound)
    return index(endingBehind: range.lowerBound)..<index(endingBehind: range.upperBound)
  }

  private mutating func cut(at block: Int) {
    let index = index(endingBehind: block)
    guard index < pieces.count, pieces[index].start < block else { return }
    var rear = pieces[index]
    pieces[index].count = block - rear.start
    rear.count = rear.end - block
    rear.place += block - rear.start
    rear.start = block
    pieces.insert(rear, at: index + 1)
  }

  /// Makes one of pieces that continue each other, among some and their neighbours.
  private mutating func join(around part: Range<Int>) {
    let whole = max(part.lowerBound - 1, 0)..<min(part.upperBound + 1, pieces.count)
    var joined: [Piece] = []
    for piece in pieces[whole] {
      if let last = joined.last, last.isContinued(by: piece) {
        joined[joined.count - 1].count += piece.count
      } else {
        joined.append(piece)
      }
    }
    if joined.count < whole.count { pieces.replaceSubrange(whole, with: joined) }
  }
}
