// Answers that do not come from the data path: libfuse's, and those to requests on control files. They may be made
// on any thread.

import CFuse3
import DirectIO
import Glibc
import Memory

extension Server {
  /// Sends an answer in parts, the first of which is the protocol's header, by its way.
  func send(_ parts: [MemoryWindow], by route: AnswerRoute) -> Int {
    guard let worker = unsafe route.worker else {
      let descriptor = route.descriptor >= 0 ? route.descriptor : session.descriptor
      return VectorList(parts).write(to: descriptor)
    }
    let slot = Slot(Int(route.slot))
    worker.transport.setAnswer(slot, parts: parts)
    if CurrentThread.worker === worker {
      worker.transport.commit(slot)
    } else {
      worker.mailbox.post(.commit(slot))
    }
    return parts.reduce(0) { $0 + $1.count }
  }

  /// Answers with an error, or with the count of bytes that a WRITE has written.
  func send(error: Errno?, written byteCount: Int = 0, to unique: UInt64, by route: AnswerRoute) {
    var answer = fuse_write_out(size: UInt32(byteCount), padding: 0)
    MemoryWindow.on(&answer) {
      send(error: error, payload: error == nil ? $0 : MemoryWindow(), to: unique, by: route)
    }
  }

  /// Answers a READ.
  func send(bytes: ArraySlice<UInt8>, to unique: UInt64, by route: AnswerRoute) {
    var bytes = Array(bytes)
    MemoryWindow.on(&bytes) { send(error: nil, payload: $0, to: unique, by: route) }
  }

  private func send(
    error: Errno?, payload: MemoryWindow, to unique: UInt64, by route: AnswerRoute
  ) {
    var header = fuse_out_header(
      len: UInt32(MessageLayout.replyHeader + payload.count), error: -(error?.rawValue ?? 0),
      unique: unique)
    MemoryWindow.on(&header) { header in
      // ENOENT means that the kernel has given the request up, which is no error of ours.
      _ = send([header, payload], by: route)
    }
  }
}
