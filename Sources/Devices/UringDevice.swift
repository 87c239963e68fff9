// The image through io_uring: bios of many requests under way at once, one system call for a batch.

import Block
import CSystem
import CUring
import Glibc
import Memory
import Ring
import Synchronization

/// The image file, by io_uring.
public final class UringDevice: FileDevice, @unchecked Sendable {
  // Guard of the unchecked Sendable: as of `FileDevice`.
  /// The image in memory, if it lies there.
  private let mapped: MappedImage?
  /// Told once if the kernel will not register the buffers.
  private let noteRefusal: @Sendable (Errno) -> Void
  private let hasNoted = Atomic<Bool>(false)

  /// Serves an image. Where io_uring could only hand transfers on to a kernel thread, they are made by the worker
  /// itself, with preadv2 and pwritev2; flushes go through the ring all the same.
  /// - Parameters:
  ///   - image: the image.
  ///   - mapsMemory: whether an image that lies in memory is mapped. Who asks for that calls `relax` when idle.
  ///   - noteRefusal: told once if `bvec` transfers cannot use registered buffers, and why.
  public init(
    image: ImageFile, mapsMemory: Bool,
    noteRefusal: @escaping @Sendable (Errno) -> Void = { _ in }
  ) {
    self.noteRefusal = noteRefusal
    let isInline = !image.supportsNoWait()
    mapped = isInline && mapsMemory ? MappedImage(image) : nil
    let caching = image.isDirect ? "O_DIRECT" : "buffered"
    super.init(
      image: image,
      name: mapped != nil
        ? "memory mapped (tmpfs)"
        : isInline ? "io_uring, inline transfers (\(caching))" : "io_uring (\(caching))",
      isImmediate: isInline)
  }

  /// Why io_uring cannot be used here, or nil if it can.
  public static func unavailability() -> String? {
    var ring = unsafe io_uring()
    let result = unsafe io_uring_queue_init(2, &ring, 0)
    if result < 0 { return unsafe String(cString: strerror(-result)) }
    unsafe io_uring_queue_exit(&ring)
    return nil
  }

  /// Makes the calling thread's queue, on a ring of its own if it is given none.
  public override func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: IORing?
  ) throws(Errno) -> any DeviceQueue {
    try UringQueue(
      image: image, isInline: isImmediate, mapped: mapped, pool: pool, depth: depth,
      context: context, ring: ring
    ) { [self] error in
      if !hasNoted.exchange(true, ordering: .relaxed) { noteRefusal(error) }
    }
  }

  /// fallocate(2) on the image.
  public override func allocate(mode: Int32, offset: Int, length: Int) throws(Errno) {
    if mode & ~FALLOC_FL_KEEP_SIZE != 0 { mapped?.noteAbsent(offset: offset, byteCount: length) }
    try super.allocate(mode: mode, offset: offset, length: length)
  }

  /// Whether a mapping holds memory in this process.
  public override var canRelax: Bool { mapped != nil }
  /// Gives up what the mapping of the image holds in this process.
  public override func relax() { mapped?.relax() }
}

/// One worker's way to the image through a ring. A submission's mark is the bio's number; two numbers beyond any bio
/// stand for the descriptors that the worker waits on.
@safe final class UringQueue: DeviceQueue {
  private let image: ImageFile
  private let mapped: MappedImage?
  let isImmediate: Bool
  private let pool: BioPool
  private let context: MemoryContext
  private let ring: IORing
  /// Whether the ring is the queue's own, to send off and to wait on.
  private let ownsRing: Bool
  /// The image's place among the ring's files.
  private let file: Int32
  private let segments: UnsafeMutablePointer<iovec>
  private let spare = SegmentTable()
  private var completed: CompletionRing
  /// Bios that the kernel has.
  private var atDevice = 0
  private var fixedBuffers = FixedBuffers.untried
  private let noteRefusal: (Errno) -> Void
  /// Whether a poll of the first or second descriptor is armed, and on which descriptor.
  private var polled: (first: Int32, second: Int32) = (-1, -1)

  /// Whether the arena is registered with the ring.
  private enum FixedBuffers { case untried, registered, refused }

  init(
    image: ImageFile, isInline: Bool, mapped: MappedImage?, pool: BioPool, depth: Int,
    context: MemoryContext,
    ring: IORing?, noteRefusal: @escaping (Errno) -> Void
  ) throws(Errno) {
    self.noteRefusal = noteRefusal
    self.image = image
    isImmediate = isInline
    self.mapped = mapped
    self.pool = pool
    self.context = context
    ownsRing = ring == nil
    if let ring {
      self.ring = ring
    } else {
      self.ring = try IORing(entries: min(depth, 1024), isWide: false)
    }
    file = try self.ring.register(file: image.descriptor)
    unsafe segments = .allocate(capacity: depth * SegmentTable.capacity)
    completed = CompletionRing(capacity: depth)
  }

  func close() { ring.unregisterFiles() }

  deinit { unsafe segments.deallocate() }

  var inFlightCount: Int { atDevice &+ completed.count }

  // MARK: Submitting

  func submit(_ bio: consuming Bio) {
    if bio.operation != .flush {
      countTransfer(bio, in: context)
      if isImmediate || (Int(bio.sector) << 9) + bio.byteCount > image.wholeBlockBytes {
        // The part of a block at the image's end cannot go by O_DIRECT.
        finish(bio, skip: 0)
        return
      }
    }
    guard let entry = unsafe ring.nextEntry() else {
      finish(bio, skip: 0)
      return
    }
    unsafe prepare(entry, for: bio)
    let index = bio.detach()
    unsafe io_uring_sqe_set_data64(entry, RingOwner.device | UInt64(index.rawValue))
    atDevice &+= 1
  }

  private func prepare(_ entry: UnsafeMutablePointer<io_uring_sqe>, for bio: borrowing Bio) {
    if bio.operation == .flush {
      unsafe io_uring_prep_fsync(entry, image.bufferedDescriptor, UInt32(IORING_FSYNC_DATASYNC))
      return
    }
    let vectors = unsafe segments + Int(bio.index.rawValue) * SegmentTable.capacity
    let count = unsafe fillSegments(vectors, from: bio, pages: context.pages)
    let offset = UInt64(Int(bio.sector) << 9)
    if count == 1 {
      unsafe prepare(entry, for: bio, moving: vectors.pointee, at: offset)
    } else if bio.isWrite {
      unsafe io_uring_prep_writev(entry, file, vectors, UInt32(count), offset)
    } else {
      unsafe io_uring_prep_readv(entry, file, vectors, UInt32(count), offset)
    }
    unsafe io_uring_sqe_set_flags(entry, UInt32(1 << IOSQE_FIXED_FILE_BIT))
  }

  /// One segment: an ordinary transfer, whose pages the kernel pins, or, for a bio that shares a `bvec` iterator's
  /// table, one on the registered buffer, whose pages are pinned already.
  ///
  /// Kernel: `io_import_fixed()`, io_uring/rsrc.c, which makes the same ITER_BVEC of a registered buffer.
  private func prepare(
    _ entry: UnsafeMutablePointer<io_uring_sqe>, for bio: borrowing Bio, moving segment: iovec,
    at offset: UInt64
  ) {
    let length = unsafe UInt32(segment.iov_len)
    let isFixed = bio.flags.contains(.cloned) && hasFixedBuffers
    switch (bio.isWrite, isFixed) {
    case (true, true):
      unsafe io_uring_prep_write_fixed(entry, file, segment.iov_base, length, offset, 0)
    case (true, false): unsafe io_uring_prep_write(entry, file, segment.iov_base, length, offset)
    case (false, true):
      unsafe io_uring_prep_read_fixed(entry, file, segment.iov_base, length, offset, 0)
    case (false, false): unsafe io_uring_prep_read(entry, file, segment.iov_base, length, offset)
    }
  }

  /// Whether the arena is registered; tried with the first bio that can use it. Where the kernel refuses, as
  /// RLIMIT_MEMLOCK may want, transfers go on as ordinary ones.
  private var hasFixedBuffers: Bool {
    if fixedBuffers == .untried {
      do throws(Errno) {
        let pages = context.pages
        unsafe try ring.register(
          buffer: pages.memory(at: Page(0), offset: 0, length: pages.populatedCount * pageSize))
        fixedBuffers = .registered
        context.counters.add(.fixedBufferPages, pages.populatedCount)
      } catch {
        fixedBuffers = .refused
        noteRefusal(error)
      }
    }
    return fixedBuffers == .registered
  }

  func kick() {
    if !ownsRing { return }
    if ring.unsubmittedCount > 0 { ring.submit() }
    while let completion = ring.nextCompletion() { note(completion) }
  }

  // MARK: Completing

  func nextCompleted() -> Bio? {
    guard let index = completed.popFirst() else { return nil }
    return pool.adopt(index)
  }

  func note(_ completion: RingCompletion) {
    if RingOwner.of(completion.data) == RingOwner.poll { return notePoll(completion.data) }
    atDevice &-= 1
    let bio = completedBio(
      BioIndex(rawValue: UInt32(truncatingIfNeeded: completion.data)), result: completion.result)
    completed.append(bio.detach())
  }

  /// Sets a bio's status; what came short is moved to its last byte first.
  private func completedBio(_ index: BioIndex, result: Int32) -> Bio {
    let bio = pool.adopt(index)
    if bio.operation == .flush {
      if result < 0 { bio.status = Errno(rawValue: -result) }
      return bio
    }
    if Int(result) == bio.byteCount { return bio }
    let retries = result >= 0 || result == -EINTR || result == -EAGAIN
    let error =
      retries
      ? image.transfer(bio, skip: Int(max(result, 0)), segments: spare, pages: context.pages)
      : Errno(rawValue: -result)
    if let error { bio.status = error }
    return bio
  }

  /// Moves a bio by blocking calls, for what the ring cannot take.
  private func finish(_ bio: consuming Bio, skip: Int) {
    var error: Errno?
    if let mapped, bio.operation != .flush {
      if skip > 0 || !mapped.move(bio, pages: context.pages) {
        error = image.transfer(bio, skip: skip, segments: spare, pages: context.pages)
        if error == nil && bio.isWrite {
          mapped.notePresent(offset: Int(bio.sector) << 9, byteCount: bio.byteCount)
        }
      }
    } else if bio.operation == .flush {
      do { try image.flush() } catch let failure { error = failure }
    } else {
      error = image.transfer(bio, skip: skip, segments: spare, pages: context.pages)
    }
    if let error { bio.status = error }
    completed.append(bio.detach())
  }

  // MARK: Waiting

  /// Arms a poll on each descriptor that has none, and sleeps until anything completes.
  func wait(readable first: Int32, _ second: Int32) {
    precondition(ownsRing, "who lends a ring waits on it")
    if completed.count > 0 { return }
    if first >= 0 && polled.first != first {
      ring.poll(first, data: RingOwner.poll)
      polled.first = first
    }
    if second >= 0 && polled.second != second {
      ring.poll(second, data: RingOwner.poll | 1)
      polled.second = second
    }
    ring.submitAndWait()
    while let completion = ring.nextCompletion() { note(completion) }
  }

  private func notePoll(_ data: UInt64) {
    if data == RingOwner.poll { polled.first = -1 } else { polled.second = -1 }
  }
}
