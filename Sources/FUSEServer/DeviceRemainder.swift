// What still comes by /dev/fuse when requests come by io_uring: FORGET and INTERRUPT, which want no answer.

import CFuse3
import Glibc
import Memory

/// The reader of the remainder. One worker has it.
final class DeviceRemainder {
  private let device: FuseDevice
  private let server: Server
  private var buffer: [UInt8]

  /// Clones the session's descriptor.
  /// - Throws: what the clone failed with.
  init(server: Server) throws(Errno) {
    device = try FuseDevice(cloning: server.session.descriptor, blocking: false)
    self.server = server
    // The kernel wants room for the largest request, whatever comes.
    let room = max(server.memory.maxIOBytes, MessageLayout.minimumReceive)
    buffer = [UInt8](repeating: 0, count: MessageLayout.dataHeader + room)
  }

  /// Readable when there is something.
  var descriptor: Int32 { device.descriptor }

  /// Takes all that is there.
  /// - Returns: false if the mount is gone.
  func drain() -> Bool {
    while true {
      let received = MemoryWindow.on(&buffer) { buffer in
        let received = device.receive(into: buffer)
        if case .message(let count) = received { take(buffer[0..<count]) }
        return received
      }
      switch received {
      case .message: continue
      case .nothing: return true
      case .ended: return false
      }
    }
  }

  private func take(_ bytes: MemoryWindow) {
    guard let message = IncomingMessage(bytes), message.opcode != Opcode.interrupt else { return }
    server.session.process(bytes)
  }
}
