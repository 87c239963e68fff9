// Direct I/O on a file of a FUSE server: requests that carry the client's pages.

import IOVector
import Memory

extension CallMachine {
  /// Cuts the call into requests: each at most so many bytes and so many pages.
  ///
  /// Kernel: `fuse_direct_io()`, fs/fuse/file.c, v6.12.
  mutating func serverTransfer(_ iterator: inout IOVIter) throws(Errno) -> Int {
    var done = 0
    var failure: Errno?
    let size = call.serverFileBytes
    if isAsynchronous && !call.isWrite {
      // A ring's read is cut at the file's end first: `fuse_direct_IO()`, fs/fuse/file.c.
      if position >= size { return 0 }
      let most = min(iterator.count, pageCount(covering: size - position) * pageSize)
      iterator.truncate(to: most)
    }
    while iterator.count > 0 {
      let most = iterator.npages(max: call.serverPages)
      var pages: [Page] = []
      let (bytes, error) = takePages(
        &iterator, min(iterator.count, call.serverBytes), most, &pages)
      if let error, bytes == 0 {
        failure = fail(error, .fault)
        break
      }
      record.serverRequests.append((call.isWrite, position + done, bytes))
      for page in pages {
        memory.context.release(PageRun(first: page, count: 1), mode: serverMode)
      }
      let answered = call.isWrite ? bytes : max(0, min(bytes, size - position - done))
      done += answered
      if answered < bytes { break }
    }
    if done == 0, let failure { throw failure }
    return done
  }

  private var serverMode: FollFlags { rules.contains(.pinsFusePages) ? .pin : .get }

  /// Kernel: `fuse_get_user_pages()`, fs/fuse/file.c, v6.12.
  private mutating func takePages(
    _ iterator: inout IOVIter, _ wanted: Int, _ maxPages: Int, _ pages: inout [Page]
  ) -> (bytes: Int, failure: Errno?) {
    var bytes = 0
    var listed = 0
    while bytes < wanted && listed < maxPages {
      if !iterator.isUserBacked {
        let (taken, count) = listBorrowed(&iterator, wanted - bytes, maxPages - listed)
        bytes += taken
        listed += count
        continue
      }
      do throws(Errno) {
        let found = try extract(
          &iterator, maxBytes: wanted - bytes, maxPages: maxPages - listed, mode: serverMode,
          into: &record.lookups)
        pages += found.pages
        listed += found.pages.count
        bytes += found.byteCount
      } catch { return (bytes, error) }
    }
    return (bytes, nil)
  }

  /// Takes the next part of a table that is there already.
  private func listBorrowed(
    _ iterator: inout IOVIter, _ wanted: Int, _ maxPages: Int
  ) -> (bytes: Int, pages: Int) {
    guard let vector = unsafe iterator.remainingBioVectors.first else { return (wanted, 0) }
    let start = (Int(vector.offset) + iterator.offset) & 4095
    let length = min(
      min(Int(vector.length) - iterator.offset, wanted), maxPages * pageSize - start)
    iterator.advance(by: length)
    return (length, pageCount(covering: start + length))
  }
}
