// Requests on control files: they run on a queue of their own and answer from there.

import CFuse3
import Dispatch
import Glibc
import Memory
import Volumes

/// A libfuse request on its way to another thread. libfuse lets any thread answer.
@safe private struct TravellingRequest: @unchecked Sendable {
  // Guard of the unchecked Sendable: the worker lets go of the request when it hands it over.
  let request: fuse_req_t
}

extension Server {
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

  private func on(
    _ queue: DispatchQueue, _ request: fuse_req_t,
    _ body: @escaping @Sendable (fuse_req_t) throws(Errno) -> Void
  ) {
    let travelling = unsafe TravellingRequest(request: request)
    let route = CurrentThread.route
    queue.async {
      CurrentThread.route = route
      do throws(Errno) {
        unsafe try body(travelling.request)
      } catch {
        unsafe fuse_reply_err(travelling.request, error.rawValue)
      }
      CurrentThread.route = .none
    }
  }

  /// Drops the kernel's cached pages of the volume's files.
  func dropCaches() throws(Errno) {
    for entry in try volume.entries(of: UInt64(FUSE_ROOT_ID)) where entry.type == .regular {
      let result = unsafe fuse_lowlevel_notify_inval_inode(session, entry.inode, 0, 0)
      if result < 0 && result != -ENOENT { throw Errno(rawValue: -result) }
    }
  }
}

extension Worker {
  /// Serves a READ from an open file's text at once, and hands a WRITE to the control queue.
  func serveControl(_ request: DataRequest, payload: String, by route: AnswerRoute) {
    if request.isWrite {
      let server = server
      server.controlQueue.async {
        do throws(Errno) {
          let file = try server.control.file(request.inode)
          guard let accept = file.accept else { throw .notPermitted }
          try accept(payload)
          server.send(error: nil, written: request.length, to: request.unique, by: route)
        } catch {
          server.send(error: error, to: request.unique, by: route)
        }
      }
      return
    }
    guard let text = server.openControls.text(request.fileHandle) else {
      server.send(error: Errno(rawValue: EBADF), to: request.unique, by: route)
      return
    }
    let start = min(request.offset, text.count)
    server.send(
      bytes: text[start..<min(start + request.length, text.count)], to: request.unique, by: route)
  }
}
