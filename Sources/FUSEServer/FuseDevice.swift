// Descriptors of /dev/fuse: each worker has clones of its own, so that workers share no queue of answers.

import CFuse3
import Glibc
import Memory

/// A clone of a mount's /dev/fuse descriptor. Owned by one worker.
struct FuseDevice: ~Copyable {
  /// The open descriptor.
  let descriptor: Int32

  /// Clones a session's descriptor.
  /// - Parameters:
  ///   - session: the descriptor that the mount was made with.
  ///   - blocking: whether a read waits for a request.
  /// - Throws: what open(2) or the FUSE_DEV_IOC_CLONE ioctl failed with.
  init(cloning session: Int32, blocking: Bool) throws(Errno) {
    let flags = O_RDWR | O_CLOEXEC | (blocking ? 0 : O_NONBLOCK)
    let opened = unsafe open("/dev/fuse", flags)
    if opened < 0 { throw Errno(rawValue: errno) }
    var source = UInt32(session)
    if unsafe ioctl(opened, UInt(EXTRACTFS_FUSE_DEV_IOC_CLONE), &source) < 0 {
      let error = Errno(rawValue: errno)
      close(opened)
      throw error
    }
    descriptor = opened
  }

  deinit { close(descriptor) }
}

/// What a read of the device brought.
enum Received {
  /// A message of so many bytes.
  case message(Int)
  /// Nothing is there now, or the request was given up before it could be read.
  case nothing
  /// The filesystem was unmounted or the connection aborted.
  case ended
}

extension FuseDevice {
  /// Reads one request.
  borrowing func receive(into buffer: MemoryWindow) -> Received {
    let count = unsafe read(descriptor, buffer.bytes.baseAddress, buffer.count)
    if count > 0 { return .message(count) }
    if count == 0 { return .ended }
    switch errno {
    case EAGAIN, EINTR, ENOENT: return .nothing
    default: return .ended
    }
  }
}
