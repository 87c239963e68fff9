// How the storage of a scatter volume's files is given, taken and zeroed.

import Memory

extension ScatterState {
  /// Changes a file's size. What is cut off is freed, also what was allocated behind the end.
  mutating func resize(_ node: ScatterNode, to size: Int, limit: Int) throws(Errno) {
    if size < 0 { throw .invalidArgument }
    if size > limit { throw .fileTooBig }
    if size <= node.attributes.size {
      free(node.file.remove(blocks(touchedBy: 0..<size).upperBound..<Int.max))
    }
    node.attributes.size = size
  }

  /// Frees the whole blocks of a range.
  mutating func punchHole(in node: ScatterNode, _ range: Range<Int>) -> StorageWork {
    free(node.file.remove(blocks(inside: range)))
    node.noteModification(.now())
    return edges(of: node, range)
  }

  /// Gives a range blocks that read as zeroes, where it has none.
  mutating func allocate(
    in node: ScatterNode, _ range: Range<Int>, keepsSize: Bool
  ) throws(Errno) -> StorageWork {
    try fillHoles(of: node, range)
    extend(node, to: range.upperBound, keepsSize: keepsSize)
    return .none
  }

  /// Makes a range read as zeroes and keep its blocks.
  mutating func zero(
    in node: ScatterNode, _ range: Range<Int>, keepsSize: Bool
  ) throws(Errno) -> StorageWork {
    try fillHoles(of: node, range)
    node.file.setWritten(false, in: blocks(inside: range))
    let work = edges(of: node, range)
    extend(node, to: range.upperBound, keepsSize: keepsSize)
    node.attributes.modified = node.attributes.changed
    return work
  }

  /// The parts of blocks at the edges of a range that hold data, as one range; what lies between them is zero already.
  func edges(of node: ScatterNode, _ range: Range<Int>) -> StorageWork {
    // Behind the end of the file all is zero.
    let end = min(range.upperBound, node.attributes.size)
    if end <= range.lowerBound { return .none }
    let firstBlock = range.lowerBound / blockBytes
    let lastBlock = (end - 1) / blockBytes
    let head = range.lowerBound % blockBytes != 0 && node.file.isWritten(firstBlock)
    let tail = end % blockBytes != 0 && node.file.isWritten(lastBlock)
    if !head && !tail { return .none }
    let start = head ? range.lowerBound : max(range.lowerBound, lastBlock * blockBytes)
    let stop = tail ? end : min(end, (firstBlock + 1) * blockBytes)
    return StorageWork(.zero(unmaps: false), offset: start, byteCount: stop - start)
  }

  /// All or nothing: what cannot be filled as a whole is left as it is.
  private mutating func fillHoles(of node: ScatterNode, _ range: Range<Int>) throws(Errno) {
    let blocks = blocks(touchedBy: range)
    if node.file.missingBlocks(in: blocks) > allocator.freeCount { throw .noSpace }
    var block = blocks.lowerBound
    while block < blocks.upperBound {
      if let piece = node.file.piece(at: block) {
        block = piece.end
        continue
      }
      let end = min(blocks.upperBound, node.file.holeEnd(at: block))
      guard let run = allocator.allocate(upTo: end - block) else { throw .noSpace }
      node.file.add(run, at: block)
      block += run.count
    }
  }

  private func extend(_ node: ScatterNode, to end: Int, keepsSize: Bool) {
    let now = Timestamp.now()
    node.attributes.changed = now
    if keepsSize || end <= node.attributes.size { return }
    node.attributes.size = end
    node.attributes.modified = now
  }
}
