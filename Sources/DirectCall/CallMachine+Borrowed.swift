// Calls whose pages are there already: registered buffers of a ring, and pages in a pipe.

import IOVector
import Memory

extension CallMachine {
  /// Pages in a pipe at most, one that was made as large as an ordinary user may.
  ///
  /// Kernel: `pipe_max_size`, fs/pipe.c.
  static var pipePages: Int { 256 }

  /// A call's table of pages, and where in its first segment the bytes begin.
  struct BorrowedTable {
    var vectors: [BioVec] = []
    var offset = 0
    var byteCount = 0
  }

  /// Makes a transfer from a table that somebody else holds.
  mutating func withBorrowedTable(_ borrowed: BorrowedTable) throws(Errno) -> Int {
    let table = UnsafeMutableBufferPointer<BioVec>.allocate(capacity: borrowed.vectors.count)
    _ = unsafe table.initialize(from: borrowed.vectors)
    defer { unsafe table.deallocate() }
    var iterator = unsafe IOVIter(
      bioVectors: UnsafeBufferPointer(table), count: borrowed.offset + borrowed.byteCount,
      direction: call.isWrite ? .source : .destination)
    iterator.advance(by: borrowed.offset)
    record.decision = .borrowed
    return try transfer(iterator)
  }

  /// The part of the registered buffer that the call names.
  ///
  /// - Throws: `.badAddress` if it names bytes outside.
  ///
  /// Kernel: `io_import_fixed()`, io_uring/rsrc.c, v6.12.
  func registeredTable(_ segments: [IOVec]) throws(Errno) -> BorrowedTable {
    guard let segment = segments.first else { return BorrowedTable() }
    let start = call.registered.address
    let end = start &+ UInt64(call.registered.byteCount)
    guard segment.length >= 0, segment.base >= start,
      segment.base &+ UInt64(segment.length) <= end
    else { throw .badAddress }
    return BorrowedTable(
      vectors: registeredVectors(), offset: Int(segment.base - start), byteCount: segment.length)
  }

  /// The table of a registered buffer: a segment for each page, or for each large folio.
  ///
  /// Kernel: `io_sqe_buffer_register()`, io_uring/rsrc.c.
  private func registeredVectors() -> [BioVec] {
    var pages: [Page] = []
    let start = call.registered.address
    for index in 0..<pageCount(covering: Int(start & 4095) + call.registered.byteCount) {
      guard let page = memory.page(at: start &+ UInt64(index) << 12) else { break }
      pages.append(page)
    }
    let table = memory.map.table
    let isCoalesced =
      rules.contains(.registersFoliosWhole)
      && pages.allSatisfy {
        table.isCompound($0) && table.order(of: $0) == table.order(of: pages[0])
      }
    var vectors: [BioVec] = []
    for (index, page) in pages.enumerated() {
      if isCoalesced, index > 0, table.head(of: page) == table.head(of: pages[index - 1]),
        page == pages[index - 1].advanced(by: 1)
      {
        vectors[vectors.count - 1].length += UInt32(pageSize)
      } else {
        vectors.append(BioVec(page: page, offset: 0, length: UInt32(pageSize)))
      }
    }
    return vectors
  }

  /// What vmsplice(2) put into the pipe: a page for each piece, until the pipe is full.
  ///
  /// Kernel: `iter_to_pipe()` and `iter_file_splice_write()`, fs/splice.c, v6.12.
  func pipeTable(_ segments: [IOVec]) -> BorrowedTable {
    var borrowed = BorrowedTable()
    for segment in segments {
      var done = 0
      while done < segment.length, borrowed.vectors.count < Self.pipePages {
        let address = segment.base &+ UInt64(done)
        guard let page = memory.page(at: address),
          memory.copyableBytes(at: address, count: 1, isWrite: false) == 1
        else { return borrowed }
        let offset = Int(address & 4095)
        let length = min(segment.length - done, pageSize - offset)
        borrowed.vectors.append(
          BioVec(page: page, offset: UInt32(offset), length: UInt32(length)))
        borrowed.byteCount += length
        done += length
      }
    }
    return borrowed
  }

  /// Reads into a pipe by an iterator of its kind: its pages are held like a user's.
  ///
  /// Kernel: `generic_file_splice_read()`, fs/splice.c, until v6.4.
  private mutating func readIntoPipe(_ size: Int) throws(Errno) -> Int {
    if case .server = call.target {
      record.serverRequests.append((false, position, size))
      return size
    }
    if (position | size) & blockMask != 0 { throw fail(.invalidArgument, .positionOrTotal) }
    var bio = CallBio(isWrite: false, sector: position >> 9, maxVectors: Self.pipePages)
    record.fills.append(FillRecord(iterator: [size, 0, 0], maxVectors: Self.pipePages))
    bio.vectors = [BioVec(page: foreignPage, offset: 0, length: UInt32(size))]
    bio.byteCount = size
    bio.isCached = true
    let status = submit(&bio)
    releasePages(of: bio, marksDirty: false)
    if let status { throw status }
    return size
  }

  /// Reads into fresh pages for an empty pipe.
  ///
  /// Kernel: `copy_splice_read()`, fs/splice.c, v6.5; `generic_file_splice_read()` before.
  mutating func spliceOut(_ segments: [IOVec]) throws(Errno) -> Int {
    let asked = segments.reduce(0) { $0 + $1.length }
    let size = min(asked, Self.pipePages * pageSize)
    if rules.contains(.referencesUserPages) { return try readIntoPipe(size) }
    let pages = (0..<pageCount(covering: size)).map { index in
      BioVec(
        page: foreignPage, offset: 0, length: UInt32(min(pageSize, size - index * pageSize)))
    }
    return try withBorrowedTable(BorrowedTable(vectors: pages, byteCount: size))
  }
}
