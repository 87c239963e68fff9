// READ and WRITE as the kernel sends them, and the answer to them. libfuse does all other requests; it would
// allocate, lock and list each of these two, which here take a few loads instead.

import CFuse3
import CSystem
import Glibc
import Memory
import Volumes

/// The requests that are decoded here; numbers of the FUSE protocol, include/uapi/linux/fuse.h.
enum Opcode {
  static let read: UInt32 = 15
  static let write: UInt32 = 16
  static let initialize: UInt32 = 26
  static let interrupt: UInt32 = 36
  static let ioctl: UInt32 = 39
  static let temporaryFile: UInt32 = 51

  /// Whether a request changes the volume, and so must enter the mount's gate. WRITE is counted apart, and an ioctl
  /// only if it is a pass-through write.
  static func changesVolume(_ opcode: UInt32) -> Bool {
    switch opcode {
    case 4, 6, 8, 9, 10, 11, 12, 13: true  // SETATTR SYMLINK MKNOD MKDIR UNLINK RMDIR RENAME LINK
    case 21, 24, 35, 43, 45, temporaryFile: true  // SETXATTR REMOVEXATTR CREATE FALLOCATE RENAME2
    default: false
    }
  }
}

/// Bits of `write_flags` of a WRITE; include/uapi/linux/fuse.h.
enum WriteFlags {
  /// The kernel's own writing back of its pages: there is no program to take an error or to try again.
  static let cache: UInt32 = 1 << 0
}

/// Sizes of the protocol's headers in bytes.
enum MessageLayout {
  /// `struct fuse_in_header`.
  static let requestHeader = 40
  /// `struct fuse_in_header` and `struct fuse_write_in` (or `fuse_read_in`, which is as long).
  static let dataHeader = 80
  /// `struct fuse_out_header`.
  static let replyHeader = 16
  /// What the kernel wants room for, whatever comes. Kernel: `FUSE_MIN_READ_BUFFER`.
  static let minimumReceive = 8192
}

/// A message as it came from the device: header fields by their place in the protocol.
@safe struct IncomingMessage {
  private let bytes: UnsafeRawBufferPointer

  /// Wraps a received message, or nil if it is shorter than a header.
  @unsafe init?(_ bytes: UnsafeRawBufferPointer) {
    if bytes.count < MessageLayout.requestHeader { return nil }
    unsafe self.bytes = unsafe bytes
  }

  var byteCount: Int { unsafe bytes.count }
  var opcode: UInt32 { unsafe bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self) }
  var unique: UInt64 { unsafe bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self) }
  var inode: UInt64 { unsafe bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self) }

  /// Whether the kernel writes its pages back: there is no program that could try again.
  var isWriteback: Bool {
    opcode == Opcode.write && byteCount >= MessageLayout.dataHeader
      && word(at: 60) & WriteFlags.cache != 0
  }

  /// The thread that sent it.
  var thread: Int32 { Int32(bitPattern: word(at: 32)) }

  /// Who sent it.
  var caller: Caller {
    Caller(user: word(at: 24), group: word(at: 28), process: Int32(bitPattern: word(at: 32)))
  }

  /// A word of a message that is long enough.
  func word(at offset: Int) -> UInt32 {
    precondition(offset >= 0 && offset + 4 <= byteCount)
    return unsafe bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
  }

  /// A copy that outlives the buffer.
  func copy() -> [UInt8] { unsafe Array(bytes) }

  /// The text that a WRITE brought; for control files.
  func payload(of request: DataRequest) -> String {
    if !request.isWrite { return "" }
    let start = MessageLayout.dataHeader
    return unsafe String(decoding: bytes[start..<start + request.length], as: UTF8.self)
  }

  /// The fields of a READ or WRITE, or nil if the message is not whole or asks for more than `limit` bytes.
  func dataRequest(limit: Int) -> DataRequest? {
    if byteCount < MessageLayout.dataHeader { return nil }
    let request = unsafe DataRequest(
      isWrite: opcode == Opcode.write, unique: unique, inode: inode,
      fileHandle: bytes.loadUnaligned(fromByteOffset: 40, as: UInt64.self),
      offset: bytes.loadUnaligned(fromByteOffset: 48, as: Int.self),
      length: Int(bytes.loadUnaligned(fromByteOffset: 56, as: UInt32.self)),
      writeFlags: bytes.loadUnaligned(fromByteOffset: 60, as: UInt32.self),
      openFlags: bytes.loadUnaligned(fromByteOffset: 72, as: UInt32.self))
    let room = request.isWrite ? byteCount - MessageLayout.dataHeader : limit
    let sound = request.length <= room && request.length <= limit && request.offset >= 0
    return sound && request.offset <= Int.max - request.length ? request : nil
  }
}

/// A READ or a WRITE.
struct DataRequest {
  let isWrite: Bool
  let unique: UInt64
  let inode: UInt64
  let fileHandle: UInt64
  /// Bytes from the start of the file.
  let offset: Int
  /// Bytes to move.
  let length: Int
  /// `write_flags` of a WRITE, `read_flags` of a READ.
  let writeFlags: UInt32
  /// The open file's flags, with O_DSYNC and O_SYNC added for a write that was asked to be durable by itself.
  let openFlags: UInt32

  /// A request of nothing, for slots that have none.
  init() {
    self.init(
      isWrite: false, unique: 0, inode: 0, fileHandle: 0, offset: 0, length: 0, writeFlags: 0,
      openFlags: 0)
  }

  init(
    isWrite: Bool, unique: UInt64, inode: UInt64, fileHandle: UInt64, offset: Int, length: Int,
    writeFlags: UInt32, openFlags: UInt32
  ) {
    self.isWrite = isWrite
    self.unique = unique
    self.inode = inode
    self.fileHandle = fileHandle
    self.offset = offset
    self.length = length
    self.writeFlags = writeFlags
    self.openFlags = openFlags
  }

  /// Whether the answer may come only when the data is durable.
  ///
  /// The kernel follows a synchronous write by an FSYNC of its own; for one through libaio or io_uring these flags are
  /// all that says so. Kernel: `fuse_write_flags()`, fs/fuse/file.c, v6.18.
  var isDurable: Bool { isWrite && openFlags & UInt32(O_DSYNC) != 0 }
  /// Whether it comes from a program's direct I/O.
  var isDirect: Bool { openFlags & UInt32(EXTRACTFS_O_DIRECT) != 0 && !isWriteback }
  /// Whether the kernel writes its pages back.
  var isWriteback: Bool { isWrite && writeFlags & WriteFlags.cache != 0 }
}

/// Answers of `DeviceTransport`: they leave by the descriptor that delivered the request.
enum Reply {
  /// Answers with an error.
  static func error(_ error: Errno, to unique: UInt64, on descriptor: Int32) {
    var header = fuse_out_header(
      len: UInt32(MessageLayout.replyHeader), error: -error.rawValue, unique: unique)
    _ = unsafe withUnsafeBytes(of: &header) {
      unsafe send($0, on: descriptor)
    }
  }

  /// Answers a WRITE.
  static func written(_ byteCount: Int, to unique: UInt64, on descriptor: Int32) {
    var message = (
      fuse_out_header(
        len: UInt32(MessageLayout.replyHeader + 8), error: 0, unique: unique),
      fuse_write_out(size: UInt32(byteCount), padding: 0)
    )
    _ = unsafe withUnsafeBytes(of: &message) {
      unsafe send($0, on: descriptor)
    }
  }

  /// Answers a READ with the bytes that lie at `payload`; the 16 bytes before it take the header.
  @unsafe static func data(
    _ payload: UnsafeMutableRawPointer, byteCount: Int, to unique: UInt64, on descriptor: Int32
  ) {
    let start = unsafe payload - MessageLayout.replyHeader
    let length = UInt32(truncatingIfNeeded: MessageLayout.replyHeader &+ byteCount)
    // `struct fuse_out_header`: length, error, unique.
    unsafe start.storeBytes(of: length, toByteOffset: 0, as: UInt32.self)
    unsafe start.storeBytes(of: 0, toByteOffset: 4, as: Int32.self)
    unsafe start.storeBytes(of: unique, toByteOffset: 8, as: UInt64.self)
    unsafe send(
      UnsafeRawBufferPointer(start: start, count: MessageLayout.replyHeader + byteCount),
      on: descriptor)
  }

  /// ENOENT means that the kernel has given the request up, which is no error of ours.
  @unsafe @discardableResult
  private static func send(_ message: UnsafeRawBufferPointer, on descriptor: Int32) -> Bool {
    while unsafe write(descriptor, message.baseAddress, message.count) < 0 {
      if errno != EINTR && errno != EAGAIN { return false }
    }
    return true
  }
}
