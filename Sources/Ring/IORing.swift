// One thread's io_uring: entries go in, completions come out, one system call for a whole batch of both.

import CUring
import Glibc
import Memory

/// One completion of a ring.
public struct RingCompletion {
  /// What the submission was marked with.
  public let data: UInt64
  /// The result: bytes, or a negative errno.
  public let result: Int32
}

/// Who a submission belongs to, in the top byte of what it is marked with; the rest is the owner's own.
public enum RingOwner {
  /// A bio of the device queue.
  public static let device: UInt64 = 0
  /// A poll of a descriptor that a worker waits on.
  public static let poll: UInt64 = 1 << 56
  /// A ring entry of the FUSE transport.
  public static let transport: UInt64 = 2 << 56

  /// The owner's byte of a mark.
  public static func of(_ data: UInt64) -> UInt64 { data & (0xff << 56) }
}

/// An io_uring. Made, used and closed by one thread: transport and device of a worker share it, so that answers,
/// fetches and backing I/O leave in one system call.
@safe public final class IORing {
  private let ring: UnsafeMutablePointer<io_uring>
  /// Whether entries have the 128 bytes that FUSE's commands need.
  public let isWide: Bool
  /// Entries that were prepared and not sent off.
  public private(set) var unsubmittedCount = 0
  /// Places for registered files. A ring's submissions name a file by its place.
  private static let filePlaces = 4
  private var nextFile: UInt32 = 0

  /// Makes a ring.
  /// - Parameters:
  ///   - entries: submissions that can be prepared before they are sent off; rounded up to a power of two.
  ///   - isWide: whether entries are 128 bytes long (Linux 5.19).
  /// - Throws: what io_uring_setup(2) failed with.
  public init(entries: Int, isWide: Bool) throws(Errno) {
    self.isWide = isWide
    unsafe ring = .allocate(capacity: 1)
    unsafe ring.initialize(to: io_uring())
    let result = unsafe Self.setUp(
      ring, entries: UInt32(min(max(entries, 8), 4096)), isWide: isWide)
    if result < 0 {
      unsafe ring.deallocate()
      throw Errno(rawValue: -result)
    }
    let none = [Int32](repeating: -1, count: Self.filePlaces)
    _ = unsafe io_uring_register_files(ring, none, UInt32(none.count))
  }

  /// Newer kernels run completions on this thread when it asks (6.1), which saves interrupts; older ones do not.
  private static func setUp(
    _ ring: UnsafeMutablePointer<io_uring>, entries: UInt32, isWide: Bool
  ) -> Int32 {
    let wide = isWide ? UInt32(IORING_SETUP_SQE128) : 0
    let modern =
      UInt32(IORING_SETUP_SINGLE_ISSUER) | UInt32(IORING_SETUP_DEFER_TASKRUN)
      | UInt32(IORING_SETUP_SUBMIT_ALL) | UInt32(IORING_SETUP_TASKRUN_FLAG)
    let result = unsafe io_uring_queue_init(entries, ring, modern | wide)
    return unsafe result == -EINVAL ? io_uring_queue_init(entries, ring, wide) : result
  }

  deinit {
    unsafe io_uring_queue_exit(ring)
    unsafe ring.deallocate()
  }

  // MARK: Registration

  /// Registers a file, which saves looking it up for each submission.
  /// - Returns: its place, for entries with `IOSQE_FIXED_FILE`.
  /// - Throws: what the kernel refused with.
  public func register(file descriptor: Int32) throws(Errno) -> Int32 {
    precondition(nextFile < Self.filePlaces, "a ring has no more places for files")
    var descriptor = descriptor
    let result = unsafe io_uring_register_files_update(ring, nextFile, &descriptor, 1)
    if result < 0 { throw Errno(rawValue: -result) }
    nextFile += 1
    return Int32(nextFile - 1)
  }

  /// Takes all files out of the ring: the kernel takes a ring apart later, in its own time, and until then its files
  /// would stay open and an image locked.
  public func unregisterFiles() { _ = unsafe io_uring_unregister_files(ring) }

  /// Registers one stretch of memory as fixed buffer 0: its pages are pinned now, and not once more for each
  /// transfer.
  ///
  /// Kernel: `io_sqe_buffers_register()`, io_uring/rsrc.c.
  /// - Throws: what the kernel refused with, as `.noMemory` where RLIMIT_MEMLOCK is too low.
  @unsafe public func register(buffer: UnsafeMutableRawBufferPointer) throws(Errno) {
    var vector = unsafe iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
    let result = unsafe io_uring_register_buffers(ring, &vector, 1)
    if result < 0 { throw Errno(rawValue: -result) }
  }

  // MARK: Submitting

  /// A free entry of the submission queue, blank; a full queue is sent off first. Nil if the kernel takes nothing.
  @unsafe public func nextEntry() -> UnsafeMutablePointer<io_uring_sqe>? {
    var entry = unsafe io_uring_get_sqe(ring)
    if unsafe entry == nil {
      submit()
      unsafe entry = unsafe io_uring_get_sqe(ring)
    }
    guard let entry = unsafe entry else { return nil }
    unsafe UnsafeMutableRawPointer(entry).initializeMemory(
      as: UInt8.self, repeating: 0, count: isWide ? 128 : 64)
    unsubmittedCount &+= 1
    return unsafe entry
  }

  /// Asks to be told once when a descriptor can be read.
  public func poll(_ descriptor: Int32, data: UInt64) {
    guard let entry = unsafe nextEntry() else { return }
    unsafe io_uring_prep_poll_add(entry, descriptor, UInt32(POLLIN))
    unsafe io_uring_sqe_set_data64(entry, data)
  }

  /// Sends off what was prepared, and lets completions come in.
  public func submit() {
    _ = unsafe io_uring_submit_and_get_events(ring)
    unsubmittedCount = 0
  }

  /// Sends off what was prepared, and sleeps until there is a completion.
  public func submitAndWait() {
    _ = unsafe io_uring_submit_and_wait(ring, 1)
    unsubmittedCount = 0
  }

  /// The same, for so long at most.
  /// - Returns: whether there is a completion.
  public func submitAndWait(seconds: Int) -> Bool {
    var entry: UnsafeMutablePointer<io_uring_cqe>?
    var time = __kernel_timespec(tv_sec: Int64(seconds), tv_nsec: 0)
    _ = unsafe io_uring_submit_and_wait_timeout(ring, &entry, 1, &time, nil)
    unsubmittedCount = 0
    return unsafe io_uring_cq_ready(ring) > 0
  }

  // MARK: Completing

  /// Whether a completion is there, or would be if the kernel were asked; costs no system call.
  public var hasNews: Bool {
    let flags = unsafe UnsafeMutablePointer<UInt32>(ring.pointee.sq.kflags)
    // Another CPU writes the flags; a plain load of an aligned word sees an old or a new value.
    let pending = unsafe flags.map { unsafe extractfs_load_relaxed($0) } ?? 0
    let news = UInt32(1 << 2) | UInt32(IORING_SQ_CQ_OVERFLOW)  // IORING_SQ_TASKRUN
    return unsafe pending & news != 0 || io_uring_cq_ready(ring) > 0
  }

  /// The next completion that is there already, or nil.
  public func nextCompletion() -> RingCompletion? {
    if unsafe io_uring_cq_ready(ring) == 0 { return nil }
    var entry: UnsafeMutablePointer<io_uring_cqe>?
    if unsafe io_uring_peek_cqe(ring, &entry) != 0 { return nil }
    guard let entry = unsafe entry else { return nil }
    let completion = unsafe RingCompletion(
      data: entry.pointee.user_data, result: entry.pointee.res)
    unsafe io_uring_cqe_seen(ring, entry)
    return completion
  }
}
