// Submitting, sleeping, and taking completions.

import CUring
import Glibc
import Memory

extension IORing {
  // MARK: Submitting

  /// Entries that were prepared and not sent off.
  public var unsubmittedCount: Int {
    let queue = unsafe ring.pointee.sq
    return unsafe Int(queue.sqe_tail &- extractfs_load_acquire(queue.khead))
  }

  /// A free entry of the submission queue, blank; a full queue is sent off first.
  @unsafe public func nextEntry() -> UnsafeMutablePointer<io_uring_sqe> {
    while true {
      if let entry = unsafe io_uring_get_sqe(ring) {
        unsafe UnsafeMutableRawPointer(entry).initializeMemory(
          as: UInt8.self, repeating: 0, count: isWide ? 128 : 64)
        return unsafe entry
      }
      submit()
    }
  }

  /// Asks to be told once when a descriptor can be read.
  public func poll(_ descriptor: Int32, data: UInt64) {
    let entry = unsafe nextEntry()
    unsafe io_uring_prep_poll_add(entry, descriptor, UInt32(POLLIN))
    unsafe io_uring_sqe_set_data64(entry, data)
  }

  /// Asks to be told after some time; the result is -ETIME then.
  ///
  /// Kernel: `IORING_OP_TIMEOUT`, io_uring/timeout.c.
  public func timer(nanoseconds: Int, data: UInt64) {
    let entry = unsafe nextEntry()
    let places = times.count
    let place = unsafe Int(ring.pointee.sq.sqe_tail &- 1) & (places - 1)
    times[place] = __kernel_timespec(
      tv_sec: Int64(nanoseconds / 1_000_000_000), tv_nsec: Int64(nanoseconds % 1_000_000_000))
    unsafe withUnsafeMutablePointer(to: &times[place]) {
      unsafe io_uring_prep_timeout(entry, $0, 0, 0)
    }
    unsafe io_uring_sqe_set_data64(entry, data)
  }

  /// Sends off all that was prepared, and lets completions come in.
  ///
  /// This is the one place that answers a full ring: a kernel that takes nothing because its completion queue is
  /// full is given room, one that is short of memory is asked again, and nothing prepared is ever lost.
  public func submit() {
    repeat {
      let result = unsafe enter(waitingFor: 0, flags: RingNumber.enterGetEvents)
      if result == -EBUSY || result == -EAGAIN {
        if !stashCompletions() { sched_yield() }
      } else if result < 0 && result != -EINTR {
        preconditionFailure("a ring refuses its entries: errno \(-result)")
      }
    } while unsubmittedCount > 0
  }

  /// Sends off what was prepared, and sleeps until there is a completion, or a signal comes.
  /// - Parameters:
  ///   - isForDevice: whether the device has something to do for us, so that the sleep is one for I/O. Any other
  ///     must not look like that: the machine would seem to be busy waiting for its disks while nobody wants
  ///     anything.
  ///   - seconds: the longest sleep, or nil.
  /// - Returns: whether there is a completion.
  @discardableResult
  public func wait(isForDevice: Bool, seconds: Int? = nil) -> Bool {
    if !backlog.isEmpty { return true }
    if isForDevice || knowsNoIOWait || wakeUpDescriptor < 0 {
      let flags = isForDevice ? 0 : RingNumber.enterNoIOWait
      sleep(flags: RingNumber.enterGetEvents | flags, seconds: seconds)
    } else {
      sleepInPoll(seconds: seconds)
    }
    if unsubmittedCount > 0 { submit() }
    return isReady
  }

  private func sleep(flags: UInt32, seconds: Int?) {
    let hasArgument = unsafe ring.pointee.features & UInt32(IORING_FEAT_EXT_ARG) != 0
    guard let seconds else {
      _ = unsafe enter(waitingFor: 1, flags: flags)
      return
    }
    // Before Linux 5.11: the ring's own descriptor has a time limit, too.
    if !hasArgument {
      submit()
      var descriptor = unsafe pollfd(fd: ring.pointee.ring_fd, events: Int16(POLLIN), revents: 0)
      _ = unsafe Glibc.poll(&descriptor, 1, Int32(seconds * 1000))
      return
    }
    var time = __kernel_timespec(tv_sec: Int64(seconds), tv_nsec: 0)
    unsafe withUnsafeMutablePointer(to: &time) { time in
      var argument = io_uring_getevents_arg(
        sigmask: 0, sigmask_sz: 0, pad: 0, ts: UInt64(UInt(bitPattern: time)))
      unsafe withUnsafeMutableBytes(of: &argument) { bytes in
        _ = unsafe enter(
          waitingFor: 1, flags: flags | RingNumber.enterExtendedArgument, argument: bytes)
      }
    }
  }

  /// Sleeps as on any descriptor, which a kernel before Linux 6.15 does not take for I/O.
  ///
  /// Kernel: `io_eventfd_signal()`, io_uring/eventfd.c.
  private func sleepInPoll(seconds: Int?) {
    submit()
    _ = unsafe io_uring_cq_eventfd_toggle(ring, true)
    // What came before the switch was thrown rings no more.
    if !hasNews {
      var descriptor = pollfd(fd: wakeUpDescriptor, events: Int16(POLLIN), revents: 0)
      // A signal is reason enough to wake, as in the ring itself.
      _ = unsafe Glibc.poll(&descriptor, 1, seconds.map { Int32($0 * 1000) } ?? -1)
    }
    _ = unsafe io_uring_cq_eventfd_toggle(ring, false)
    var count: UInt64 = 0
    _ = unsafe read(wakeUpDescriptor, &count, 8)
    submit()
  }

  /// io_uring_enter(2), with flags that liburing cannot pass.
  ///
  /// Kernel: `io_uring_enter`, io_uring/io_uring.c; the store is that of liburing's `__io_uring_flush_sq()`.
  private func enter(
    waitingFor count: UInt32, flags: UInt32,
    argument: UnsafeMutableRawBufferPointer? = nil
  ) -> Int32 {
    let tail = unsafe ring.pointee.sq.sqe_tail
    unsafe ring.pointee.sq.sqe_head = tail
    unsafe extractfs_store_release(ring.pointee.sq.ktail, tail)
    let entries = UInt32(unsubmittedCount)
    let size = unsafe argument?.count ?? 8  // _NSIG / 8, as liburing has it
    let start = unsafe argument?.baseAddress?.assumingMemoryBound(to: sigset_t.self)
    return unsafe io_uring_enter2(
      UInt32(ring.pointee.ring_fd), entries, count, flags, start, size)
  }

  // MARK: Completing

  /// Whether a completion is there.
  private var isReady: Bool { unsafe !backlog.isEmpty || io_uring_cq_ready(ring) > 0 }

  /// Whether a completion is there, or would be if the kernel were asked; costs no system call.
  public var hasNews: Bool {
    let flags = unsafe UnsafeMutablePointer<UInt32>(ring.pointee.sq.kflags)
    // Another CPU writes the flags; a plain load of an aligned word sees an old or a new value.
    let pending = unsafe flags.map { unsafe extractfs_load_relaxed($0) } ?? 0
    let news = RingNumber.pendingTaskRun | UInt32(IORING_SQ_CQ_OVERFLOW)
    return pending & news != 0 || isReady
  }

  /// The next completion that is there already, or nil.
  func nextCompletion() -> RingCompletion? {
    if !backlog.isEmpty { return backlog.removeFirst() }
    return peekCompletion()
  }

  /// Makes room in the kernel's completion queue.
  /// - Returns: whether there was anything.
  private func stashCompletions() -> Bool {
    let count = backlog.count
    while let completion = peekCompletion() { backlog.append(completion) }
    return backlog.count > count
  }

  private func peekCompletion() -> RingCompletion? {
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
