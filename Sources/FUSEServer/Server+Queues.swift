// Where requests run that no worker may wait for: the volume's queue, the control queue, and that for waits on the
// kernel's pages.

import CFuse3
import Glibc
import Memory
import Volumes

extension Server {
  /// Runs `body`, which answers or throws, where the volume may be asked: here, or, for a volume that may have to wait
  /// for its own reads and writes, on its queue.
  func onVolume(
    _ request: LibfuseRequest, _ body: @escaping @Sendable (LibfuseRequest) throws(Errno) -> Void
  ) {
    if volume.traits.answersAtOnce {
      attempt(request) { () throws(Errno) in try body(request) }
    } else {
      on(volumeQueue, request, body)
    }
  }

  /// Runs `body`, which answers, on the control queue, so that no worker waits for it.
  func onControlQueue(
    _ request: LibfuseRequest, _ body: @escaping @Sendable (LibfuseRequest) throws(Errno) -> Void
  ) {
    on(controlQueue, request, body)
  }

  /// Runs `body`, which answers, on the queue for waits on the kernel's pages.
  ///
  /// A write that a freeze holds may have a page locked. Who waits for such a page must not keep the thaw, a control
  /// request, from its queue.
  func onInvalidationQueue(
    _ request: LibfuseRequest, _ body: @escaping @Sendable (LibfuseRequest) throws(Errno) -> Void
  ) {
    on(invalidationQueue, request, body)
  }

  /// A change that the request brings is counted out when `body` is through.
  private func on(
    _ queue: SerialQueue, _ request: LibfuseRequest,
    _ body: @escaping @Sendable (LibfuseRequest) throws(Errno) -> Void
  ) {
    let route = CurrentThread.route
    let lane = CurrentThread.worker?.takeChange()
    queue.async { [self] in
      CurrentThread.route = route
      attempt(request) { () throws(Errno) in try body(request) }
      CurrentThread.route = .none
      if let lane { changes.leave(lane: lane) }
    }
  }

  /// Runs `body`, which answers, or answers with the errno that it throws.
  func attempt(_ request: LibfuseRequest, _ body: () throws(Errno) -> Void) {
    do { try body() } catch { request.reply(error) }
  }

  // MARK: The kernel's pages

  /// Drops the kernel's cached pages of the volume's files.
  func dropCaches() throws(Errno) {
    for inode in volume.cachedInodes() { try session.dropCached(inode, offset: 0, byteCount: 0) }
  }
}
