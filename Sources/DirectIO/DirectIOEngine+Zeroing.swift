// Writes that cover a filesystem block in part where nothing was ever written: the rest of the block is made of
// zeroes, and need not be read.

import Block
import IOVector
import Memory

/// What is to be done about filesystem blocks that a write covers in part and that were never written.
public enum Zeroing: Equatable, Sendable {
  /// Only what the device must write anyway is padded: the rest of its own logical blocks, in unwritten and new extents.
  case off
  /// As `typed`, and where an extent says `mapped` the device is asked whether the block is a hole. The value is the
  /// bytes of a filesystem block, a power of two.
  case ask(blockBytes: Int)
  /// Unwritten and new filesystem blocks are filled up, since the volume will call all of the block written.
  case typed(blockBytes: Int)

  /// Bytes of a filesystem block, or 0.
  var blockBytes: Int {
    switch self {
    case .off: 0
    case .ask(let bytes), .typed(let bytes): bytes
    }
  }
}

/// What a write knows of the blocks at its ends, and the zeroes that fill them up.
struct ZeroPadding {
  /// Whether the blocks of the first and the last byte were never written.
  var headIsFresh = false
  var tailIsFresh = false
  /// Zeroes before and behind the write, in whole logical blocks.
  var head = (deviceOffset: 0, byteCount: 0)
  var tail = (deviceOffset: 0, byteCount: 0)

  var isNeeded: Bool { headIsFresh || tailIsFresh }
  var hasZeroes: Bool { head.byteCount > 0 || tail.byteCount > 0 }
}

extension DirectIOEngine {
  /// Whether a write may have to pad a block, so that it needs the gate alone. Without the gate this is a guess;
  /// it errs only where a block was fresh and is no longer, or where a hole was made meanwhile, and then the block
  /// is read like any other.
  func mayPad(_ slot: Slot) -> Bool {
    let request = table[slot].request
    let size = request.zeroing.blockBytes
    if size == 0 || (request.fileOffset | request.fileEnd) & (size &- 1) == 0 { return false }
    return padding(for: slot).isNeeded
  }

  /// What a write has to pad. To be asked with the gate held alone: nobody fills the blocks meanwhile.
  ///
  /// Only the ends of the request count. Within it extents meet, and both sides are written.
  ///
  /// Kernel: the head and the tail of `iomap_dio_bio_iter()`, fs/iomap/direct-io.c, v6.6.
  func padding(for slot: Slot) -> ZeroPadding {
    let request = table[slot].request
    let block = limits.logicalBlockSize
    let size = max(request.zeroing.blockBytes, block)
    precondition(size <= pageSize, "zeroes come from one page")
    let (start, end) = (request.fileOffset, request.fileEnd)
    let first = start & ~(size - 1)
    let last = (end - 1) & ~(size - 1)
    let hasHead = start > first
    let hasTail = end < last + size
    var result = ZeroPadding()
    result.headIsFresh = (hasHead || (hasTail && first == last)) && isFresh(first, slot)
    result.tailIsFresh = first == last ? result.headIsFresh : hasTail && isFresh(last, slot)
    if hasHead && result.headIsFresh {
      result.head = (
        deviceOffset(ofEdge: first, slot), max(0, (start & ~(block - 1)) - first)
      )
    }
    if hasTail && result.tailIsFresh {
      result.tail = tailZeroes(slot, from: (end + block - 1) & ~(block - 1), to: last + size)
    }
    return result
  }

  /// Where the image ends within the block there is nothing to fill.
  private func tailZeroes(
    _ slot: Slot, from dataEnd: Int, to blockEnd: Int
  ) -> (deviceOffset: Int, byteCount: Int) {
    let place = deviceOffset(ofEdge: dataEnd, slot)
    let deviceEnd = device.byteCount / limits.logicalBlockSize * limits.logicalBlockSize
    return (place, max(0, min(blockEnd - dataEnd, deviceEnd - place)))
  }

  /// Whether the filesystem block of the request's first or last byte was never written.
  private func isFresh(_ blockStart: Int, _ slot: Slot) -> Bool {
    let request = table[slot].request
    let count = buffers[extents: slot].count
    let isFirst = blockStart <= request.fileOffset
    let extent = buffers[extents: slot][isFirst ? 0 : count - 1]
    if extent.kind.isFresh { return true }
    guard case .ask(let size) = request.zeroing else { return false }
    return device.isHole(at: deviceOffset(ofEdge: blockStart, slot), byteCount: size)
  }

  /// Sends the zeroes off: one bio before and one behind the data, both of the zero page.
  func submitPadding(_ slot: Slot) {
    let padding = table[slot].padding
    if padding.head.byteCount > 0 { submitZeroes(slot, padding.head) }
    if padding.tail.byteCount > 0 { submitZeroes(slot, padding.tail) }
  }

  private func submitZeroes(_ slot: Slot, _ part: (deviceOffset: Int, byteCount: Int)) {
    var bio = makeBio(
      .write, slot, at: part.deviceOffset, era: table[slot].request.shape.era)
    let before = held()
    bio.addZeroes(part.byteCount)
    table[slot].heldPages &+= held() &- before
    submit(bio, slot)
  }
}
