// The backing image: opened, locked, measured. The queues on it are elsewhere.

import Block
import CSystem
import Glibc
import Memory

/// Why an image cannot be used: one line for the user.
public struct ImageFailure: Error, Equatable {
  /// The line, without the path in front.
  public let message: String
}

/// An open image file. It is locked against a second mount for as long as it lives.
public final class ImageFile: Sendable {
  /// How it was opened.
  public struct Options: Sendable {
    /// Whether O_DIRECT is wanted.
    public var direct: Bool
    /// Whether it is opened read-only.
    public var isReadOnly: Bool
    /// The logical block size that is asked for, or nil for the image's own.
    public var blockSize: Int?

    /// Puts the options together.
    public init(direct: Bool, isReadOnly: Bool, blockSize: Int?) {
      self.direct = direct
      self.isReadOnly = isReadOnly
      self.blockSize = blockSize
    }
  }

  /// The descriptor for whole blocks, with O_DIRECT where it is used.
  let descriptor: Int32
  /// The descriptor without O_DIRECT, for the part of a block at the end of the image; else the same.
  let bufferedDescriptor: Int32
  /// Size in bytes.
  public let byteCount: Int
  /// Whether O_DIRECT is used.
  public let isDirect: Bool
  /// Whether O_DIRECT was wanted and the host's filesystem has none.
  public let lacksDirect: Bool
  /// Whether it was opened read-only.
  public let isReadOnly: Bool
  /// Logical block size, 512 or 4096.
  public let blockSize: Int
  /// What a buffer's address must be a multiple of.
  public let memoryAlignment: Int

  /// Opens and locks an image.
  /// - Throws: one line that says what is wrong with it.
  public init(path: String, options: Options) throws(ImageFailure) {
    let mode = options.isReadOnly ? O_RDONLY : O_RDWR
    let plain = unsafe open(path, mode | O_CLOEXEC | O_NOCTTY)
    if plain < 0 { throw Self.openFailure(errno, options) }
    var status = stat()
    _ = unsafe fstat(plain, &status)
    do throws(ImageFailure) {
      byteCount = try Self.measure(plain, status)
      try Self.lock(plain, isReadOnly: options.isReadOnly)
    } catch {
      close(plain)
      throw error
    }
    let direct =
      unsafe options.direct ? open(path, mode | O_CLOEXEC | O_NOCTTY | EXTRACTFS_O_DIRECT) : -1
    lacksDirect = options.direct && direct < 0
    isDirect = direct >= 0
    isReadOnly = options.isReadOnly
    bufferedDescriptor = plain
    descriptor = direct >= 0 ? direct : plain
    let alignment = direct >= 0 ? Self.directAlignment(direct) : (memory: 1, offset: 1)
    memoryAlignment = alignment.memory
    let least = max(512, alignment.offset)
    blockSize = options.blockSize ?? least
    var complaint: String?
    if blockSize < least {
      complaint =
        "direct I/O on it needs blocks of \(least) bytes; use block_size=\(least) or direct=off"
    } else if byteCount < blockSize {
      complaint = "is smaller than one block of \(blockSize) bytes"
    }
    if let complaint {
      close(plain)
      if direct >= 0 { close(direct) }
      throw ImageFailure(message: complaint)
    }
  }

  deinit {
    if descriptor != bufferedDescriptor { close(descriptor) }
    close(bufferedDescriptor)
  }

  private static func openFailure(_ number: Int32, _ options: Options) -> ImageFailure {
    switch number {
    case ENOENT: ImageFailure(message: "does not exist; `extractfs mkimage` makes one")
    case EISDIR: ImageFailure(message: "is a directory, not an image")
    case EACCES, EROFS, EPERM, ETXTBSY:
      ImageFailure(
        message: unsafe "\(String(cString: strerror(number)))"
          + (options.isReadOnly ? "" : "; -o ro mounts it read-only"))
    default: unsafe ImageFailure(message: String(cString: strerror(number)))
    }
  }

  /// The size of a file or a block device.
  private static func measure(_ descriptor: Int32, _ status: stat) throws(ImageFailure) -> Int {
    switch status.st_mode & S_IFMT {
    case S_IFREG: return Int(status.st_size)
    case S_IFBLK: return Int(lseek(descriptor, 0, SEEK_END))
    case S_IFDIR: throw ImageFailure(message: "is a directory, not an image")
    default: throw ImageFailure(message: "is neither a file nor a block device")
    }
  }

  /// Locks the open file itself, so that the lock lives exactly as long as the image is open.
  private static func lock(_ descriptor: Int32, isReadOnly: Bool) throws(ImageFailure) {
    if flock(descriptor, (isReadOnly ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 { return }
    throw ImageFailure(message: "is in use: another mount has it locked")
  }

  /// What O_DIRECT wants of addresses and offsets, as the kernel tells it (statx, 6.1), or as a probe shows.
  private static func directAlignment(_ descriptor: Int32) -> (memory: Int, offset: Int) {
    var answer = statx()
    let asked = EXTRACTFS_STATX_DIOALIGN
    if unsafe statx(descriptor, "", EXTRACTFS_AT_EMPTY_PATH, asked, &answer) == 0,
      answer.stx_mask & asked != 0
    {
      let (memory, offset) = unsafe withUnsafeBytes(of: &answer) {
        // `stx_dio_mem_align` and `stx_dio_offset_align`, newer than Debian 12's C library.
        unsafe (
          Int($0.load(fromByteOffset: 152, as: UInt32.self)),
          Int($0.load(fromByteOffset: 156, as: UInt32.self))
        )
      }
      if memory > 0 && offset > 0 { return (memory, offset) }
    }
    for size in [512, 4096] {
      let buffer = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 4096)
      defer { unsafe buffer.deallocate() }
      if unsafe pread(descriptor, buffer, size, 0) >= 0 { return (size, size) }
    }
    return (4096, 4096)
  }

  /// Whether reads can be asked not to wait, as io_uring needs it: else it hands each transfer to a kernel thread,
  /// which costs two context switches (tmpfs, and some network filesystems).
  func supportsNoWait() -> Bool {
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: blockSize, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    var vector = unsafe iovec(iov_base: buffer, iov_len: blockSize)
    let noWait: Int32 = 8  // RWF_NOWAIT
    return unsafe preadv2(descriptor, &vector, 1, 0, noWait) >= 0 || errno != EOPNOTSUPP
  }

  // MARK: Operations that need no queue

  /// Bytes that the host's filesystem has allocated.
  var storedByteCount: Int {
    var status = stat()
    return unsafe fstat(bufferedDescriptor, &status) == 0 ? Int(status.st_blocks) * 512 : byteCount
  }

  /// lseek(2) for data and holes.
  func seek(offset: Int, whence: Int32) throws(Errno) -> Int {
    let found = lseek(bufferedDescriptor, offset, whence)
    if found < 0 { throw Errno(rawValue: errno) }
    return found
  }
}
