// The leaves of extraction for memory that is not a user's: pages are listed; only a forced mode takes anything.

import Memory

extension IOVIter {
  /// Lists pages under kernel addresses. Empty segments are passed for good, even when nothing follows.
  ///
  /// Kernel: `iov_iter_extract_kvec_pages()`, lib/iov_iter.c, v6.6.
  mutating func listKernelPages(
    _ maxBytes: Int, maxPages: Int, mode: FollFlags, into list: inout PageList,
    _ context: MemoryContext
  ) throws(Errno) -> (byteCount: Int, offsetInFirstPage: Int) {
    guard skipEmptySegments() else { return (0, 0) }
    let segment = vector(segmentIndex)
    let size = min(maxBytes, segment.length &- offset)
    let address = segment.base &+ UInt64(offset)
    let start = Int(address & UInt64(pageSize - 1))
    let wanted = min(pageCount(covering: start &+ size), maxPages)
    if wanted <= 0 { throw .noMemory }
    let listed = try listAddresses(
      address - UInt64(start), pageCount: wanted, mode: mode, into: &list, context)
    let bytes = min(size, listed &* pageSize &- start)
    advance(by: bytes)
    return (bytes, start)
  }

  /// Neighbours in the linear map are one run; vmalloc pages are looked up one by one.
  private func listAddresses(
    _ start: UInt64, pageCount: Int, mode: FollFlags, into list: inout PageList,
    _ context: MemoryContext
  ) throws(Errno) -> Int {
    var address = start
    var listed = 0
    while listed < pageCount {
      var run = PageRun(first: Page(0), count: 1)
      guard let page = context.kernel.mappedPage(at: address) else { break }
      run.first = page
      if context.kernel.isLinear(address) {
        let rest = Int((KernelMap.vmallocStart - address) >> 12)
        run.count = min(pageCount - listed, rest)
      }
      guard try hold(run, mode: mode, isFirst: listed == 0, into: &list, context) else { break }
      listed += run.count
      address += UInt64(run.count) << 12
    }
    if listed == 0 { throw .badAddress }
    return listed
  }

  /// Lists the pages of a segment of pages.
  ///
  /// Kernel: `iov_iter_extract_bvec_pages()`, lib/iov_iter.c, v6.6.
  mutating func listBioPages(
    _ maxBytes: Int, maxPages: Int, mode: FollFlags, into list: inout PageList,
    _ context: MemoryContext
  ) throws(Errno) -> (byteCount: Int, offsetInFirstPage: Int) {
    guard skipEmptySegments() else { return (0, 0) }
    let segment = bioVector(segmentIndex)
    let size = min(maxBytes, Int(segment.length) &- offset)
    let position = Int(segment.offset) &+ offset
    let start = position & (pageSize - 1)
    let wanted = min(pageCount(covering: start &+ size), maxPages)
    if wanted <= 0 { throw .noMemory }
    let run = PageRun(first: segment.page.advanced(by: position >> pageShift), count: wanted)
    _ = try hold(run, mode: mode, isFirst: true, into: &list, context)
    let bytes = min(size, wanted &* pageSize &- start)
    advance(by: bytes)
    return (bytes, start)
  }

  /// Lists pages of queued folios; unlike other tables' segments, several are taken at once.
  ///
  /// Kernel: `iov_iter_extract_folioq_pages()`, lib/iov_iter.c, v6.12.
  mutating func listFolioPages(
    _ maxBytes: Int, maxPages: Int, mode: FollFlags, into list: inout PageList,
    _ context: MemoryContext
  ) throws(Errno) -> (byteCount: Int, offsetInFirstPage: Int) {
    let begin = offset & (pageSize - 1)
    let wanted = min(pageCount(covering: begin &+ maxBytes), maxPages)
    if wanted <= 0 { throw .noMemory }
    var place = offset >> pageShift
    var listed = 0
    for index in segmentIndex..<segmentCount where listed < wanted {
      let folio = bioVector(index)
      let run = PageRun(
        first: folio.page.advanced(by: place),
        count: min(wanted - listed, Int(folio.length) >> pageShift - place))
      guard try hold(run, mode: mode, isFirst: listed == 0, into: &list, context) else { break }
      listed += run.count
      place = 0
    }
    let bytes = min(maxBytes, listed &* pageSize &- begin)
    if bytes <= 0 { return (0, begin) }
    advance(by: bytes)
    return (bytes, begin)
  }

  /// Lists pages of a page cache up to the first hole; a hole at once gives 0 bytes.
  ///
  /// Differs: with a hole at once and a position within a page the kernel's unsigned arithmetic wraps round, so
  /// that it claims the whole size without a page; here that case is like the aligned one: 0 bytes,
  /// nothing moved.
  ///
  /// Kernel: `iov_iter_extract_xarray_pages()`, lib/iov_iter.c, v6.6.
  mutating func listCachePages(
    _ maxBytes: Int, maxPages: Int, mode: FollFlags, into list: inout PageList,
    _ context: MemoryContext
  ) throws(Errno) -> (byteCount: Int, offsetInFirstPage: Int) {
    let begin = Int((start &+ UInt64(offset)) & UInt64(pageSize - 1))
    let wanted = min(pageCount(covering: begin &+ maxBytes), maxPages)
    if wanted <= 0 { throw .noMemory }
    var cursor = xarrayCursor
    var listed = 0
    while listed < wanted, var run = cursor.nextRun(limit: wanted - listed) {
      let countable = max(0, context.pages.count - run.first.number)
      // Pages beyond the table can be listed, but not counted: the result ends before them.
      let isCut = !mode.isEmpty && countable > 0 && run.count > countable
      if isCut { run.count = countable }
      guard try hold(run, mode: mode, isFirst: listed == 0, into: &list, context) else { break }
      listed += run.count
      if isCut { break }
    }
    if listed == 0 { return (0, begin) }
    let bytes = min(maxBytes, listed &* pageSize &- begin)
    advance(by: bytes)
    return (bytes, begin)
  }

  /// Appends pages to the pipe, which holds them. A pipe as a source is not a thing.
  ///
  /// Kernel: `iov_iter_extract_pipe_pages()`, lib/iov_iter.c, v8 series, patch 2.
  mutating func listPipePages(
    _ maxBytes: Int, maxPages: Int, mode: FollFlags, into list: inout PageList,
    _ context: MemoryContext
  ) throws(Errno) -> (byteCount: Int, offsetInFirstPage: Int) {
    guard direction == .destination else { throw .badAddress }
    let begin = pipePages.offset
    let pagesBefore = list.pageCount
    let last = unsafe begin > 0 ? pipe.pointee.slot(pipe.pointee.head - 1).pointee.page : nil
    let supplyBefore = unsafe pipe.pointee.supplied
    let bytes = try appendToPipe(maxBytes, maxPages: maxPages, into: &list)
    if !mode.isEmpty {
      if let last { try context.takeListed(PageRun(first: last, count: 1), mode: mode) }
      let fresh = unsafe PageRun(
        first: pipe.pointee.supply.first.advanced(by: supplyBefore),
        count: pipe.pointee.supplied - supplyBefore)
      try context.takeListed(fresh, mode: mode)
      precondition(fresh.count + (last == nil ? 0 : 1) == list.pageCount - pagesBefore)
    }
    return (bytes, begin)
  }

  /// Puts a run into the list and takes on it what the mode says.
  ///
  /// - Returns: false if a later run cannot be counted, so that the result is short.
  /// - Throws: `.badAddress` if the first run cannot be counted.
  @inline(__always)
  func hold(
    _ run: PageRun, mode: FollFlags, isFirst: Bool, into list: inout PageList,
    _ context: MemoryContext
  ) throws(Errno) -> Bool {
    if !mode.isEmpty {
      if run.first.number &+ run.count > context.pages.count {
        if isFirst { throw .badAddress }
        return false
      }
      try context.takeListed(run, mode: mode)
    }
    list.append(run)
    return true
  }

  /// Passes empty segments.
  /// - Returns: false if none with data is left.
  @inline(__always)
  private mutating func skipEmptySegments() -> Bool {
    while segmentsLeft > 0 {
      if segmentLength(segmentIndex) &- offset > 0 { return true }
      offset = 0
      segmentsLeft &-= 1
    }
    return false
  }
}
