// A request in libfuse's hands: whoever serves it answers it once, by one of these.

import CFuse3
import Glibc
import Memory
import Volumes

/// What libfuse knows a request by. It may be answered on any thread.
@safe struct LibfuseRequest: @unchecked Sendable {
  // Guard of the unchecked Sendable: whoever hands a request over lets go of it.
  private let pointer: fuse_req_t

  /// Wraps what a callback was given.
  @unsafe init(_ pointer: fuse_req_t?) {
    guard let pointer = unsafe pointer else { preconditionFailure("a callback without a request") }
    unsafe self.pointer = unsafe pointer
  }

  /// The server behind it. It outlives the session, so nothing is retained.
  var server: Server {
    guard let data = unsafe fuse_req_userdata(pointer) else {
      preconditionFailure("a FUSE session has lost its server")
    }
    return unsafe Unmanaged<Server>.fromOpaque(data).takeUnretainedValue()
  }

  /// Who made it.
  var caller: Caller {
    guard let context = unsafe fuse_req_ctx(pointer) else {
      preconditionFailure("a request has no caller")
    }
    return unsafe Caller(
      user: context.pointee.uid, group: context.pointee.gid, process: context.pointee.pid)
  }

  /// Ends a request that wants no answer.
  func end() { unsafe fuse_reply_none(pointer) }

  /// Answers that it is done, or why not.
  func reply(_ error: Errno? = nil) { unsafe fuse_reply_err(pointer, error?.rawValue ?? 0) }

  /// Answers with attributes.
  /// - Parameter seconds: how long the kernel may believe them.
  func reply(_ attributes: FileAttributes, seconds: Double) {
    var attributes = stat(attributes)
    unsafe fuse_reply_attr(pointer, &attributes, seconds)
  }

  /// Answers a look-up.
  /// - Returns: false if the kernel had given the request up, and so will not forget the entry.
  func reply(_ entry: fuse_entry_param) -> Bool {
    var entry = entry
    return unsafe fuse_reply_entry(pointer, &entry) != -ENOENT
  }

  /// Answers a statfs.
  func reply(_ room: statvfs) {
    var room = room
    unsafe fuse_reply_statfs(pointer, &room)
  }

  /// Answers with bytes.
  func reply(_ bytes: [UInt8]) {
    var bytes = bytes
    MemoryWindow.on(&bytes) { _ = reply($0) }
  }

  /// Answers with a structure of the protocol.
  /// - Returns: false if the kernel had given the request up.
  @discardableResult
  func reply(structure: some BitwiseCopyable) -> Bool {
    var structure = structure
    return MemoryWindow.on(&structure) { reply($0) }
  }

  /// Answers with bytes.
  /// - Returns: false if the kernel had given the request up.
  @discardableResult
  func reply(_ window: MemoryWindow) -> Bool {
    unsafe fuse_reply_buf(pointer, window.bytes.baseAddress, window.count) != -ENOENT
  }

  /// Answers how long an extended attribute is.
  func reply(attributeBytes count: Int) { unsafe fuse_reply_xattr(pointer, count) }

  /// Answers an lseek.
  func reply(position: Int) { unsafe fuse_reply_lseek(pointer, off_t(position)) }

  /// Answers an ioctl with a structure, and with what follows it.
  func reply(ioctl structure: some BitwiseCopyable, _ rest: MemoryWindow) {
    var structure = structure
    MemoryWindow.on(&structure) { structure in
      let parts = VectorList([structure, rest])
      unsafe fuse_reply_ioctl_iov(pointer, 0, parts.vectors, Int32(rest.count == 0 ? 1 : 2))
    }
  }

  /// Puts an entry at the start of a directory listing.
  /// - Returns: the bytes that it takes; it was not put there if that is more than there are.
  func add(_ name: FileName, inode: UInt64, _ type: FileType, next: Int, to room: MemoryWindow)
    -> Int
  {
    var attributes = stat()
    attributes.st_ino = UInt(inode)
    attributes.st_mode = type.rawValue
    return unsafe fuse_add_direntry(
      pointer, room.bytes.baseAddress, room.count, name.zeroEnded, &attributes, off_t(next))
  }

  /// The same for a listing with attributes.
  func add(_ name: FileName, _ entry: fuse_entry_param, next: Int, to room: MemoryWindow) -> Int {
    var entry = entry
    return unsafe fuse_add_direntry_plus(
      pointer, room.bytes.baseAddress, room.count, name.zeroEnded, &entry, off_t(next))
  }
}

extension FileName {
  /// As C wants it.
  fileprivate var zeroEnded: [CChar] { bytes.map { CChar(bitPattern: $0) } + [0] }
}

/// Pieces of memory as writev(2) and libfuse want to be told of them.
@safe struct VectorList {
  private var list: [iovec]

  init(_ windows: [MemoryWindow]) {
    unsafe list = unsafe windows.map { unsafe iovec($0) }
  }

  /// The pieces; good for as long as the list is.
  @unsafe var vectors: [iovec] { unsafe list }

  /// Writes all in one call.
  /// - Returns: bytes, or -1 with errno set.
  func write(to descriptor: Int32) -> Int {
    unsafe writev(descriptor, list, Int32(list.count))
  }
}

extension iovec {
  /// A piece of memory, for as long as its owner keeps it.
  @unsafe init(_ window: MemoryWindow) {
    unsafe self.init(iov_base: window.bytes.baseAddress, iov_len: window.count)
  }
}
