// What is known of an inode: type, owner, size, times; and what a setattr request changes of it.

/// What kind of object an inode is; values as in `st_mode`.
public enum FileType: UInt32, Sendable {
  /// `S_IFIFO`.
  case namedPipe = 0o010000
  /// `S_IFCHR`.
  case characterDevice = 0o020000
  /// `S_IFDIR`.
  case directory = 0o040000
  /// `S_IFBLK`.
  case blockDevice = 0o060000
  /// `S_IFREG`.
  case regular = 0o100000
  /// `S_IFLNK`.
  case symbolicLink = 0o120000
  /// `S_IFSOCK`.
  case socket = 0o140000

  /// The type bits of a mode.
  @inlinable public static var mask: UInt32 { 0o170000 }
}

/// A point in time, as `struct timespec` has it.
public struct Timestamp: Equatable, Comparable, Sendable {
  /// Seconds since 1970.
  public var seconds: Int
  /// Nanoseconds, below 10^9.
  public var nanoseconds: Int

  /// Puts a time together.
  public init(seconds: Int, nanoseconds: Int) {
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }

  /// Earlier times are less.
  public static func < (left: Timestamp, right: Timestamp) -> Bool {
    (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
  }
}

/// An inode's attributes.
public struct FileAttributes: Sendable {
  /// The inode's number, at least 1.
  public var inode: UInt64
  /// What it is.
  public var type: FileType
  /// Permission bits, 0 to 0o7777.
  public var permissions: UInt32
  /// Links to it.
  public var linkCount: UInt32 = 1
  /// Owner.
  public var user: UInt32
  /// Group.
  public var group: UInt32
  /// The device that a device node stands for, as `st_rdev`.
  public var device: UInt32 = 0
  /// Bytes.
  public var size: Int
  /// Storage used, in units of 512 bytes.
  public var blocks512: Int = 0
  /// The granularity of storage and holes in bytes: what `st_blksize` says.
  ///
  /// Programs take it for the granularity of holes (util-linux's `fallocate -d`), so it must not be larger than that.
  public var blockSize = 4096
  /// Last read.
  public var accessed: Timestamp
  /// Last write.
  public var modified: Timestamp
  /// Last change of data or attributes; nobody can set it.
  public var changed: Timestamp

  /// Puts attributes together; all three times start equal.
  public init(
    inode: UInt64, type: FileType, permissions: UInt32, user: UInt32, group: UInt32, size: Int,
    time: Timestamp
  ) {
    self.inode = inode
    self.type = type
    self.permissions = permissions
    self.user = user
    self.group = group
    self.size = size
    accessed = time
    modified = time
    changed = time
  }
}

/// What a setattr request changes; nil stays as it is.
public struct AttributeChange: Sendable {
  /// New size in bytes.
  public var size: Int?
  /// New permission bits, 0 to 0o7777.
  public var permissions: UInt32?
  /// New owner.
  public var user: UInt32?
  /// New group.
  public var group: UInt32?
  /// New time of the last read.
  public var accessed: Timestamp?
  /// New time of the last write.
  public var modified: Timestamp?

  /// A change of nothing.
  public init() {}
}

/// Who asks.
public struct Caller: Sendable {
  /// User.
  public var user: UInt32
  /// Group: what is made belongs to it, unless the directory has the setgid bit.
  public var group: UInt32
  /// Process, or 0 for the kernel itself.
  public var process: Int32

  /// Puts a caller together.
  public init(user: UInt32, group: UInt32, process: Int32) {
    self.user = user
    self.group = group
    self.process = process
  }

  /// Nobody in particular: the mount itself.
  public static var mount: Caller { Caller(user: 0, group: 0, process: 0) }
}
