// Moving along a bio and listing what it is made of.

import IOVector
import Memory

/// A part of one folio.
///
/// Kernel: `struct folio_iter`, include/linux/bio.h, v6.6.
public struct FolioPart: Equatable, Hashable, Sendable {
  /// The folio's first page.
  public let head: Page
  /// Bytes from the folio's start.
  public let offset: Int
  /// Bytes.
  public let length: Int
}

extension Bio {
  /// Moves on by bytes that have been dealt with.
  ///
  /// To the very end only the size becomes 0. Otherwise whole sectors move the device position; fractions of
  /// a sector are lost. Beyond the end the size becomes 0, and the position in the table stays.
  /// - Parameter byteCount: bytes; the low 32 bits count.
  ///
  /// Kernel: `bio_advance()`, include/linux/bio.h, v6.6.
  public mutating func advance(by byteCount: Int) {
    let bytes = UInt32(truncatingIfNeeded: byteCount)
    if bytes == iterator.size {
      unsafe slot.pointee.iterator.size = 0
      return
    }
    advanceIterator(by: byteCount)
  }

  /// Moves the position on, to the very end like everywhere else.
  ///
  /// Kernel: `bio_advance_iter()`, include/linux/bio.h, v6.6.
  public mutating func advanceIterator(by byteCount: Int) {
    unsafe slot.pointee.iterator.advance(
      by: UInt32(truncatingIfNeeded: byteCount), in: table,
      hasNoSegments: operation.hasNoSegments)
  }

  /// Moves the position on within the current segment, at most to its end.
  ///
  /// Kernel: `bio_advance_iter_single()`, include/linux/bio.h, v6.6.
  public mutating func advanceIteratorSingle(by byteCount: Int) {
    unsafe slot.pointee.iterator.advanceSingle(
      by: UInt32(truncatingIfNeeded: byteCount), in: table,
      hasNoSegments: operation.hasNoSegments)
  }

  /// The next piece of contiguous memory, of any number of pages, and moves a position past it.
  ///
  /// - Parameter position: start with the bio's `iterator`.
  /// - Returns: nil at the end, and for operations without segments.
  ///
  /// Kernel: `bio_for_each_bvec()`, include/linux/bio.h, v6.6.
  public func nextVector(_ position: inout BioIterator) -> BioVec? {
    if operation.hasNoSegments { return nil }
    guard let piece = position.current(in: table) else { return nil }
    position.advanceSingle(by: piece.length, in: table, hasNoSegments: false)
    return piece
  }

  /// The next piece within one page, and moves a position past it.
  ///
  /// - Parameter position: start with the bio's `iterator`.
  /// - Returns: nil at the end, and for operations without segments.
  ///
  /// Kernel: `bio_for_each_segment()`, include/linux/bio.h, v6.6.
  public func nextSegment(_ position: inout BioIterator) -> BioVec? {
    if operation.hasNoSegments { return nil }
    guard let piece = position.current(in: table)?.firstPagePart else { return nil }
    position.advanceSingle(by: piece.length, in: table, hasNoSegments: false)
    return piece
  }

  /// Pieces within one page from the present position on.
  ///
  /// Kernel: `bio_segments()`, include/linux/bio.h, v6.6.
  public var segmentCount: Int {
    var position = iterator
    var count = 0
    while nextSegment(&position) != nil { count += 1 }
    return count
  }

  /// Pieces of contiguous memory from the present position on.
  public var remainingVectorCount: Int {
    var position = iterator
    var count = 0
    while nextVector(&position) != nil { count += 1 }
    return count
  }

  /// Whole sectors left, of 512 bytes. Kernel: `bio_sectors()`.
  public var sectorCount: Int { byteCount >> 9 }

  /// Calls `body` for each page part of the bio's own table, whatever the position.
  ///
  /// Kernel: `bio_for_each_segment_all()`, include/linux/bio.h, v6.6.
  public func forEachSegment(_ body: (BioVec) -> Void) {
    for index in 0..<vectorCount { table[index].forEachPagePart(body) }
  }

  /// Calls `body` for each folio part of the bio's own table, whatever the position.
  ///
  /// Kernel: `bio_for_each_folio_all()`, include/linux/bio.h, v6.6.
  public func forEachFolio(_ body: (FolioPart) -> Void) {
    let pages = unsafe slot.pointee.pool.pointee.context.pages
    for index in 0..<vectorCount {
      let segment = table[index]
      var page = segment.page.advanced(by: Int(segment.offset) >> pageShift)
      var skip = Int(segment.offset) & (pageSize - 1)
      var left = Int(segment.length)
      while left > 0 {
        // A page beyond the table can only be named; it counts as a folio of its own.
        let head = pages.contains(page) ? pages.head(of: page) : page
        let size = pages.contains(page) ? pageSize << pages.order(of: page) : pageSize
        let offset = (page.number - head.number) * pageSize + skip
        let length = min(size - offset, left)
        body(FolioPart(head: head, offset: offset, length: length))
        left -= length
        page = head.advanced(by: size >> pageShift)
        skip = 0
      }
    }
  }
}
