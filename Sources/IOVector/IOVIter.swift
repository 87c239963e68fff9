// The iterator: a position in a buffer of one of eight kinds.

import Memory

/// Describes a buffer and how far it has been used.
///
/// It is trivially copyable: segment tables are borrowed through private pointers, nothing is counted.
/// Whoever makes an iterator keeps the table (and, for `pipe` and `xarray`, the owner object) alive and in
/// place for as long as the iterator or a bio that shares the table is used.
///
/// Kernel: `struct iov_iter`, include/linux/uio.h, v6.6; the pipe kind is of v6.4.
@safe public struct IOVIter: @unchecked Sendable {
  // Guard of the unchecked Sendable: tables are not written through the iterator; a pipe has one owner thread.

  /// What the buffer is made of; the raw value is the place in `countedKindNames`.
  public enum Kind: UInt8, CaseIterable, Sendable {
    /// One range of user addresses.
    case ubuf
    /// Ranges of user addresses.
    case iovec
    /// Ranges of kernel addresses.
    case kvec
    /// Ranges of pages.
    case bvec
    /// A part of a file's page cache.
    case xarray
    /// A pipe, to which pages are appended.
    case pipe
    /// Nothing: data is thrown away.
    case discard
    /// A queue of whole folios, as network filesystems use since Linux 6.12.
    case folioq

    /// As users spell it.
    public var name: String { countedKindNames[Int(rawValue)] }
  }

  /// What the buffer is made of.
  public let kind: Kind
  /// Which way data moves.
  public let direction: Direction
  /// Whether faulting user pages in is forbidden.
  public var noFault: Bool
  /// Bytes into the current segment; for `ubuf` and `xarray` since the start; for `pipe` the end of the data
  /// in the last page. Kernel: `iov_offset`.
  public internal(set) var offset: Int
  /// Bytes left. Kernel: `count`.
  public internal(set) var count: Int
  /// Segments left, the current one included; 1 for `ubuf`, 0 for `xarray`, `pipe` and `discard`.
  public internal(set) var segmentsLeft: Int
  /// The address of a `ubuf`, the byte position of an `xarray`.
  let start: UInt64
  /// `IOVec`, `BioVec` (of a `folioq`, too) or `XArrayStretch` elements, or the `PipeState`, as the kind says.
  let table: UnsafeRawPointer?
  /// Elements of the table.
  let segmentCount: Int
  /// The pipe's head at this position, and where it was at first. Kernel: `head` and `start_head`, v6.4.
  var pipeHead: Int
  let pipeStartHead: Int

  @inline(__always)
  init(
    kind: Kind, direction: Direction, noFault: Bool = false, count: Int, segmentsLeft: Int,
    start: UInt64 = 0, table: UnsafeRawPointer? = nil, segmentCount: Int = 0, pipeHead: Int = 0
  ) {
    precondition(count >= 0)
    self.kind = kind
    self.direction = direction
    self.noFault = noFault
    self.offset = 0
    self.count = count
    self.segmentsLeft = segmentsLeft
    self.start = start
    unsafe self.table = unsafe table
    self.segmentCount = segmentCount
    self.pipeHead = pipeHead
    self.pipeStartHead = pipeHead
  }

  /// Whether the pages belong to a user process. Kernel: `user_backed_iter()`.
  public var isUserBacked: Bool { kind == .ubuf || kind == .iovec }

  /// What an extraction takes on the pages: `.pin` for user memory, else nothing.
  ///
  /// Kernel: `iov_iter_extract_mode()`, include/linux/uio.h, v8 series, patch 2.
  public var extractMode: FollFlags { isUserBacked ? .pin : [] }

  /// Whether extracted pages must be unpinned.
  ///
  /// Kernel: `iov_iter_extract_will_pin()`, include/linux/uio.h, v6.6.
  public var willPin: Bool { isUserBacked }
}

extension IOVIter {
  /// Makes an iterator over one range of user addresses.
  /// - Parameters:
  ///   - userBuffer: address of the first byte.
  ///   - count: bytes.
  ///
  /// Kernel: `iov_iter_ubuf()`, include/linux/uio.h, v6.6.
  public init(
    userBuffer: UInt64, count: Int, direction: Direction, noFault: Bool = false
  ) {
    unsafe self.init(
      kind: .ubuf, direction: direction, noFault: noFault, count: count, segmentsLeft: 1,
      start: userBuffer)
  }

  /// Makes an iterator over ranges of user addresses; the caller keeps the table alive.
  /// - Parameters:
  ///   - userVectors: lengths are not negative.
  ///   - count: bytes; at most the sum of the lengths.
  ///
  /// Kernel: `iov_iter_init()`, lib/iov_iter.c, v6.6.
  @unsafe public init(
    userVectors: UnsafeBufferPointer<IOVec>, count: Int, direction: Direction,
    noFault: Bool = false
  ) {
    unsafe self.init(
      kind: .iovec, direction: direction, noFault: noFault, count: count,
      segmentsLeft: userVectors.count, table: UnsafeRawPointer(userVectors.baseAddress),
      segmentCount: userVectors.count)
  }

  /// Makes an iterator over ranges of kernel addresses; the caller keeps the table alive.
  /// - Parameters:
  ///   - kernelVectors: lengths are not negative.
  ///   - count: bytes; at most the sum of the lengths.
  ///
  /// Kernel: `iov_iter_kvec()`, lib/iov_iter.c, v6.6.
  @unsafe public init(
    kernelVectors: UnsafeBufferPointer<IOVec>, count: Int, direction: Direction
  ) {
    unsafe self.init(
      kind: .kvec, direction: direction, count: count, segmentsLeft: kernelVectors.count,
      table: UnsafeRawPointer(kernelVectors.baseAddress), segmentCount: kernelVectors.count)
  }

  /// Makes an iterator over ranges of pages; the caller keeps the table alive.
  /// - Parameter count: bytes; at most the sum of the lengths.
  ///
  /// Kernel: `iov_iter_bvec()`, lib/iov_iter.c, v6.6.
  @unsafe public init(
    bioVectors: UnsafeBufferPointer<BioVec>, count: Int, direction: Direction
  ) {
    unsafe self.init(
      kind: .bvec, direction: direction, count: count, segmentsLeft: bioVectors.count,
      table: UnsafeRawPointer(bioVectors.baseAddress), segmentCount: bioVectors.count)
  }

  /// Makes an iterator over a part of a page cache; the caller keeps the table object alive.
  /// - Parameters:
  ///   - position: byte position in the file.
  ///   - count: bytes.
  ///
  /// Kernel: `iov_iter_xarray()`, lib/iov_iter.c, v6.6.
  @unsafe public init(xarray: XArrayTable, position: UInt64, count: Int, direction: Direction) {
    unsafe self.init(
      kind: .xarray, direction: direction, count: count, segmentsLeft: 0, start: position,
      table: UnsafeRawPointer(xarray.stretches), segmentCount: xarray.count)
  }

  /// Makes an iterator that appends pages to a pipe; the caller keeps the pipe object alive.
  /// - Parameter count: bytes.
  ///
  /// Kernel: `iov_iter_pipe()`, lib/iov_iter.c, v6.4.
  @unsafe public init(pipe: PipeBuffer, count: Int) {
    unsafe self.init(
      kind: .pipe, direction: .destination, count: count, segmentsLeft: 0,
      table: UnsafeRawPointer(pipe.state), pipeHead: pipe.state.pointee.head)
  }

  /// Makes an iterator over a queue of folios; the caller keeps the table alive.
  /// - Parameters:
  ///   - folios: a segment for each folio: its first page, offset 0, its size in whole pages.
  ///   - offset: bytes into the first folio where the data starts; less than its size.
  ///   - count: bytes; at most what the folios hold from there on.
  ///
  /// Kernel: `iov_iter_folio_queue()`, lib/iov_iter.c, v6.12. Differs: the kernel's queue is a list of tables.
  @unsafe public init(
    folios: UnsafeBufferPointer<BioVec>, offset: Int, count: Int, direction: Direction
  ) {
    unsafe self.init(
      kind: .folioq, direction: direction, count: count, segmentsLeft: folios.count,
      table: UnsafeRawPointer(folios.baseAddress), segmentCount: folios.count)
    self.offset = offset
  }

  /// Makes an iterator that throws data away.
  /// - Parameter count: bytes.
  ///
  /// Kernel: `iov_iter_discard()`, lib/iov_iter.c, v6.6.
  public init(discardedBytes count: Int) {
    unsafe self.init(kind: .discard, direction: .destination, count: count, segmentsLeft: 0)
  }
}

extension IOVIter {
  /// Place of the current segment in the table.
  @inline(__always) var segmentIndex: Int { segmentCount &- segmentsLeft }

  /// A segment of an `iovec` or `kvec` table.
  @inline(__always) func vector(_ index: Int) -> IOVec {
    precondition(index >= 0 && index < segmentCount)
    guard let table = unsafe table else { preconditionFailure("an iterator without a table") }
    // SAFETY: both kinds are made from a table of `segmentCount` `IOVec`s.
    return unsafe table.assumingMemoryBound(to: IOVec.self)[index]
  }

  /// A segment of a `bvec` or `folioq` table.
  @inline(__always) func bioVector(_ index: Int) -> BioVec {
    precondition(index >= 0 && index < segmentCount)
    guard let table = unsafe table else { preconditionFailure("an iterator without a table") }
    // SAFETY: the kind is made from a table of `segmentCount` `BioVec`s.
    return unsafe table.assumingMemoryBound(to: BioVec.self)[index]
  }

  /// Bytes of a segment of an `iovec`, `kvec`, `bvec` or `folioq` table.
  @inline(__always) func segmentLength(_ index: Int) -> Int {
    kind == .iovec || kind == .kvec ? vector(index).length : Int(bioVector(index).length)
  }

  /// The segments from the current one on, for a bio that shares the table of a `bvec` iterator.
  @unsafe public var remainingBioVectors: UnsafeBufferPointer<BioVec> {
    precondition(kind == .bvec)
    guard segmentsLeft > 0, let table = unsafe table else {
      return unsafe UnsafeBufferPointer(start: nil, count: 0)
    }
    return unsafe UnsafeBufferPointer(
      start: table.assumingMemoryBound(to: BioVec.self) + segmentIndex, count: segmentsLeft)
  }
}
