// Submission: a bio that does not suit the queue is cut, or refused.

import IOVector
import Memory

/// A position in a bio's table, and what is left from there.
private struct Rest {
  var index = 0
  var done = 0
  var left: Int
  var sector: Int
}

/// Where a bio is to be cut.
private enum Cut {
  case nowhere
  case after(Int)
  case refused(Errno, Decision)
}

extension CallMachine {
  /// Sends a bio to the device and waits for it.
  ///
  /// - Returns: the bio's status.
  ///
  /// Kernel: `submit_bio()`, block/blk-core.c, and `__bio_split_to_limits()`, block/blk.h.
  mutating func submit(_ bio: inout CallBio) -> Errno? {
    bio.number = record.bios.count
    var rest = Rest(done: bio.startOffset, left: bio.byteCount, sector: bio.sector ?? 0)
    var fragments: [[Int]] = []
    var status: Errno?
    loop: while mayNeedSplit(bio, rest) {
      switch cut(bio, rest) {
      case .nowhere: break loop
      case .refused(let error, let decision):
        status = fail(error, decision)
        break loop
      case .after(let bytes):
        fragments.append([rest.sector, bytes])
        advance(&rest, by: bytes, in: bio.vectors)
        if record.decision == .transferred { record.decision = .split }
      }
    }
    if !fragments.isEmpty { fragments.append([rest.sector, rest.left]) }
    record.bios.append(bio.record(rules, fragments: fragments))
    return status
  }

  /// Whether a bio is looked at at all: one segment within a page goes as it is.
  ///
  /// Kernel: `bio_may_need_split()`, block/blk.h, v6.18 and v7.3.
  private func mayNeedSplit(_ bio: CallBio, _ rest: Rest) -> Bool {
    guard rest.index < bio.vectors.count else { return false }
    let first = bio.vectors[rest.index]
    if rules.contains(.borrowsUncounted) {
      if rest.left > Int(first.length) - rest.done { return true }
    } else if bio.vectors.count != 1 {
      return true
    }
    return Int(first.offset) + Int(first.length) > pageSize
  }

  private func advance(_ rest: inout Rest, by bytes: Int, in vectors: [BioVec]) {
    rest.sector += bytes >> 9
    rest.left -= bytes
    var bytes = bytes
    while bytes > 0 {
      let here = min(Int(vectors[rest.index].length) - rest.done, bytes)
      rest.done += here
      bytes -= here
      if rest.done == Int(vectors[rest.index].length) {
        rest.index += 1
        rest.done = 0
      }
    }
  }

  /// Kernel: `get_max_io_size()`, block/blk-merge.c, v6.12, for physical blocks as large as logical ones.
  private func mostBytes(at sector: Int) -> Int {
    let block = limits.logicalBlockSize >> 9
    let most = limits.maxBytes >> 9
    let start = sector & (block - 1)
    let end = (start + most) & ~(block - 1)
    return (end > start ? end - start : most & ~(block - 1)) << 9
  }

  /// Kernel: `bio_split_rw_at()`, v6.12, and `bio_split_io_at()`, v6.18, block/blk-merge.c.
  private func cut(_ bio: CallBio, _ rest: Rest) -> Cut {
    let maxBytes = mostBytes(at: rest.sector)
    var segments = 0
    var bytes = 0
    var previous: BioVec?
    var index = rest.index
    var done = rest.done
    var left = rest.left
    var isWhole = true
    while left > 0 && isWhole {
      var vector = bio.vectors[index]
      vector.offset += UInt32(done)
      vector.length = UInt32(min(Int(vector.length) - done, left))
      if rules.contains(.testsAlignmentAtSplit),
        Int(vector.offset | vector.length) & limits.dmaAlignment != 0
      {
        return .refused(.invalidArgument, .segmentSplit)
      }
      if let previous, leavesGap(previous, vector) {
        isWhole = false
      } else if !append(vector, &segments, &bytes, maxBytes) {
        isWhole = false
      } else {
        previous = vector
        left -= Int(vector.length)
        index += 1
        done = 0
      }
    }
    if isWhole { return .nowhere }
    if bio.mustNotWait { return .refused(.wouldBlock, .wouldBlock) }
    bytes &= ~blockMask
    if bytes == 0 {
      return rules.contains(.refusesUnsplittable)
        ? .refused(.invalidArgument, .unsplittable) : .nowhere
    }
    return .after(bytes)
  }

  /// Kernel: `bvec_gap_to_prev()`, block/blk.h.
  private func leavesGap(_ previous: BioVec, _ next: BioVec) -> Bool {
    let mask = limits.virtBoundaryMask
    return mask != 0
      && (Int(next.offset) & mask != 0 || Int(previous.offset + previous.length) & mask != 0)
  }

  /// Counts a bvec in, as segments of the size that the queue takes.
  /// - Returns: false if only a part of it fits.
  ///
  /// Kernel: `bvec_split_segs()`, block/blk-merge.c.
  private func append(
    _ vector: BioVec, _ segments: inout Int, _ bytes: inout Int, _ maxBytes: Int
  ) -> Bool {
    let most = maxBytes - bytes
    var left = min(Int(vector.length), most)
    var total = 0
    while left > 0 && segments < limits.maxSegments {
      let window = (1 << 32) - (vector.address + total) & 0xffff_ffff
      let size = min(left, min(limits.maxSegmentSize, window))
      segments += 1
      total += size
      left -= size
      if limits.virtBoundaryMask != 0 && (Int(vector.offset) + total) & limits.virtBoundaryMask != 0
      {
        break
      }
    }
    bytes += total
    return !(left > 0 || Int(vector.length) > most)
  }
}
