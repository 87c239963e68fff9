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
struct IncomingMessage {
  private let bytes: MemoryWindow

  /// Wraps a received message, or nil if it is shorter than a header.
  init?(_ bytes: MemoryWindow) {
    if bytes.count < MessageLayout.requestHeader { return nil }
    self.bytes = bytes
  }

  var byteCount: Int { bytes.count }
  var opcode: UInt32 { bytes.load(UInt32.self, at: 4) }
  var unique: UInt64 { bytes.load(UInt64.self, at: 8) }
  var inode: UInt64 { bytes.load(UInt64.self, at: 16) }

  /// Whether the kernel writes its pages back: there is no program that could try again.
  var isWriteback: Bool {
    opcode == Opcode.write && byteCount >= MessageLayout.dataHeader
      && word(at: 60) & WriteFlags.cache != 0
  }

  /// Who sent it.
  var caller: Caller {
    Caller(user: word(at: 24), group: word(at: 28), process: Int32(bitPattern: word(at: 32)))
  }

  /// A word of a message that is long enough.
  func word(at offset: Int) -> UInt32 { bytes.load(UInt32.self, at: offset) }

  /// A copy that outlives the buffer.
  func copy() -> [UInt8] { bytes.contents }

  /// The text that a WRITE brought; for control files.
  func payload(of request: DataRequest) -> String {
    if !request.isWrite { return "" }
    let start = MessageLayout.dataHeader
    return String(decoding: bytes[start..<start + request.length].contents, as: UTF8.self)
  }

  /// The fields of a READ or WRITE, or nil if the message is not whole or asks for more than `limit` bytes.
  func dataRequest(limit: Int) -> DataRequest? {
    if byteCount < MessageLayout.dataHeader { return nil }
    let request = DataRequest(
      isWrite: opcode == Opcode.write, unique: unique, inode: inode,
      fileHandle: bytes.load(UInt64.self, at: 40),
      offset: bytes.load(Int.self, at: 48),
      length: Int(bytes.load(UInt32.self, at: 56)),
      writeFlags: bytes.load(UInt32.self, at: 60),
      openFlags: bytes.load(UInt32.self, at: 72))
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
    MemoryWindow.on(&header) { send($0, on: descriptor) }
  }

  /// Answers a WRITE.
  static func written(_ byteCount: Int, to unique: UInt64, on descriptor: Int32) {
    var message = (
      fuse_out_header(
        len: UInt32(MessageLayout.replyHeader + 8), error: 0, unique: unique),
      fuse_write_out(size: UInt32(byteCount), padding: 0)
    )
    MemoryWindow.on(&message) { send($0, on: descriptor) }
  }

  /// Answers a READ with the bytes that lie behind room for the header.
  static func data(_ answer: MemoryWindow, to unique: UInt64, on descriptor: Int32) {
    // `struct fuse_out_header`: length, error, unique.
    answer.store(UInt32(truncatingIfNeeded: answer.count), at: 0)
    answer.store(Int32(0), at: 4)
    answer.store(unique, at: 8)
    send(answer, on: descriptor)
  }

  /// ENOENT means that the kernel has given the request up, which is no error of ours.
  private static func send(_ message: MemoryWindow, on descriptor: Int32) {
    while unsafe write(descriptor, message.bytes.baseAddress, message.count) < 0 {
      if errno != EINTR && errno != EAGAIN { return }
    }
  }
}
