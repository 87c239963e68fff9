// The way an answer takes back to the kernel, for those who answer later or on another thread.

import DirectIO

/// By which way an answer leaves: a descriptor of /dev/fuse, or the ring entry in which its request lies.
struct AnswerRoute: @unchecked Sendable {
  // Guard of the unchecked Sendable: a worker outlives every request; what other threads call on it is made for that.
  /// The descriptor that delivered the request, or -1 for none.
  let descriptor: Int32
  /// The slot whose ring entry has the request, or -1.
  let slot: Int32
  /// The worker whose ring takes the answer.
  unowned(unsafe) let worker: Worker?

  /// No way in particular: what leaves goes by the session's own descriptor.
  static var none: AnswerRoute { AnswerRoute(descriptor: -1) }

  /// An answer by a descriptor.
  init(descriptor: Int32) {
    self.descriptor = descriptor
    slot = -1
    unsafe worker = nil
  }

  /// An answer by a ring entry.
  init(slot: Slot, of worker: Worker) {
    descriptor = -1
    self.slot = Int32(slot.number)
    unsafe self.worker = worker
  }
}
