// The path from before the series: a plain reference on every page, whatever its owner.

import Memory

extension IOVIter {
  /// Takes a reference on each page under the next bytes, of one segment at most, and advances past them.
  ///
  /// - Parameters:
  ///   - list: the pages are appended here.
  ///   - maxBytes: bytes wanted.
  ///   - maxPages: pages wanted; 0 gives 0 bytes.
  ///   - flags: whether peer-to-peer pages are accepted.
  ///   - context: the page table, the address space, the counters.
  /// - Returns: bytes, 0 at the end or at a hole of a page cache; and where in the first page they start.
  /// - Throws: `.badAddress` if the first page cannot be had, and for `kvec` and `discard`; `.remoteIO` if the first
  ///   page is peer-to-peer memory and that is not accepted.
  ///
  /// Kernel: `iov_iter_get_pages()`, lib/iov_iter.c, v6.2; `iov_iter_get_pages2()`, v6.6; the pipe part of v6.4.
  public mutating func getPages(
    into list: inout PageList, maxBytes: Int, maxPages: Int, flags: ExtractionFlags = [],
    in context: MemoryContext
  ) throws(Errno) -> (byteCount: Int, offsetInFirstPage: Int) {
    let size = min(maxBytes, min(count, maxReadWriteBytes))
    if size <= 0 || maxPages <= 0 { return (0, 0) }
    let tally = Tally(list.pageCount, mode: .get, context)
    let result: (byteCount: Int, offsetInFirstPage: Int)
    switch kind {
    case .ubuf, .iovec:
      result = try takeUserPages(
        size, maxPages: maxPages, mode: .get,
        acceptsPeerToPeer: flags.contains(.allowP2PDMA), into: &list, context)
    case .bvec:
      result = try listBioPages(size, maxPages: maxPages, mode: .get, into: &list, context)
    case .xarray:
      result = try listCachePages(size, maxPages: maxPages, mode: .get, into: &list, context)
    case .folioq:
      result = try listFolioPages(size, maxPages: maxPages, mode: .get, into: &list, context)
    case .pipe:
      result = try listPipePages(size, maxPages: maxPages, mode: .get, into: &list, context)
    case .kvec, .discard: throw .badAddress
    }
    tally.note(list.pageCount, kind: kind, context)
    return result
  }
}
