// Registered buffers: memory whose pages the kernel pins once, and not once more for each transfer.

import CUring
import Glibc
import Memory

/// `struct io_uring_clone_buffers`, include/uapi/linux/io_uring.h, Linux 6.12.
private struct CloneBuffers {
  var sourceDescriptor: UInt32
  var flags: UInt32 = 0
  var sourceOffset: UInt32 = 0
  var destinationOffset: UInt32 = 0
  var count: UInt32 = 0
  var padding: (UInt32, UInt32, UInt32) = (0, 0, 0)
}

extension IORing {
  /// The most bytes of one registered buffer. Kernel: `io_buffer_validate()`, io_uring/rsrc.c.
  public static var bufferBytes: Int { 1 << 30 }

  /// Registers one stretch of memory, as fixed buffers of `bufferBytes` each: byte `n` lies in buffer
  /// `n / bufferBytes`.
  ///
  /// Kernel: `io_sqe_buffers_register()`, io_uring/rsrc.c.
  /// - Throws: what the kernel refused with, as `.noMemory` where RLIMIT_MEMLOCK is too low.
  @unsafe public func register(buffer: UnsafeMutableRawBufferPointer) throws(Errno) {
    guard let start = buffer.baseAddress else { throw .invalidArgument }
    let vectors = unsafe stride(from: 0, to: buffer.count, by: Self.bufferBytes).map { offset in
      unsafe iovec(
        iov_base: start + offset, iov_len: min(Self.bufferBytes, buffer.count - offset))
    }
    let result = unsafe io_uring_register_buffers(ring, vectors, UInt32(vectors.count))
    if result < 0 { throw Errno(rawValue: -result) }
  }

  /// Lets go of registered buffers, at once: what they took of RLIMIT_MEMLOCK is free again.
  public func unregisterBuffers() { _ = unsafe io_uring_unregister_buffers(ring) }

  /// Takes over the buffers that another ring has registered: nothing is pinned and nothing counted a second time.
  ///
  /// Kernel: `io_register_clone_buffers()`, io_uring/rsrc.c, Linux 6.12. It refuses to take from a ring that is
  /// another thread's alone.
  /// - Throws: what the kernel refused with, EINVAL where it cannot do it.
  public func cloneBuffers(of other: IORing) throws(Errno) {
    var order = unsafe CloneBuffers(sourceDescriptor: UInt32(other.ring.pointee.ring_fd))
    let result = unsafe withUnsafeMutableBytes(of: &order) { bytes in
      unsafe Int32(
        extractfs_register(
          UInt32(ring.pointee.ring_fd), RingNumber.registerCloneBuffers, bytes.baseAddress, 1))
    }
    if result < 0 { throw Errno(rawValue: errno) }
  }
}
