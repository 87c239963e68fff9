// Zeroing and discarding: ranges without data of the caller's, as long as a whole image.

import Block
import Memory

/// Where clearing goes on.
struct ClearingCursor {
  /// The next byte of the file.
  var position = 0
  /// The extent it lies in, or one before, and where that begins in the file.
  var extent = 0
  var extentStart = 0
}

extension DirectIOEngine {
  /// Bios that a request clears with at once; it goes on when all of them are through.
  static var clearingBios: Int { 8 }
  /// Bytes of one bio that clears: its size has 32 bits.
  private static var maxClearingBytes: Int { 1 << 31 }

  /// The whole blocks of the range are the device's affair; the edges of a zeroed one are written.
  func planClearing(_ slot: Slot) {
    let request = table[slot].request
    let block = limits.logicalBlockSize
    let start = (request.fileOffset + block - 1) & ~(block - 1)
    table[slot].bodyStart = start
    table[slot].bodyEnd = max(start, request.fileEnd & ~(block - 1))
    table[slot].cursor = ClearingCursor(
      position: start, extent: 0, extentStart: request.fileOffset)
  }

  /// Reads the blocks of which a part becomes zeroes, or clears whole blocks at once.
  func beginClearing(_ slot: Slot) {
    let (head, tail) = clearingEdges(slot)
    if head == nil && tail == nil { return submitClearing(slot) }
    table[slot].phase = .readingEdges
    if let head { moveEdge(slot, .read, of: head, place: 0) }
    if let tail { moveEdge(slot, .read, of: tail, place: pageSize) }
  }

  /// The edges have been read: parts of them become zeroes, and they are written.
  func moveClearingEdges(_ slot: Slot) {
    let (head, tail) = clearingEdges(slot)
    if let head { clearEdge(slot, head, place: 0) }
    if let tail { clearEdge(slot, tail, place: pageSize) }
    // The edges' bios are two of those that are kept.
    submitClearing(slot, limit: Self.clearingBios - 2)
  }

  /// The parts of blocks at the range's ends that have to be written; where there is no data, or nothing has to
  /// become zero, there are none.
  private func clearingEdges(_ slot: Slot) -> (head: Range<Int>?, tail: Range<Int>?) {
    let request = table[slot].request
    if request.operation == .discard || request.operation == .provision { return (nil, nil) }
    let mask = limits.logicalBlockSize - 1
    let (first, end) = (request.fileOffset, request.fileEnd)
    let last = buffers[extents: slot].count - 1
    var head: Range<Int>?
    var tail: Range<Int>?
    if first & mask != 0 && buffers[extents: slot][0].kind == .mapped {
      head = first..<min(end, (first | mask) + 1)
    }
    let lastBlock = end & ~mask
    let isHeads = first & mask != 0 && lastBlock < first
    if end & mask != 0 && !isHeads && buffers[extents: slot][last].kind == .mapped {
      tail = lastBlock..<end
    }
    return (head, tail)
  }

  /// Moves the block that holds an edge.
  private func moveEdge(_ slot: Slot, _ operation: BioOperation, of edge: Range<Int>, place: Int) {
    let block = limits.logicalBlockSize
    submitBounce(
      slot, operation, deviceOffset: deviceOffset(ofEdge: edge.lowerBound & ~(block - 1), slot),
      place: place, count: block)
  }

  private func clearEdge(_ slot: Slot, _ edge: Range<Int>, place: Int) {
    let skip = edge.lowerBound & (limits.logicalBlockSize - 1)
    bounceMemory(slot, place: place + skip, count: edge.count).clear()
    moveEdge(slot, .write, of: edge, place: place)
  }

  /// Whether whole blocks are left.
  func hasMoreToClear(_ slot: Slot) -> Bool {
    table[slot].cursor.position < table[slot].bodyEnd
  }

  /// Clears the next whole blocks, with as many bios as are kept.
  func submitClearing(_ slot: Slot, limit: Int = DirectIOEngine.clearingBios) {
    var cursor = table[slot].cursor
    let bodyEnd = table[slot].bodyEnd
    let operation = table[slot].request.operation
    var bios = 0
    while bios < limit && cursor.position < bodyEnd {
      let extent = buffers[extents: slot][cursor.extent]
      let extentEnd = cursor.extentStart + extent.byteCount
      if cursor.position >= extentEnd {
        cursor.extent += 1
        cursor.extentStart = extentEnd
        continue
      }
      let count = min(min(extentEnd, bodyEnd) - cursor.position, Self.maxClearingBytes)
      if extent.kind == .mapped || (extent.kind == .unwritten && operation == .discard) {
        submitClearing(
          slot, at: deviceOffset(of: cursor.position, in: extent, at: cursor.extentStart), count)
        bios += 1
      }
      cursor.position += count
    }
    table[slot].cursor = cursor
  }

  /// A bio with a range and no segments.
  private func submitClearing(_ slot: Slot, at deviceOffset: Int, _ count: Int) {
    let operation = table[slot].request.operation
    let bioOperation: BioOperation =
      switch operation {
      case .discard: .discard
      case .provision: .provision
      default: .writeZeroes
      }
    let bio = makeBio(bioOperation, slot, at: deviceOffset)
    bio.iterator = BioIterator(sector: UInt64(deviceOffset >> 9), size: UInt32(count))
    submit(bio, slot, operation == .zero(unmap: false) ? .noUnmap : [])
  }
}
