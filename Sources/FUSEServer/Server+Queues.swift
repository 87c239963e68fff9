// Where requests run that no worker may wait for: the volume's queue, the control queue, and that for waits on the
// kernel's pages.

import CFuse3
import Glibc
import Memory
import Volumes

/// A libfuse request on its way to another thread. libfuse lets any thread answer.
@safe struct TravellingRequest: @unchecked Sendable {
  // Guard of the unchecked Sendable: the worker lets go of the request when it hands it over.
  let request: fuse_req_t
}

extension Server {
  /// Runs `body`, which answers or throws, where the volume may be asked: here, or, for a volume that may have to wait
  /// for its own reads and writes, on its queue.
  func onVolume(
    _ request: fuse_req_t, _ body: @escaping @Sendable (fuse_req_t) throws(Errno) -> Void
  ) {
    if volume.traits.answersAtOnce {
      unsafe attempt(request) { () throws(Errno) in unsafe try body(request) }
    } else {
      unsafe on(volumeQueue, request, body)
    }
  }

  /// Runs `body`, which answers, on the control queue, so that no worker waits for it.
  func onControlQueue(
    _ request: fuse_req_t, _ body: @escaping @Sendable (fuse_req_t) throws(Errno) -> Void
  ) {
    unsafe on(controlQueue, request, body)
  }

  /// Runs `body`, which answers, on the queue for waits on the kernel's pages.
  ///
  /// A write that a freeze holds may have a page locked. Who waits for such a page must not keep the thaw, a control
  /// request, from its queue.
  func onInvalidationQueue(
    _ request: fuse_req_t, _ body: @escaping @Sendable (fuse_req_t) throws(Errno) -> Void
  ) {
    unsafe on(invalidationQueue, request, body)
  }

  /// A change that the request brings is counted out when `body` is through.
  private func on(
    _ queue: SerialQueue, _ request: fuse_req_t,
    _ body: @escaping @Sendable (fuse_req_t) throws(Errno) -> Void
  ) {
    let travelling = unsafe TravellingRequest(request: request)
    let route = CurrentThread.route
    let lane = CurrentThread.worker?.takeChange()
    queue.async { [self] in
      CurrentThread.route = route
      unsafe attempt(travelling.request) { () throws(Errno) in unsafe try body(travelling.request) }
      CurrentThread.route = .none
      if let lane { changes.leave(lane: lane) }
    }
  }

  /// Runs `body`, which answers, or answers with the errno that it throws.
  func attempt(_ request: fuse_req_t, _ body: () throws(Errno) -> Void) {
    do { try body() } catch { unsafe fuse_reply_err(request, error.rawValue) }
  }

  // MARK: The kernel's pages

  /// Has the kernel write back and forget what it has cached of a range.
  /// - Parameter byteCount: 0 for all that follows.
  func dropCached(_ inode: UInt64, offset: Int, byteCount: Int) throws(Errno) {
    let result = unsafe fuse_lowlevel_notify_inval_inode(
      session, inode, off_t(offset), off_t(byteCount))
    if result < 0 && result != -ENOENT { throw Errno(rawValue: -result) }
  }

  /// Drops the kernel's cached pages of the volume's files.
  func dropCaches() throws(Errno) {
    for inode in volume.cachedInodes() { try dropCached(inode, offset: 0, byteCount: 0) }
  }
}
