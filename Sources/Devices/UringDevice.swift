// The image through io_uring: bios of many requests under way at once, one system call for a batch.

import Block
import CUring
import Glibc
import Memory

/// The image file, by io_uring.
public final class UringDevice: FileDevice, @unchecked Sendable {
  // Guard of the unchecked Sendable: as of `FileDevice`.
  private let isInline: Bool

  /// Serves an image. Where io_uring could only hand transfers on to a kernel thread, they are made by the worker
  /// itself, with preadv2 and pwritev2; flushes go through the ring all the same.
  public init(image: ImageFile) {
    isInline = !image.supportsNoWait()
    super.init(image: image, method: isInline ? "io_uring, inline transfers" : "io_uring")
  }

  /// Why io_uring cannot be used here, or nil if it can.
  public static func unavailability() -> String? {
    var ring = unsafe io_uring()
    let result = unsafe io_uring_queue_init(2, &ring, 0)
    if result < 0 { return unsafe String(cString: strerror(-result)) }
    unsafe io_uring_queue_exit(&ring)
    return nil
  }

  /// Makes the calling thread's ring.
  public override func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext
  ) throws(Errno) -> any DeviceQueue {
    try UringQueue(
      image: image, isInline: isInline, pool: pool, depth: depth, context: context)
  }
}

/// One worker's ring. A submission's user data is the bio's number; two numbers beyond any bio stand for the
/// descriptors that the worker waits on.
@safe final class UringQueue: DeviceQueue {
  private let image: ImageFile
  let isImmediate: Bool
  private let pool: BioPool
  private let context: MemoryContext
  private let ring: UnsafeMutablePointer<io_uring>
  private let segments: UnsafeMutablePointer<iovec>
  private let spare = SegmentTable()
  private var completed: CompletionRing
  /// Bios that the kernel has.
  private var atDevice = 0
  private var unsubmitted = 0
  /// Whether a poll of the first or second descriptor is armed, and on which descriptor.
  private var polled: (first: Int32, second: Int32) = (-1, -1)

  private static let pollBase: UInt64 = 1 << 32

  init(
    image: ImageFile, isInline: Bool, pool: BioPool, depth: Int, context: MemoryContext
  ) throws(Errno) {
    self.image = image
    isImmediate = isInline
    self.pool = pool
    self.context = context
    unsafe ring = .allocate(capacity: 1)
    unsafe ring.initialize(to: io_uring())
    unsafe segments = .allocate(capacity: depth * SegmentTable.capacity)
    completed = CompletionRing(capacity: depth)
    let result = unsafe Self.setUp(ring, entries: UInt32(min(max(depth, 8), 1024)))
    if result < 0 {
      unsafe segments.deallocate()
      unsafe ring.deallocate()
      throw Errno(rawValue: -result)
    }
    var files = [image.descriptor]
    _ = unsafe io_uring_register_files(ring, &files, 1)
  }

  /// Newer kernels run completions on this thread when it asks (6.1), which saves interrupts; older ones do not.
  private static func setUp(_ ring: UnsafeMutablePointer<io_uring>, entries: UInt32) -> Int32 {
    let modern =
      UInt32(IORING_SETUP_SINGLE_ISSUER) | UInt32(IORING_SETUP_DEFER_TASKRUN)
      | UInt32(IORING_SETUP_SUBMIT_ALL)
    let result = unsafe io_uring_queue_init(entries, ring, modern)
    return unsafe result == -EINVAL ? io_uring_queue_init(entries, ring, 0) : result
  }

  /// Takes the image out of the ring: the kernel takes a ring apart later, in its own time, and until then the
  /// image would stay open and locked.
  func close() {
    _ = unsafe io_uring_unregister_files(ring)
  }

  deinit {
    unsafe io_uring_queue_exit(ring)
    unsafe ring.deallocate()
    unsafe segments.deallocate()
  }

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
    guard let entry = unsafe nextEntry() else {
      finish(bio, skip: 0)
      return
    }
    unsafe prepare(entry, for: bio)
    let index = bio.detach()
    unsafe io_uring_sqe_set_data64(entry, UInt64(index.rawValue))
    atDevice &+= 1
    unsubmitted &+= 1
  }

  /// A free entry of the submission queue; a full queue is sent off first.
  private func nextEntry() -> UnsafeMutablePointer<io_uring_sqe>? {
    if let entry = unsafe io_uring_get_sqe(ring) { return unsafe entry }
    _ = unsafe io_uring_submit(ring)
    unsubmitted = 0
    return unsafe io_uring_get_sqe(ring)
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
      let length = unsafe UInt32(vectors.pointee.iov_len)
      if bio.isWrite {
        unsafe io_uring_prep_write(entry, 0, vectors.pointee.iov_base, length, offset)
      } else {
        unsafe io_uring_prep_read(entry, 0, vectors.pointee.iov_base, length, offset)
      }
    } else if bio.isWrite {
      unsafe io_uring_prep_writev(entry, 0, vectors, UInt32(count), offset)
    } else {
      unsafe io_uring_prep_readv(entry, 0, vectors, UInt32(count), offset)
    }
    // The image is the ring's registered file 0.
    unsafe io_uring_sqe_set_flags(entry, UInt32(1 << IOSQE_FIXED_FILE_BIT))
  }

  func kick() {
    if unsubmitted > 0 {
      _ = unsafe io_uring_submit_and_get_events(ring)
      unsubmitted = 0
    }
  }

  // MARK: Completing

  func nextCompleted() -> Bio? {
    if let index = completed.popFirst() { return pool.adopt(index) }
    while let (data, result) = nextCompletion() {
      if data >= Self.pollBase {
        notePoll(data)
        continue
      }
      atDevice &-= 1
      return completedBio(BioIndex(rawValue: UInt32(data)), result: result)
    }
    return nil
  }

  private func nextCompletion() -> (data: UInt64, result: Int32)? {
    var entry: UnsafeMutablePointer<io_uring_cqe>?
    if unsafe io_uring_peek_cqe(ring, &entry) != 0 { return nil }
    guard let entry = unsafe entry else { return nil }
    let completion = unsafe (entry.pointee.user_data, entry.pointee.res)
    unsafe io_uring_cqe_seen(ring, entry)
    return completion
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
    if bio.operation == .flush {
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
    if completed.count > 0 { return }
    if first >= 0 && polled.first != first {
      arm(first, data: Self.pollBase)
      polled.first = first
    }
    if second >= 0 && polled.second != second {
      arm(second, data: Self.pollBase + 1)
      polled.second = second
    }
    _ = unsafe io_uring_submit_and_wait(ring, 1)
    unsubmitted = 0
  }

  private func arm(_ descriptor: Int32, data: UInt64) {
    guard let entry = unsafe nextEntry() else { return }
    unsafe io_uring_prep_poll_add(entry, descriptor, UInt32(POLLIN))
    unsafe io_uring_sqe_set_data64(entry, data)
  }

  private func notePoll(_ data: UInt64) {
    if data == Self.pollBase { polled.first = -1 } else { polled.second = -1 }
  }
}
