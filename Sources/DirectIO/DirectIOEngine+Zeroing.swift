// Writes that cover a filesystem block in part where nothing was ever written: the rest of the block is made of
// zeroes, and need not be read.

import Block
import IOVector
import Memory

/// What is to be done about blocks that a write covers in part and that were never written.
public enum Zeroing: Equatable, Sendable {
  /// Nothing: they are read, changed and written like any other.
  case off
  /// The device is asked whether they are holes. The value is the bytes of a filesystem block, a power of two.
  case ask(blockBytes: Int)
  /// The volume knows that they are fresh.
  case fresh(blockBytes: Int)

  /// Bytes of a filesystem block, or 0.
  var blockBytes: Int {
    switch self {
    case .off: 0
    case .ask(let bytes), .fresh(let bytes): bytes
    }
  }
}

/// The fresh filesystem blocks that a write covers in part, and the zeroes that fill them up.
struct ZeroPadding {
  /// Where the fresh blocks begin on the device that hold the write's first and last byte; -1 for none.
  var headBlock = -1
  var tailBlock = -1
  var blockBytes = 0
  /// Zeroes before and behind the write, in whole logical blocks.
  var head = (deviceOffset: 0, byteCount: 0)
  var tail = (deviceOffset: 0, byteCount: 0)

  /// Whether a byte of the device lies in a fresh block.
  func covers(_ deviceOffset: Int) -> Bool {
    if blockBytes == 0 { return false }
    let block = deviceOffset & ~(blockBytes - 1)
    return block == headBlock || block == tailBlock
  }
}

extension DirectIOEngine {
  /// Whether a write may have to pad a block, so that it needs the gate alone. Without the gate this is a guess;
  /// it errs only where a block was fresh and is no longer, or where a hole was made meanwhile, and then the block
  /// is read like any other.
  func mayPad(_ request: DirectRequest) -> Bool {
    let size = request.zeroing.blockBytes
    if size == 0 || !request.isWrite { return false }
    let end = request.deviceOffset &+ request.length
    if (request.deviceOffset | end) & (size &- 1) == 0 { return false }
    return padding(for: request).blockBytes > 0
  }

  /// What a write has to pad. To be asked with the gate held alone: nobody fills the blocks meanwhile.
  ///
  /// Kernel: the head and the tail of `iomap_dio_bio_iter()`, fs/iomap/direct-io.c, v6.6.
  func padding(for request: DirectRequest) -> ZeroPadding {
    var result = ZeroPadding()
    let size = request.zeroing.blockBytes
    let block = limits.logicalBlockSize
    let start = request.deviceOffset
    let end = start + request.length
    let first = start & ~(size - 1)
    let last = (end - 1) & ~(size - 1)
    let hasHead = start > first
    let hasTail = end < last + size
    let firstIsFresh = (hasHead || (hasTail && first == last)) && isFresh(first, request)
    if hasHead && firstIsFresh {
      result.headBlock = first
      result.head = (first, max(0, (start & ~(block - 1)) - first))
    }
    if hasTail && (first == last ? firstIsFresh : isFresh(last, request)) {
      // Where the image ends within the block there is nothing to fill.
      let blockEnd = min(last + size, device.byteCount / block * block)
      let dataEnd = (end + block - 1) & ~(block - 1)
      result.tailBlock = last
      result.tail = (dataEnd, max(0, blockEnd - dataEnd))
    }
    if result.headBlock >= 0 || result.tailBlock >= 0 { result.blockBytes = size }
    return result
  }

  private func isFresh(_ blockOffset: Int, _ request: DirectRequest) -> Bool {
    switch request.zeroing {
    case .off: false
    case .fresh: true
    case .ask(let size): device.isHole(at: blockOffset, byteCount: size)
    }
  }

  /// Sends the zeroes off: one bio before and one behind the data, both of the zero page.
  func submitPadding(_ index: Int) {
    let padding = unsafe table[index].padding
    for part in [padding.head, padding.tail] where part.byteCount > 0 {
      do throws(Errno) {
        var bio = try unsafe pool.makeBio(
          .write, sector: UInt64(part.deviceOffset >> 9), token: index,
          era: table[index].request.shape.era)
        let before = held()
        bio.addZeroes(part.byteCount)
        unsafe table[index].heldPages &+= held() &- before
        unsafe table[index].pendingBios &+= 1
        queue.submit(bio)
      } catch {
        fail(index, error)
      }
    }
  }

  /// Makes a block of the bounce buffer what the device has there: by a read, or, where it was never written, by
  /// filling it with zeroes.
  func fetchBlock(_ index: Int, deviceOffset: Int, page: Page, offset: Int) {
    let count = limits.logicalBlockSize
    if unsafe table[index].padding.covers(deviceOffset) {
      let bytes = unsafe context.pages.memory(at: page, offset: offset, length: count)
      _ = unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
      return
    }
    submitBounce(
      index, .read, deviceOffset: deviceOffset, page: page, offset: offset, count: count)
  }
}
