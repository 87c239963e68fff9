// What libfuse 3.14 lacks for us, in one place: it knows no FUSE over io_uring, no requests above 1 MiB, and takes
// its answers to one descriptor. Its reads and writes run through these callbacks.

import CFuse3
import Glibc
import Memory

enum LibfuseGaps {
  /// The callbacks that stand between libfuse and its descriptor.
  static func callbacks() -> fuse_custom_io {
    var io = fuse_custom_io()
    unsafe io.read = { descriptor, buffer, count, _ in unsafe Glibc.read(descriptor, buffer, count)
    }
    unsafe io.writev = { descriptor, vectors, count, data in
      guard let vectors = unsafe vectors, let data = unsafe data else { return -1 }
      let server = unsafe Unmanaged<Server>.fromOpaque(data).takeUnretainedValue()
      return unsafe LibfuseGaps.write(
        UnsafeBufferPointer(start: vectors, count: Int(count)), descriptor, server)
    }
    return io
  }

  /// Sends an answer by the way that the calling thread's request came; a notification by the session's descriptor.
  private static func write(
    _ parts: UnsafeBufferPointer<iovec>, _ descriptor: Int32, _ server: Server
  ) -> Int {
    guard let header = unsafe parts.first?.iov_base else { return -1 }
    let isNotification = unsafe header.loadUnaligned(fromByteOffset: 8, as: UInt64.self) == 0
    if isNotification { return unsafe writev(descriptor, parts.baseAddress, Int32(parts.count)) }
    if server.isInitializing { unsafe completeInitialization(parts, server) }
    return unsafe server.send(parts, by: CurrentThread.route)
  }

  /// Fields of `struct fuse_init_in` and `fuse_init_out` by their place; include/uapi/linux/fuse.h.
  private enum Field {
    static let inFlags2 = MessageLayout.requestHeader + 16
    static let outFlags = 12
    static let outMaxWrite = 20
    static let outMaxPages = 28
    static let outFlags2 = 32
    static let outBytes = 64
  }

  /// Whether an INIT message offers FUSE over io_uring, as the kernel does where `enable_uring` is set.
  static func offersRing(_ message: UnsafeRawBufferPointer) -> Bool {
    guard message.count >= Field.inFlags2 + 4 else { return false }
    let flags = unsafe message.loadUnaligned(fromByteOffset: Field.inFlags2, as: UInt32.self)
    return flags & RingProtocol.overRingFlag != 0
  }

  /// Adds to libfuse's answer to INIT: larger requests, and that the ring will be used.
  private static func completeInitialization(_ parts: UnsafeBufferPointer<iovec>, _ server: Server)
  {
    guard unsafe parts.count == 2 && parts[1].iov_len == Field.outBytes,
      let answer = unsafe parts[1].iov_base
    else { return }
    let maxIO = server.configuration.maxIOBytes
    unsafe answer.storeBytes(of: UInt32(maxIO), toByteOffset: Field.outMaxWrite, as: UInt32.self)
    unsafe answer.storeBytes(
      of: UInt16((maxIO + pageSize - 1) / pageSize), toByteOffset: Field.outMaxPages,
      as: UInt16.self)
    // libfuse 3.14 takes this wish and never sends it.
    let parallel: UInt32 = 1 << 18  // FUSE_PARALLEL_DIROPS
    let flags = unsafe answer.load(fromByteOffset: Field.outFlags, as: UInt32.self) | parallel
    unsafe answer.storeBytes(of: flags, toByteOffset: Field.outFlags, as: UInt32.self)
    if !server.usesRing { return }
    let flags2 = unsafe answer.load(fromByteOffset: Field.outFlags2, as: UInt32.self)
    let extended: UInt32 = 1 << 30  // FUSE_INIT_EXT
    unsafe answer.storeBytes(
      of: flags | extended, toByteOffset: Field.outFlags, as: UInt32.self)
    unsafe answer.storeBytes(
      of: flags2 | RingProtocol.overRingFlag, toByteOffset: Field.outFlags2, as: UInt32.self)
  }
}
