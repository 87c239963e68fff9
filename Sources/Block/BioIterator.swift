// A position within a bio.

import IOVector
import Memory

/// A position on the device and in the segment table.
///
/// Kernel: `struct bvec_iter`, include/linux/bvec.h, v6.6.
public struct BioIterator: Equatable, Hashable, Sendable {
  /// Device position, in sectors of 512 bytes.
  public var sector: UInt64
  /// Bytes left.
  public var size: UInt32
  /// The current segment.
  public var index: UInt32
  /// Bytes done in the current segment.
  public var done: UInt32

  /// Makes a position.
  @inlinable public init(sector: UInt64 = 0, size: UInt32 = 0, index: UInt32 = 0, done: UInt32 = 0)
  {
    self.sector = sector
    self.size = size
    self.index = index
    self.done = done
  }

  /// Moves over any number of segments. Beyond the end the size becomes 0, and only the sector moves.
  ///
  /// Kernel: `bio_advance_iter()` and `bvec_iter_advance()`, v6.6.
  mutating func advance(by bytes: UInt32, in table: BioTable, hasNoSegments: Bool) {
    sector &+= UInt64(bytes >> 9)
    if hasNoSegments {
      size &-= bytes
      return
    }
    if bytes > size {
      size = 0
      return
    }
    size &-= bytes
    var left = bytes &+ done
    var position = Int(index)
    while left > 0, position < table.count {
      let length = table[position].length
      if left < length { break }
      left &-= length
      position &+= 1
    }
    index = UInt32(position)
    done = left
  }

  /// Moves within the current segment, at most to its end.
  ///
  /// Kernel: `bio_advance_iter_single()` and `bvec_iter_advance_single()`, v6.6.
  mutating func advanceSingle(by bytes: UInt32, in table: BioTable, hasNoSegments: Bool) {
    sector &+= UInt64(bytes >> 9)
    size &-= bytes
    if hasNoSegments { return }
    done &+= bytes
    if Int(index) < table.count, done == table[Int(index)].length {
      done = 0
      index &+= 1
    }
  }

  /// The rest of the current segment, which may be of many pages.
  ///
  /// Kernel: `mp_bvec_iter_bvec()`, include/linux/bvec.h, v6.6.
  func current(in table: BioTable) -> BioVec? {
    if size == 0 || Int(index) >= table.count { return nil }
    let segment = table[Int(index)]
    return BioVec(
      page: segment.page, offset: segment.offset &+ done,
      length: min(size, segment.length &- done))
  }
}

/// A segment table that is only read.
@safe struct BioTable {
  private let base: UnsafePointer<BioVec>?
  let count: Int

  @unsafe init(_ base: UnsafePointer<BioVec>?, count: Int) {
    unsafe self.base = unsafe base
    self.count = count
  }

  @inline(__always) subscript(index: Int) -> BioVec {
    guard index >= 0, index < count, let base = unsafe base else {
      preconditionFailure("a bio's position is outside its table")
    }
    return unsafe base[index]
  }
}

extension BioVec {
  /// The part up to the end of the page that holds the first byte, named by that page.
  ///
  /// Kernel: `bvec_iter_bvec()`, include/linux/bvec.h, v6.6.
  var firstPagePart: BioVec {
    let inPage = offset & UInt32(pageSize - 1)
    return BioVec(
      page: page.advanced(by: Int(offset >> 12)), offset: inPage,
      length: min(length, UInt32(pageSize) - inPage))
  }

  /// Calls `body` for the part in each page.
  ///
  /// Kernel: `bvec_advance()`, include/linux/bvec.h, v6.6.
  @inline(__always)
  func forEachPagePart(_ body: (BioVec) -> Void) {
    var rest = self
    while rest.length > 0 {
      let part = rest.firstPagePart
      body(part)
      rest.page = part.page.advanced(by: 1)
      rest.offset = 0
      rest.length &-= part.length
    }
  }
}
