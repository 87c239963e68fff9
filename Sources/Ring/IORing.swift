// One thread's io_uring: entries go in, completions come out, one system call for a whole batch of both.

import CSystem
import CUring
import Glibc
import Memory

/// One completion of a ring.
public struct RingCompletion: Sendable {
  /// What the submission was marked with: the owner's tag in the top byte, and the owner's own number below.
  public let data: UInt64
  /// The result: bytes, or a negative errno.
  public let result: Int32
}

/// An io_uring. Made, used and closed by one thread: transport, device queues and timers of a worker share it, so that
/// answers, fetches and backing I/O leave in one system call. Each of them is an owner, and `dispatch` hands it what
/// is its own.
@safe public final class IORing {
  let ring: UnsafeMutablePointer<io_uring>
  /// Whether entries have the 128 bytes that FUSE's commands need.
  public let isWide: Bool
  /// Whether sleeping need not count as waiting for I/O. Kernel: `IORING_FEAT_NO_IOWAIT`, Linux 6.15.
  let knowsNoIOWait: Bool
  /// What tells of completions in a sleep that must not count as I/O, on kernels that do not know better; else -1.
  let wakeUpDescriptor: Int32
  /// Who gets which completion, by tag.
  let owners: FixedTable<OwnerPlace>
  /// Completions that had to be taken out of the kernel's way before their owners could be told, oldest first. Empty
  /// but for a kernel whose completion queue is full.
  var backlog: [RingCompletion] = []
  /// What timers wait for, by the place of their entry: the kernel reads it when it takes the entry.
  let times: FixedTable<__kernel_timespec>
  /// Places for registered files. A ring's submissions name a file by its place.
  private static let filePlaces = 4
  private var nextFile: UInt32 = 0

  /// Who may use a ring.
  public enum Use: Sendable {
    /// One thread alone, which the kernel makes good use of.
    case oneThread
    /// Any thread, one at a time: for a ring that only holds registered buffers.
    case anyThread
  }

  /// Makes a ring.
  /// - Parameters:
  ///   - entries: submissions that can be prepared before they are sent off; rounded up to a power of two.
  ///   - isWide: whether entries are 128 bytes long (Linux 5.19).
  ///   - use: who will use it.
  ///   - knowsNoIOWait: false for a ring that sleeps as on a kernel before Linux 6.15; for tests.
  /// - Throws: what io_uring_setup(2) failed with.
  public init(
    entries: Int, isWide: Bool, use: Use = .oneThread, knowsNoIOWait: Bool = true
  ) throws(Errno) {
    self.isWide = isWide
    unsafe ring = .allocate(capacity: 1)
    unsafe ring.initialize(to: io_uring())
    let result = unsafe Self.setUp(
      ring, entries: UInt32(min(max(entries, 8), 4096)), isWide: isWide, use)
    if result < 0 {
      unsafe ring.deallocate()
      throw Errno(rawValue: -result)
    }
    self.knowsNoIOWait =
      knowsNoIOWait && (unsafe ring.pointee.features & RingNumber.featureNoIOWait != 0)
    unsafe wakeUpDescriptor = self.knowsNoIOWait ? -1 : Self.makeWakeUp(for: ring)
    owners = FixedTable(count: RingNumber.ownerPlaces) { _ in OwnerPlace() }
    let places = unsafe Int(ring.pointee.sq.ring_entries)
    times = FixedTable(count: places, repeating: __kernel_timespec(tv_sec: 0, tv_nsec: 0))
    // liburing of some versions writes this table with each submission, others once; entries are used in order.
    if let array = unsafe ring.pointee.sq.array {
      for place in 0..<places { unsafe array[place] = UInt32(place) }
    }
    let none = [Int32](repeating: -1, count: Self.filePlaces)
    _ = unsafe io_uring_register_files(ring, none, UInt32(none.count))
  }

  /// Newer kernels run completions on this thread when it asks (6.1), which saves interrupts; older ones do not.
  private static func setUp(
    _ ring: UnsafeMutablePointer<io_uring>, entries: UInt32, isWide: Bool, _ use: Use
  ) -> Int32 {
    let wide = isWide ? UInt32(IORING_SETUP_SQE128) : 0
    if use == .anyThread { return unsafe io_uring_queue_init(entries, ring, wide) }
    let modern =
      UInt32(IORING_SETUP_SINGLE_ISSUER) | UInt32(IORING_SETUP_DEFER_TASKRUN)
      | UInt32(IORING_SETUP_SUBMIT_ALL) | UInt32(IORING_SETUP_TASKRUN_FLAG)
    let result = unsafe io_uring_queue_init(entries, ring, modern | wide)
    return unsafe result == -EINVAL ? io_uring_queue_init(entries, ring, wide) : result
  }

  /// An eventfd that the ring rings while that is switched on, or -1. The ring's own descriptor would not do: of work
  /// that is put off until this thread asks for it, who polls that hears nothing.
  private static func makeWakeUp(for ring: UnsafeMutablePointer<io_uring>) -> Int32 {
    let descriptor = eventfd(0, EXTRACTFS_EFD_FLAGS)
    if descriptor < 0 { return -1 }
    if unsafe io_uring_register_eventfd(ring, descriptor) != 0 {
      close(descriptor)
      return -1
    }
    _ = unsafe io_uring_cq_eventfd_toggle(ring, false)
    return descriptor
  }

  deinit {
    unsafe io_uring_queue_exit(ring)
    if wakeUpDescriptor >= 0 { close(wakeUpDescriptor) }
    unsafe ring.deallocate()
  }

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
}

/// Numbers of io_uring that are newer than Debian 12's headers, include/uapi/linux/io_uring.h, and of our own.
enum RingNumber {
  /// `IORING_FEAT_NO_IOWAIT`.
  static let featureNoIOWait: UInt32 = 1 << 17
  /// `IORING_ENTER_NO_IOWAIT`.
  static let enterNoIOWait: UInt32 = 1 << 7
  /// `IORING_ENTER_GETEVENTS`.
  static let enterGetEvents: UInt32 = 1 << 0
  /// `IORING_ENTER_EXT_ARG`.
  static let enterExtendedArgument: UInt32 = 1 << 3
  /// `IORING_SQ_TASKRUN`.
  static let pendingTaskRun: UInt32 = 1 << 2
  /// `IORING_REGISTER_CLONE_BUFFERS`, Linux 6.12.
  static let registerCloneBuffers: UInt32 = 30
  /// Owners that a ring can have.
  static let ownerPlaces = 32
}
