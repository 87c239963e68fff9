// Answers that do not come from the data path: libfuse's, and those to requests on control files. They may be made
// on any thread.

import CFuse3
import DirectIO
import Glibc
import Memory

extension Server {
  /// Sends an answer in parts, the first of which is the protocol's header, by its way.
  @unsafe func send(_ parts: UnsafeBufferPointer<iovec>, by route: AnswerRoute) -> Int {
    if traces.isOn { unsafe noteReply(parts) }
    guard let worker = unsafe route.worker else {
      let descriptor = route.descriptor >= 0 ? route.descriptor : sessionDescriptor
      return unsafe Glibc.writev(descriptor, parts.baseAddress, Int32(parts.count))
    }
    let slot = Slot(Int(route.slot))
    unsafe worker.transport.setAnswer(slot, parts: parts)
    if CurrentThread.worker === worker {
      worker.transport.commit(slot)
    } else {
      worker.mailbox.post(.commit(slot))
    }
    return unsafe parts.reduce(0) { unsafe $0 + $1.iov_len }
  }

  /// Answers with an error, or with the count of bytes that a WRITE has written.
  func send(error: Errno?, written byteCount: Int = 0, to unique: UInt64, by route: AnswerRoute) {
    var answer = fuse_write_out(size: UInt32(byteCount), padding: 0)
    unsafe withUnsafeMutableBytes(of: &answer) { bytes in
      let sent = unsafe error == nil ? bytes : UnsafeMutableRawBufferPointer(rebasing: bytes[..<0])
      unsafe send(error: error, payload: sent, to: unique, by: route)
    }
  }

  /// Answers a READ.
  func send(bytes: ArraySlice<UInt8>, to unique: UInt64, by route: AnswerRoute) {
    var bytes = bytes
    unsafe bytes.withUnsafeMutableBytes {
      unsafe send(error: nil, payload: $0, to: unique, by: route)
    }
  }

  /// Notes an answer that leaves by its header.
  private func noteReply(_ parts: UnsafeBufferPointer<iovec>) {
    guard let first = unsafe parts.first, let start = unsafe first.iov_base,
      unsafe first.iov_len >= MessageLayout.replyHeader
    else { return }
    noteReply(
      unique: unsafe start.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
      error: unsafe start.loadUnaligned(fromByteOffset: 4, as: Int32.self))
  }

  /// Answers a READ of a stream, which had kept its ring entry.
  @unsafe func sendStream(
    error: Errno?, payload: UnsafeMutableRawBufferPointer, to unique: UInt64, by route: AnswerRoute
  ) {
    if route.slot >= 0 { ringEntries?.letGo(Slot(Int(route.slot))) }
    unsafe send(error: error, payload: payload, to: unique, by: route)
  }

  /// A program waits no longer for the answer to a request.
  func interrupt(_ message: IncomingMessage) {
    let start = MessageLayout.requestHeader
    if message.byteCount < start + 8 { return }
    streams.interrupt(UInt64(message.word(at: start)) | UInt64(message.word(at: start + 4)) << 32)
  }

  private func send(
    error: Errno?, payload: UnsafeMutableRawBufferPointer, to unique: UInt64, by route: AnswerRoute
  ) {
    var header = fuse_out_header(
      len: UInt32(MessageLayout.replyHeader + payload.count), error: -(error?.rawValue ?? 0),
      unique: unique)
    unsafe withUnsafeMutableBytes(of: &header) { header in
      var parts = unsafe (
        iovec(iov_base: header.baseAddress, iov_len: header.count),
        iovec(iov_base: payload.baseAddress, iov_len: payload.count)
      )
      unsafe withUnsafeBytes(of: &parts) { parts in
        // ENOENT means that the kernel has given the request up, which is no error of ours.
        _ = unsafe send(parts.bindMemory(to: iovec.self), by: route)
      }
    }
  }
}
