// libfuse's session: it mounts and unmounts, decodes what is not READ or WRITE, and tells the kernel to forget pages.

import CFuse3
import Glibc
import Memory

/// A mount as libfuse has it. Ended by its last user; it may be unmounted before.
@safe final class LibfuseSession: @unchecked Sendable {
  // Guard of the unchecked Sendable: libfuse's own locks; what is asked here it allows on any thread.
  private let session: OpaquePointer
  /// The descriptor of /dev/fuse: a number of our own, since unmounting closes libfuse's, which may be anybody's file the
  /// moment after.
  let descriptor: Int32

  /// Mounts, and takes the reading and writing into our own hands.
  /// - Parameters:
  ///   - options: libfuse's, each as `LibfuseOption` writes them.
  ///   - mountpoint: the bytes of a path, without the zero at their end.
  ///   - server: who serves; it must outlive the session.
  init(
    options: [String], mountpoint: [UInt8], isDebugging: Bool, server: Server
  ) throws(MountFailure) {
    LibfuseLog.install(debug: server.configuration.debugLog)
    let words = ["extractfs", "-o", options.joined(separator: ",")] + (isDebugging ? ["-d"] : [])
    var arguments = unsafe fuse_args(argc: 0, argv: nil, allocated: 0)
    for word in words { unsafe fuse_opt_add_arg(&arguments, word) }
    defer { unsafe fuse_opt_free_args(&arguments) }
    var operations = SessionOperations.table()
    guard
      let made = unsafe fuse_session_new(
        &arguments, &operations, MemoryLayout<fuse_lowlevel_ops>.size,
        Unmanaged.passUnretained(server).toOpaque())
    else { throw MountFailure(message: LibfuseLog.lastLine ?? "libfuse refused the options") }
    unsafe session = unsafe made
    let path = mountpoint.map { CChar(bitPattern: $0) } + [0]
    if unsafe fuse_session_mount(made, path) != 0 {
      unsafe fuse_session_destroy(made)
      throw MountFailure(message: LibfuseLog.lastLine ?? "the mount was refused")
    }
    let original = unsafe fuse_session_fd(made)
    descriptor = fcntl(original, F_DUPFD_CLOEXEC, 0)
    var io = LibfuseGaps.callbacks()
    if unsafe descriptor < 0 || fuse_session_custom_io(made, &io, original) != 0 {
      unmount()
      throw MountFailure(message: "libfuse refused custom I/O")
    }
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
    unsafe fuse_session_destroy(session)
  }

  /// Unmounts, lazily if files are open. May be called again.
  func unmount() { unsafe fuse_session_unmount(session) }

  /// Decodes a message and calls back. The message must lie where structures can be read in place.
  func process(_ message: MemoryWindow) {
    var buffer = unsafe fuse_buf()
    unsafe (buffer.size, buffer.mem) = unsafe (message.count, message.bytes.baseAddress)
    unsafe fuse_session_process_buf(session, &buffer)
  }

  /// Has the kernel write back and forget what it has cached of a range.
  /// - Parameter byteCount: 0 for all that follows.
  func dropCached(_ inode: UInt64, offset: Int, byteCount: Int) throws(Errno) {
    let result = unsafe fuse_lowlevel_notify_inval_inode(
      session, inode, off_t(offset), off_t(byteCount))
    if result < 0 && result != -ENOENT { throw Errno(rawValue: -result) }
  }
}
