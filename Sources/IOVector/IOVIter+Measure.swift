// Questions about what is left of an iterator: pages, alignment, gaps.

import Memory

extension IOVIter {
  /// How many pages what is left touches.
  ///
  /// An empty `bvec` segment at an unaligned offset counts as one page, as in the kernel.
  /// - Parameter max: the most that is answered.
  ///
  /// Kernel: `iov_iter_npages()`, lib/iov_iter.c, v6.6.
  public func npages(max maxPages: Int) -> Int {
    if count == 0 { return 0 }
    switch kind {
    case .ubuf, .xarray:
      let first = Int(truncatingIfNeeded: start) &+ offset
      return min(pageCount(covering: (first & (pageSize - 1)) &+ count), maxPages)
    case .iovec, .kvec, .bvec: return segmentPages(max: maxPages)
    case .folioq: return min(pageCount(covering: offset & (pageSize - 1) &+ count), maxPages)
    case .pipe: return min(pipePages.count, maxPages)
    case .discard: return 0
    }
  }

  private func segmentPages(max maxPages: Int) -> Int {
    var skip = offset
    var left = count
    var pages = 0
    var index = segmentIndex
    while left > 0 && index < segmentCount {
      let length = min(segmentLength(index) &- skip, left)
      if length > 0 || kind == .bvec {
        left &-= length
        pages &+= pageCount(covering: offsetInPage(index, skip: skip) &+ length)
        if pages > maxPages { return maxPages }
      }
      skip = 0
      index &+= 1
    }
    return pages
  }

  private func offsetInPage(_ index: Int, skip: Int) -> Int {
    let first =
      kind == .bvec
      ? Int(bioVector(index).offset) : Int(truncatingIfNeeded: vector(index).base)
    return (first &+ skip) & (pageSize - 1)
  }

  /// How many pages the next bytes touch.
  /// - Parameters:
  ///   - max: the most that is answered.
  ///   - maxBytes: how many bytes are looked at.
  ///
  /// Kernel: `iov_iter_npages_cap()`, include/linux/uio.h, v6.6.
  public func npages(max maxPages: Int, maxBytes: Int) -> Int {
    var cut = self
    cut.truncate(to: maxBytes)
    return cut.npages(max: maxPages)
  }

  /// Bytes left in the current segment, and of `count` at most.
  ///
  /// Kernel: `iov_iter_single_seg_count()`, lib/iov_iter.c, v6.6.
  public var singleSegmentCount: Int {
    if segmentsLeft > 1 && (kind == .iovec || kind == .kvec || kind == .bvec || kind == .folioq) {
      return min(count, segmentLength(segmentIndex) &- offset)
    }
    return count
  }

  /// All addresses and lengths that are left, ORed: its trailing zero bits tell the alignment.
  ///
  /// Kernel: `iov_iter_alignment()`, lib/iov_iter.c, v6.6.
  public var alignment: UInt64 {
    switch kind {
    case .ubuf: count == 0 ? 0 : (start &+ UInt64(offset)) | UInt64(count)
    case .iovec, .kvec: vectorAlignment
    case .bvec: bioVectorAlignment
    case .xarray: (start &+ UInt64(offset)) | UInt64(count)
    case .pipe: count == 0 ? 0 : UInt64(count | offset)
    case .folioq: UInt64(count | offset)
    case .discard: 0
    }
  }

  private var vectorAlignment: UInt64 {
    var result: UInt64 = 0
    var left = count
    var skip = offset
    for index in segmentIndex..<segmentCount {
      let segment = vector(index)
      let length = segment.length &- skip
      if length > 0 {
        result |= segment.base &+ UInt64(skip)
        let used = min(length, left)
        result |= UInt64(used)
        left &-= used
        if left == 0 { break }
      }
      skip = 0
    }
    return result
  }

  private var bioVectorAlignment: UInt64 {
    var result: UInt32 = 0
    var left = count
    var skip = offset
    for index in segmentIndex..<segmentCount {
      let segment = bioVector(index)
      let used = min(Int(segment.length) &- skip, left)
      result |= segment.offset &+ UInt32(truncatingIfNeeded: skip)
      result |= UInt32(truncatingIfNeeded: used)
      left &-= used
      if left == 0 { break }
      skip = 0
    }
    return UInt64(result)
  }

  /// The ends and starts between which segments join, ORed: tells whether gaps are aligned.
  ///
  /// Whole segments from the current one on are looked at. 0 for `ubuf`, 2^32 - 1 for kinds other than that
  /// and `iovec`, for which the question makes no sense.
  ///
  /// Kernel: `iov_iter_gap_alignment()`, lib/iov_iter.c, v6.6.
  public var gapAlignment: UInt64 {
    if kind == .ubuf { return 0 }
    if kind != .iovec { return UInt64(UInt32.max) }
    var result: UInt64 = 0
    var end: UInt64 = 0
    var left = count
    for index in segmentIndex..<segmentCount {
      let segment = vector(index)
      if segment.length == 0 { continue }
      if end != 0 { result |= segment.base | end }
      end = segment.base &+ UInt64(segment.length)
      if left <= segment.length { break }
      left &-= segment.length
    }
    return result
  }

  /// Whether all addresses and lengths that are left are aligned.
  /// - Parameters:
  ///   - addressMask: bits that must be clear in each segment's address.
  ///   - lengthMask: bits that must be clear in each segment's length.
  ///
  /// Kernel: `iov_iter_is_aligned()`, lib/iov_iter.c, v6.6.
  public func isAligned(addressMask: UInt32, lengthMask: UInt32) -> Bool {
    switch kind {
    case .ubuf, .xarray:
      let first = start &+ UInt64(offset)
      return UInt64(count) & UInt64(lengthMask) == 0 && first & UInt64(addressMask) == 0
    case .iovec, .kvec, .bvec:
      return areSegmentsAligned(addressMask: addressMask, lengthMask: lengthMask)
    case .folioq: return count & Int(lengthMask) == 0 && offset & Int(addressMask) == 0
    case .pipe:
      if count & Int(lengthMask) != 0 { return false }
      return count == 0 || offset & Int(addressMask) == 0
    case .discard: return true
    }
  }

  private func areSegmentsAligned(addressMask: UInt32, lengthMask: UInt32) -> Bool {
    var left = count
    var skip = offset
    for index in segmentIndex..<segmentCount {
      // The kernel clips the first segment of a vector at the position, but not that of a page table.
      let rest = kind == .bvec ? segmentLength(index) : segmentLength(index) &- skip
      let length = min(rest, left)
      if length & Int(lengthMask) != 0 { return false }
      let first =
        kind == .bvec
        ? Int(bioVector(index).offset) : Int(truncatingIfNeeded: vector(index).base)
      if (first &+ skip) & Int(addressMask) != 0 { return false }
      left &-= length
      if left == 0 { break }
      skip = 0
    }
    return true
  }
}
