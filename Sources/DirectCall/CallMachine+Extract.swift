// One extraction of user pages, and its record.

import IOVector
import Memory

/// What one extraction gave.
struct Extraction {
  var pages: [Page] = []
  var offset = 0
  var byteCount = 0
}

extension CallMachine {
  /// Extracts pages and notes the lookup.
  ///
  /// - Parameters:
  ///   - mode: `.pin` or `.get`.
  ///   - lookups: the lookup is appended here if one is made.
  /// - Throws: the extraction's error; `.badAddress` if it gave nothing.
  ///
  /// Kernel: `iov_iter_extract_pages()` and `iov_iter_get_pages2()`, lib/iov_iter.c.
  func extract(
    _ iterator: inout IOVIter, maxBytes: Int, maxPages: Int, mode: FollFlags,
    into lookups: inout [LookupRecord]
  ) throws(Errno) -> Extraction {
    guard let range = iterator.nextUserRange, maxBytes > 0, maxPages > 0 else { throw .badAddress }
    let start = Int(range.address & 4095)
    let size = min(range.byteCount, min(maxBytes, iterator.count))
    let wanted = min(pageCount(covering: start + size), maxPages)
    var lookup = LookupRecord(
      pins: mode == .pin, address: range.address & ~4095, wanted: wanted,
      isWrite: iterator.direction == .destination, result: 0)
    if isFaultFree && memory.isAbsent(at: lookup.address, pageCount: wanted) {
      lookup.result = -Int(Errno.badAddress.rawValue)
      lookups.append(lookup)
      throw .badAddress
    }
    if mode == .pin && !lookup.isWrite {
      memory.unshare(at: lookup.address, pageCount: wanted)
    }
    var list = PageList(runCapacity: wanted)
    do throws(Errno) {
      let found =
        mode == .pin
        ? try iterator.extractPages(
          into: &list, maxBytes: maxBytes, maxPages: maxPages, in: memory.context)
        : try iterator.getPages(
          into: &list, maxBytes: maxBytes, maxPages: maxPages, in: memory.context)
      var pages: [Page] = []
      for run in 0..<list.runCount {
        let run = list.run(at: run)
        for index in 0..<run.count { pages.append(run.first.advanced(by: index)) }
      }
      lookup.result = pages.count
      lookups.append(lookup)
      return Extraction(
        pages: pages, offset: found.offsetInFirstPage, byteCount: found.byteCount)
    } catch {
      lookup.result = -Int(error.rawValue)
      lookups.append(lookup)
      throw error
    }
  }

  func release(_ pages: ArraySlice<Page>) {
    for page in pages { memory.context.release(PageRun(first: page, count: 1), mode: mode) }
  }

  func release(_ run: PageRun) { memory.context.release(run, mode: mode) }
}
