// What still comes by /dev/fuse when requests come by io_uring: FORGET and INTERRUPT, which want no answer.

import CFuse3
import Glibc
import Memory

/// The reader of the remainder. One worker has it.
@safe final class DeviceRemainder {
  private let device: FuseDevice
  private let session: OpaquePointer
  private let server: Server
  private let buffer: UnsafeMutableRawBufferPointer

  /// Clones the session's descriptor.
  /// - Throws: what the clone failed with.
  init(server: Server) throws(Errno) {
    device = try FuseDevice(cloning: server.sessionDescriptor, blocking: false)
    unsafe session = unsafe server.session
    self.server = server
    // The kernel wants room for the largest request, whatever comes.
    let room = max(server.memory.maxIOBytes, MessageLayout.minimumReceive)
    unsafe buffer = .allocate(byteCount: MessageLayout.dataHeader + room, alignment: 64)
  }

  deinit { unsafe buffer.deallocate() }

  /// Readable when there is something.
  var descriptor: Int32 { device.descriptor }

  /// Takes all that is there.
  /// - Returns: false if the mount is gone.
  func drain() -> Bool {
    while true {
      switch unsafe device.receive(into: buffer) {
      case .message(let count):
        unsafe take(UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]))
      case .nothing: return true
      case .ended: return false
      }
    }
  }

  private func take(_ bytes: UnsafeMutableRawBufferPointer) {
    guard let message = unsafe IncomingMessage(UnsafeRawBufferPointer(bytes)) else { return }
    if message.opcode == Opcode.interrupt { return server.interrupt(message) }
    var buffer = unsafe fuse_buf()
    unsafe buffer.size = bytes.count
    unsafe buffer.mem = bytes.baseAddress
    unsafe fuse_session_process_buf(session, &buffer)
  }
}
