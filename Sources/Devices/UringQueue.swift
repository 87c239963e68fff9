// One worker's way to the image through the worker's ring.

import Block
import CSystem
import CUring
import Glibc
import Memory
import Ring

/// Bios of one worker on its ring, which it shares with others. The number of an entry is that of its bio.
///
/// A bio goes in steps: mostly there is one, but a flush may go before it or behind it, and zeroes that the host's
/// filesystem cannot make are written piece by piece. None of them blocks the thread.
@safe final class UringQueue: DeviceQueue, CompletionOwner {
  let isImmediate: Bool
  private let access: ImageAccess
  private let pool: BioPool
  private let context: MemoryContext
  private let ring: IORing
  private var tag: UInt64 = 0
  /// The image's places among the ring's files: for whole blocks, and through the page cache.
  private let file: Int32
  private let bufferedFile: Int32
  /// Where a bio is that the kernel has, by bio.
  private let progress: FixedTable<Progress>
  /// Tables of segments for bios with several, used one after the other: the kernel has read a table when its entry
  /// is submitted (`IORING_FEAT_SUBMIT_STABLE`, Linux 5.5), so before the first is used again everything is.
  private let tables: SegmentTable
  private let vectorsPerTable: Int
  private var nextTable = 0
  private static let tableCount = 32
  private var completed: CompletionRing
  /// Bios that the kernel has.
  private var atDevice = 0
  private let buffers: SharedBuffers
  private var fixedBuffers = FixedBuffers.untried

  /// Whether the arena is registered with the ring.
  private enum FixedBuffers { case untried, registered, refused }

  private enum Step: UInt8 { case flushFirst, main, zeroing, flushLast }

  private struct Progress {
    var step = Step.main
    /// Bytes that have been written over with zeroes.
    var zeroed = 0
  }

  init(
    image: ImageFile, isImmediate: Bool, mapped: MappedImage?, buffers: SharedBuffers,
    pool: BioPool, context: MemoryContext, ring: IORing
  ) throws(Errno) {
    self.isImmediate = isImmediate
    self.buffers = buffers
    self.pool = pool
    self.context = context
    self.ring = ring
    access = ImageAccess(image: image, mapped: mapped, pages: context.pages)
    file = try ring.register(file: image.descriptor)
    bufferedFile =
      image.descriptor == image.bufferedDescriptor
      ? file : try ring.register(file: image.bufferedDescriptor)
    progress = FixedTable(count: pool.slotCount) { _ in Progress() }
    vectorsPerTable = SegmentTable.capacity
    tables = SegmentTable(count: Self.tableCount)
    completed = CompletionRing(capacity: pool.slotCount)
    tag = ring.addOwner(self)
  }

  deinit { ring.removeOwner(tag) }

  /// Lets go of the image, which would else stay locked until the kernel has taken the ring apart.
  func close() { ring.unregisterFiles() }

  var inFlightCount: Int { atDevice &+ completed.count }

  private var image: ImageFile { access.image }

  // MARK: Submitting

  func submit(_ bio: consuming Bio) {
    if bio.isTransfer { countTransfer(bio, in: context) }
    begin(bio, bio.flushesFirst ? .flushFirst : .main)
  }

  /// Sends a step off, or does it here.
  private func begin(_ bio: consuming Bio, _ step: Step) {
    if step == .main && !goesByRing(bio) {
      let error = bio.operation == .secureErase ? .notSupported : access.transfer(bio)
      return finish(bio, error)
    }
    if nextTable == Self.tableCount {
      ring.submit()
      nextTable = 0
    }
    let place = Int(bio.index.rawValue)
    progress[place].step = step
    let entry = unsafe ring.nextEntry()
    switch step {
    case .flushFirst, .flushLast: unsafe prepareFlush(entry)
    case .zeroing: unsafe prepareZeroing(entry, for: bio)
    case .main:
      switch bio.operation {
      case .flush: unsafe prepareFlush(entry)
      case .discard, .writeZeroes, .provision: unsafe prepareClear(entry, for: bio)
      default: unsafe prepareTransfer(entry, for: bio)
      }
    }
    unsafe io_uring_sqe_set_data64(entry, tag | UInt64(bio.index.rawValue))
    _ = bio.detach()
    atDevice &+= 1
  }

  /// Whether a bio's own work is the kernel's. A transfer is made here where the ring could only hand it on to a
  /// thread, and for the part of a block at the image's end, which cannot go by O_DIRECT.
  private func goesByRing(_ bio: borrowing Bio) -> Bool {
    switch bio.operation {
    case .flush: true
    case .discard, .writeZeroes, .provision: !image.range(of: bio).isEmpty
    case .secureErase: false
    default:
      !isImmediate && bio.byteCount > 0
        && (Int(bio.sector) << 9) + bio.byteCount <= image.wholeBlockBytes
    }
  }

  private func prepareFlush(_ entry: UnsafeMutablePointer<io_uring_sqe>) {
    unsafe io_uring_prep_fsync(entry, bufferedFile, UInt32(IORING_FSYNC_DATASYNC))
    unsafe io_uring_sqe_set_flags(entry, UInt32(1 << IOSQE_FIXED_FILE_BIT))
  }

  private func prepareClear(
    _ entry: UnsafeMutablePointer<io_uring_sqe>, for bio: borrowing Bio
  ) {
    let range = image.range(of: bio)
    // Before the pages go: nobody may copy from or to them any more.
    access.noteAbsent(range)
    unsafe io_uring_prep_fallocate(
      entry, bufferedFile, image.mode(of: bio), off_t(range.lowerBound), off_t(range.count))
    unsafe io_uring_sqe_set_flags(entry, UInt32(1 << IOSQE_FIXED_FILE_BIT))
  }

  private func prepareZeroing(
    _ entry: UnsafeMutablePointer<io_uring_sqe>, for bio: borrowing Bio
  ) {
    let range = image.range(of: bio).dropFirst(progress[Int(bio.index.rawValue)].zeroed)
    let piece = image.zeroPiece(range.startIndex..<range.endIndex)
    unsafe io_uring_prep_write(
      entry, piece.isBuffered ? bufferedFile : file, Zeroes.start, UInt32(piece.byteCount),
      UInt64(range.startIndex))
    unsafe io_uring_sqe_set_flags(entry, UInt32(1 << IOSQE_FIXED_FILE_BIT))
  }

  private func prepareTransfer(
    _ entry: UnsafeMutablePointer<io_uring_sqe>, for bio: borrowing Bio
  ) {
    let vectors = unsafe freeTable()
    let count = unsafe fillSegments(vectors, from: bio, pages: context.pages)
    let offset = UInt64(Int(bio.sector) << 9)
    let place = bio.flags.contains(.cached) ? bufferedFile : file
    if count == 1 {
      unsafe prepare(entry, for: bio, moving: vectors.pointee, of: place, at: offset)
    } else {
      nextTable &+= 1
      if bio.isWrite {
        unsafe io_uring_prep_writev(entry, place, vectors, UInt32(count), offset)
      } else {
        unsafe io_uring_prep_readv(entry, place, vectors, UInt32(count), offset)
      }
    }
    unsafe entry.pointee.rw_flags = bio.transferFlags
    unsafe io_uring_sqe_set_flags(entry, UInt32(1 << IOSQE_FIXED_FILE_BIT))
  }

  /// A table that no unsubmitted entry refers to.
  private func freeTable() -> UnsafeMutablePointer<iovec> {
    precondition(nextTable < Self.tableCount, "all tables of segments are in use")
    return unsafe tables.vectors + nextTable * vectorsPerTable
  }

  /// One segment: an ordinary transfer, whose pages the kernel pins, or one on a registered buffer, whose pages are
  /// pinned already.
  ///
  /// Kernel: `io_import_fixed()`, io_uring/rsrc.c, which makes the same ITER_BVEC of a registered buffer.
  private func prepare(
    _ entry: UnsafeMutablePointer<io_uring_sqe>, for bio: borrowing Bio, moving segment: iovec,
    of file: Int32, at offset: UInt64
  ) {
    let length = unsafe UInt32(segment.iov_len)
    let buffer = unsafe bio.flags.contains(.registered) ? fixedBuffer(segment) : nil
    switch (bio.isWrite, buffer) {
    case (true, let buffer?):
      unsafe io_uring_prep_write_fixed(entry, file, segment.iov_base, length, offset, buffer)
    case (true, nil): unsafe io_uring_prep_write(entry, file, segment.iov_base, length, offset)
    case (false, let buffer?):
      unsafe io_uring_prep_read_fixed(entry, file, segment.iov_base, length, offset, buffer)
    case (false, nil): unsafe io_uring_prep_read(entry, file, segment.iov_base, length, offset)
    }
  }

  /// The registered buffer in which a segment lies as a whole, or nil. The arena is registered with the first bio
  /// that can use it; where the kernel refuses, transfers go on as ordinary ones.
  private func fixedBuffer(_ segment: iovec) -> Int32? {
    if fixedBuffers == .untried {
      fixedBuffers = buffers.register(on: ring, in: context) ? .registered : .refused
    }
    if fixedBuffers == .refused { return nil }
    let pages = context.pages
    let start = unsafe pages.memory(at: Page(0), offset: 0, length: pageSize).baseAddress
    let first = unsafe UInt(bitPattern: segment.iov_base) &- UInt(bitPattern: start)
    let last = unsafe first &+ UInt(segment.iov_len) &- 1
    let number = first / UInt(IORing.bufferBytes)
    let isInside = last < UInt(pages.populatedCount &* pageSize)
    return isInside && last / UInt(IORing.bufferBytes) == number ? Int32(number) : nil
  }

  // MARK: Completing

  func nextCompleted() -> Bio? {
    guard let index = completed.popFirst() else { return nil }
    return pool.adopt(index)
  }

  /// A step is through: the next, or the end.
  func complete(_ data: UInt64, result: Int32) {
    atDevice &-= 1
    let bio = pool.adopt(BioIndex(rawValue: UInt32(truncatingIfNeeded: data)))
    let place = Int(bio.index.rawValue)
    let step = progress[place].step
    if bio.isTransfer && step == .main {
      let error = transferError(bio, result)
      return finish(bio, error)
    }
    if result == -EINTR || result == -EAGAIN { return begin(bio, step) }
    let error = result < 0 ? Errno(rawValue: -result) : nil
    if let error {
      if step != .main || !image.mustWriteZeroes(bio, after: error) { return finish(bio, error) }
      progress[place].zeroed = 0
      return begin(bio, .zeroing)
    }
    switch step {
    case .flushFirst: begin(bio, .main)
    case .main: end(bio)
    case .zeroing: continueZeroing(bio, by: Int(result))
    case .flushLast: finish(bio, nil)
    }
  }

  private func continueZeroing(_ bio: consuming Bio, by count: Int) {
    if count == 0 { return finish(bio, .noSpace) }
    let place = Int(bio.index.rawValue)
    progress[place].zeroed += count
    if progress[place].zeroed < image.range(of: bio).count { return begin(bio, .zeroing) }
    end(bio)
  }

  /// A bio's own work is done; what is to be made durable then, is.
  private func end(_ bio: consuming Bio) {
    if bio.flushesLast { return begin(bio, .flushLast) }
    finish(bio, nil)
  }

  /// What became of a transfer; what came short is moved to its last byte first.
  private func transferError(_ bio: borrowing Bio, _ result: Int32) -> Errno? {
    if Int(result) == bio.byteCount { return nil }
    if result >= 0 || result == -EINTR || result == -EAGAIN {
      return access.transfer(bio, skip: Int(max(result, 0)))
    }
    return Errno(rawValue: -result)
  }

  private func finish(_ bio: consuming Bio, _ error: Errno?) {
    if let error { bio.status = error }
    completed.append(bio.detach())
  }
}
