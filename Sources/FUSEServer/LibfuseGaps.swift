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
      guard let data = unsafe data else { return -1 }
      let server = unsafe Unmanaged<Server>.fromOpaque(data).takeUnretainedValue()
      let parts = unsafe UnsafeBufferPointer(start: vectors, count: Int(count)).map {
        unsafe MemoryWindow(UnsafeMutableRawBufferPointer(start: $0.iov_base, count: $0.iov_len))
      }
      return LibfuseGaps.write(parts, descriptor, server)
    }
    return io
  }

  /// Sends an answer by the way that the calling thread's request came; a notification by the session's descriptor.
  private static func write(_ parts: [MemoryWindow], _ descriptor: Int32, _ server: Server) -> Int {
    guard let header = parts.first else { return -1 }
    let isNotification = header.load(UInt64.self, at: 8) == 0
    if isNotification { return VectorList(parts).write(to: descriptor) }
    if server.isInitializing { completeInitialization(parts, server) }
    return server.send(parts, by: CurrentThread.route)
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
  static func offersRing(_ message: MemoryWindow) -> Bool {
    guard message.count >= Field.inFlags2 + 4 else { return false }
    let flags = message.load(UInt32.self, at: Field.inFlags2)
    return flags & RingProtocol.overRingFlag != 0
  }

  /// Adds to libfuse's answer to INIT: larger requests, and that the ring will be used.
  private static func completeInitialization(_ parts: [MemoryWindow], _ server: Server) {
    guard parts.count == 2 && parts[1].count == Field.outBytes else { return }
    let answer = parts[1]
    let maxIO = server.configuration.maxIOBytes
    answer.store(UInt32(maxIO), at: Field.outMaxWrite)
    answer.store(UInt16((maxIO + pageSize - 1) / pageSize), at: Field.outMaxPages)
    // libfuse 3.14 takes this wish and never sends it.
    let parallel: UInt32 = 1 << 18  // FUSE_PARALLEL_DIROPS
    let flags = answer.load(UInt32.self, at: Field.outFlags) | parallel
    answer.store(flags, at: Field.outFlags)
    if !server.usesRing { return }
    let flags2 = answer.load(UInt32.self, at: Field.outFlags2)
    let extended: UInt32 = 1 << 30  // FUSE_INIT_EXT
    answer.store(flags | extended, at: Field.outFlags)
    answer.store(flags2 | RingProtocol.overRingFlag, at: Field.outFlags2)
  }
}
