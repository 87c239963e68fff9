// Extraction: the pages under the next bytes, pinned, referenced or merely listed.

import Memory

extension IOVIter {
  /// Lists the pages under the next bytes, of one segment at most, and advances past them.
  ///
  /// User memory is pinned, everything else is listed with nothing taken, unless the policy says otherwise.
  /// - Parameters:
  ///   - list: the pages are appended here.
  ///   - maxBytes: bytes wanted; no alignment is required.
  ///   - maxPages: pages wanted.
  ///   - flags: whether peer-to-peer pages are accepted.
  ///   - policy: what is taken on the pages.
  ///   - context: the page table, the address space, the counters.
  /// - Returns: bytes extracted, 0 at the end or at a hole of a page cache; and where in the first page they start.
  /// - Throws: `.badAddress` if the first page cannot be had, or for `discard`; `.noMemory` if `maxPages` is 0;
  ///   `.remoteIO` if the first page is peer-to-peer memory and that is not accepted. The position stays then.
  ///
  /// Kernel: `iov_iter_extract_pages()`, lib/iov_iter.c, v6.6.
  public mutating func extractPages(
    into list: inout PageList, maxBytes: Int, maxPages: Int, flags: ExtractionFlags = [],
    policy: CleanupPolicy = .auto, in context: MemoryContext
  ) throws(Errno) -> (byteCount: Int, offsetInFirstPage: Int) {
    let size = min(maxBytes, min(count, maxReadWriteBytes))
    if size <= 0 { return (0, 0) }
    let mode = policy.mode(for: self)
    let tally = Tally(list.pageCount, mode: mode, context)
    let result: (byteCount: Int, offsetInFirstPage: Int)
    switch kind {
    case .ubuf, .iovec:
      result = try takeUserPages(
        size, maxPages: maxPages, mode: mode,
        acceptsPeerToPeer: flags.contains(.allowP2PDMA), into: &list, context)
    case .kvec:
      result = try listKernelPages(size, maxPages: maxPages, mode: mode, into: &list, context)
    case .bvec:
      result = try listBioPages(size, maxPages: maxPages, mode: mode, into: &list, context)
    case .xarray:
      result = try listCachePages(size, maxPages: maxPages, mode: mode, into: &list, context)
    case .folioq:
      result = try listFolioPages(size, maxPages: maxPages, mode: mode, into: &list, context)
    case .pipe:
      result = try listPipePages(size, maxPages: maxPages, mode: mode, into: &list, context)
    case .discard: throw .badAddress
    }
    tally.note(list.pageCount, kind: kind, context)
    return result
  }

  /// Pins user pages, or does to them what the mode says.
  ///
  /// Kernel: `iov_iter_extract_user_pages()`, lib/iov_iter.c, v6.6.
  @inline(__always)
  mutating func takeUserPages(
    _ maxBytes: Int, maxPages: Int, mode: FollFlags, acceptsPeerToPeer: Bool,
    into list: inout PageList, _ context: MemoryContext
  ) throws(Errno) -> (byteCount: Int, offsetInFirstPage: Int) {
    guard let (address, size) = firstUserSegment(maxBytes) else { throw .badAddress }
    var flags = mode
    if direction == .destination { flags.insert(.write) }
    if acceptsPeerToPeer { flags.insert(.pciP2PDMA) }
    if noFault { flags.insert(.noFault) }
    let start = Int(address & UInt64(pageSize - 1))
    let wanted = min(pageCount(covering: start &+ size), maxPages)
    if wanted <= 0 { throw .noMemory }
    let found = try context.takeUserPages(
      at: address, pageCount: wanted, flags: flags, into: &list)
    let bytes = min(size, found &* pageSize &- start)
    advance(by: bytes)
    return (bytes, start)
  }

  /// The address of the next byte of user memory and how many bytes follow it in its segment.
  ///
  /// Empty segments are passed over, but the position stays before them.
  ///
  /// Kernel: `first_iovec_segment()`, lib/iov_iter.c, v6.6.
  @inline(__always)
  private func firstUserSegment(_ maxBytes: Int) -> (address: UInt64, size: Int)? {
    if kind == .ubuf { return (start &+ UInt64(offset), maxBytes) }
    var skip = offset
    for index in segmentIndex..<segmentCount {
      let segment = vector(index)
      let length = segment.length &- skip
      if length > 0 { return (segment.base &+ UInt64(skip), min(maxBytes, length)) }
      skip = 0
    }
    return nil
  }
}

/// Counts what one extraction did, by what changed in the counters and in the list.
struct Tally {
  private let mode: FollFlags
  private let pagesBefore: Int
  private let takenBefore: Int

  @inline(__always)
  init(_ pageCount: Int, mode: FollFlags, _ context: MemoryContext) {
    self.mode = mode
    pagesBefore = pageCount
    takenBefore = Self.taken(mode, context)
  }

  @inline(__always)
  private static func taken(_ mode: FollFlags, _ context: MemoryContext) -> Int {
    if mode.isEmpty { return 0 }
    return context.counters.value(of: mode.contains(.pin) ? .simPinAcquired : .simGetAcquired)
  }

  /// Pages on which nothing was taken are listed pages; of the others those count that were counted.
  @inline(__always)
  func note(_ pageCount: Int, kind: IOVIter.Kind, _ context: MemoryContext) {
    let counters = context.counters
    if mode.isEmpty {
      counters.add(.simPagesListed, pageCount &- pagesBefore)
      counters.add(.pagesListed, kind: Int(kind.rawValue), pageCount &- pagesBefore)
    } else {
      counters.add(
        mode.contains(.pin) ? .pinAcquired : .getAcquired, kind: Int(kind.rawValue),
        Self.taken(mode, context) &- takenBefore)
    }
  }
}
