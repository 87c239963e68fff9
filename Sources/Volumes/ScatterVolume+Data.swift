// Where the data of a scatter volume's files lies.

import CSystem
import DirectIO
import Memory

extension ScatterVolume {
  /// At most 16 blocks in one piece, unless the image is nearly full. To write, a hole gets blocks that are `new` to
  /// whoever asked first and `unwritten` to everybody else, until `finishWrite` makes them count.
  public func extent(
    of inode: UInt64, at offset: Int, limit: Int, for purpose: ExtentPurpose, mayBlock: Bool
  ) throws(Errno) -> Extent? {
    precondition(offset >= 0 && limit >= 1, "an extent of nothing was asked for")
    return try locked { state throws(Errno) in
      let node = try state.regular(inode)
      switch purpose {
      case .read:
        let count = min(limit, node.attributes.size - min(offset, node.attributes.size))
        if count > 0 { node.noteAccess(.now()) }
        return state.extentToRead(of: node, at: offset, byteCount: count)
      case .write:
        let count = min(limit, maximumBytes - min(offset, maximumBytes))
        return try state.extentToWrite(of: node, at: offset, byteCount: count)
      }
    }
  }

  /// Whole blocks count from now on: the engine has filled up with zeroes what a write left of a fresh block.
  public func finishWrite(
    to inode: UInt64, at offset: Int, byteCount: Int, mayBlock: Bool
  ) throws(Errno) -> Bool {
    if byteCount == 0 { return true }
    return try locked { state throws(Errno) in
      let node = try state.regular(inode)
      let end = offset + byteCount
      node.file.setWritten(true, in: state.blocks(touchedBy: offset..<end))
      node.attributes.size = max(node.attributes.size, end)
      node.noteModification(.now())
      return true
    }
  }

  /// What is allocated and was never written counts as a hole.
  public func seek(_ inode: UInt64, offset: Int, whence: Int32) throws(Errno) -> Int {
    guard whence == EXTRACTFS_SEEK_DATA || whence == EXTRACTFS_SEEK_HOLE else {
      throw .invalidArgument
    }
    return try locked { state throws(Errno) in
      let node = try state.regular(inode)
      let size = node.attributes.size
      if offset < 0 || offset >= size { throw .noSuchAddress }
      let found = state.findEdge(in: node.file, from: offset, data: whence == EXTRACTFS_SEEK_DATA)
      if let found, found < size { return found }
      if whence == EXTRACTFS_SEEK_DATA { throw .noSuchAddress }
      return size
    }
  }

  /// Whole blocks change here; what remains are parts of blocks at the range's edges. To zero them, walk the range as
  /// for a read and zero what is mapped.
  public func changeStorage(
    of inode: UInt64, _ change: StorageChange, offset: Int, length: Int
  ) throws(Errno) -> StorageWork {
    if offset < 0 || length <= 0 { throw .invalidArgument }
    if change == .punchHole {
      let end = length > maximumBytes - min(offset, maximumBytes) ? maximumBytes : offset + length
      if end <= offset { return .none }
      return try locked { state throws(Errno) in
        try state.punchHole(in: state.regular(inode), offset..<end)
      }
    }
    if offset > maximumBytes || length > maximumBytes - offset { throw .fileTooBig }
    let range = offset..<offset + length
    return try locked { state throws(Errno) in
      let node = try state.regular(inode)
      switch change {
      case .allocate(let keepsSize):
        return try state.allocate(in: node, range, keepsSize: keepsSize)
      case .zero(let keepsSize): return try state.zero(in: node, range, keepsSize: keepsSize)
      case .punchHole: preconditionFailure("a hole was punched above")
      }
    }
  }

  /// The rest of the block in which a file is to end from now on: it must be zero before the size changes, since the
  /// file may grow again.
  ///
  /// Kernel: `ext4_block_truncate_page()`, fs/ext4/inode.c, v6.6.
  public func tailToZero(
    of inode: UInt64, before change: AttributeChange
  ) throws(Errno) -> StorageWork {
    guard let size = change.size, size >= 0 else { return .none }
    return try locked { state throws(Errno) in
      let node = try state.regular(inode)
      if size >= node.attributes.size { return .none }
      let rest = state.blockBytes - size % state.blockBytes
      let end = rest > node.attributes.size - size ? node.attributes.size : size + rest
      return state.edges(of: node, size..<end)
    }
  }

  /// Blocks are this volume's own business.
  public func passThroughRange(of inode: UInt64) throws(Errno) -> Range<Int> {
    throw .notTypewriter
  }
}

extension ScatterState {
  /// The blocks that a range of bytes lies in, in whole or in part.
  func blocks(touchedBy range: Range<Int>) -> Range<Int> {
    let first = range.lowerBound / blockBytes
    return first..<(range.isEmpty ? first : (range.upperBound - 1) / blockBytes + 1)
  }

  /// The blocks that lie in a range of bytes as a whole.
  func blocks(inside range: Range<Int>) -> Range<Int> {
    let first = range.lowerBound / blockBytes + (range.lowerBound % blockBytes == 0 ? 0 : 1)
    return first..<max(first, range.upperBound / blockBytes)
  }

  /// A part of a piece that begins at a byte of the file.
  private func extent(
    _ piece: ScatterFile.Piece, _ kind: ExtentKind, at offset: Int, byteCount: Int
  ) -> Extent {
    let skipped = offset - piece.start * blockBytes
    return Extent(
      deviceOffset: piece.place * blockBytes + skipped,
      byteCount: min(byteCount, piece.count * blockBytes - skipped), kind: kind)
  }

  func extentToRead(of node: ScatterNode, at offset: Int, byteCount: Int) -> Extent {
    if byteCount == 0 { return Extent(deviceOffset: 0, byteCount: 0, kind: .hole) }
    if let piece = node.file.piece(at: offset / blockBytes) {
      return extent(
        piece, piece.isWritten ? .mapped : .unwritten, at: offset, byteCount: byteCount)
    }
    let next = node.file.holeEnd(at: offset / blockBytes)
    let end = next > (offset + byteCount) / blockBytes ? offset + byteCount : next * blockBytes
    return Extent(
      deviceOffset: 0, byteCount: min(byteCount, end - offset), kind: .hole)
  }

  mutating func extentToWrite(
    of node: ScatterNode, at offset: Int, byteCount: Int
  ) throws(Errno) -> Extent {
    if byteCount == 0 { return Extent(deviceOffset: 0, byteCount: 0, kind: .hole) }
    let blocks = blocks(touchedBy: offset..<offset + byteCount)
    if let piece = node.file.piece(at: blocks.lowerBound) {
      return extent(
        piece, piece.isWritten ? .mapped : .unwritten, at: offset, byteCount: byteCount)
    }
    let run = try fillHole(of: node, blocks)
    return extent(
      ScatterFile.Piece(
        start: blocks.lowerBound, place: run.lowerBound, count: run.count, isWritten: false),
      .new, at: offset, byteCount: byteCount)
  }

  /// Gives the beginning of a range, which is a hole, blocks that read as zeroes.
  private mutating func fillHole(
    of node: ScatterNode, _ blocks: Range<Int>
  ) throws(Errno) -> Range<Int> {
    let end = min(blocks.upperBound, node.file.holeEnd(at: blocks.lowerBound))
    guard let run = allocator.allocate(upTo: end - blocks.lowerBound) else { throw .noSpace }
    node.file.add(run, at: blocks.lowerBound)
    return run
  }

  /// Where data, or a hole, begins at or behind a byte; nil if there is none.
  func findEdge(in file: ScatterFile, from offset: Int, data: Bool) -> Int? {
    var block = offset / blockBytes
    var index = file.index(endingBehind: block)
    while index < file.pieces.count {
      let piece = file.pieces[index]
      if data && piece.isWritten { return max(offset, piece.start * blockBytes) }
      if !data && (piece.start > block || !piece.isWritten) { break }
      block = piece.end
      index += 1
    }
    return data ? nil : max(offset, block * blockBytes)
  }
}
