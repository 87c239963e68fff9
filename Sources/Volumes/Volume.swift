// What a filesystem inside the mount must offer: names, attributes, and where a file's bytes are on the device.

import DirectIO
import Memory

/// What kind of object an inode is.
public enum FileType: UInt32, Sendable {
  /// A regular file; the value is `S_IFREG`.
  case regular = 0o100000
  /// A directory; the value is `S_IFDIR`.
  case directory = 0o040000
}

/// A point in time, as `struct timespec` has it.
public struct Timestamp: Equatable, Sendable {
  /// Seconds since 1970.
  public var seconds: Int
  /// Nanoseconds, below 10^9.
  public var nanoseconds: Int

  /// Puts a time together.
  public init(seconds: Int, nanoseconds: Int) {
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }
}

/// An inode's attributes.
public struct FileAttributes: Sendable {
  /// The inode's number, at least 1.
  public var inode: UInt64
  /// File or directory.
  public var type: FileType
  /// Permission bits, 0 to 0o7777.
  public var permissions: UInt32
  /// Links to it.
  public var linkCount: UInt32 = 1
  /// Owner.
  public var user: UInt32
  /// Group.
  public var group: UInt32
  /// Bytes.
  public var size: Int
  /// Storage used, in units of 512 bytes.
  public var blocks512: Int = 0
  /// Last read.
  public var accessed: Timestamp
  /// Last write.
  public var modified: Timestamp
  /// Last change of attributes.
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
  /// New permission bits.
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

/// A name in a directory.
public struct DirectoryEntry: Sendable {
  /// The name, without slash.
  public let name: String
  /// The inode it leads to.
  public let inode: UInt64
  /// What is there.
  public let type: FileType

  /// Puts an entry together.
  public init(name: String, inode: UInt64, type: FileType) {
    self.name = name
    self.inode = inode
    self.type = type
  }
}

/// Room in a volume, as statfs(2) reports it.
public struct VolumeStatistics: Sendable {
  /// Unit of the counts below, in bytes.
  public var blockSize: Int
  /// Blocks in all.
  public var blocks: Int
  /// Blocks that are free.
  public var freeBlocks: Int
  /// Inodes in all.
  public var files: Int

  /// Puts the figures together.
  public init(blockSize: Int, blocks: Int, freeBlocks: Int, files: Int) {
    self.blockSize = blockSize
    self.blocks = blocks
    self.freeBlocks = freeBlocks
    self.files = files
  }
}

/// A filesystem whose files lie in extents of a device. Called by several workers at once.
public protocol Volume: AnyObject, Sendable {
  /// Its kind, as in the mount option `volume`.
  var kindName: String { get }
  /// What writes do about fresh blocks of its files that they cover in part.
  var zeroing: Zeroing { get }

  /// Finds a name. Throws `.noSuchFile`.
  func lookup(parent: UInt64, name: String) throws(Errno) -> FileAttributes
  /// An inode's attributes. Throws `.noSuchFile`.
  func attributes(of inode: UInt64) throws(Errno) -> FileAttributes
  /// Changes attributes. Throws what the volume refuses with.
  func change(_ inode: UInt64, to change: AttributeChange) throws(Errno) -> FileAttributes
  /// A directory's names, without `.` and `..`.
  func entries(of inode: UInt64) throws(Errno) -> [DirectoryEntry]
  /// Room.
  func statistics() -> VolumeStatistics

  /// Where a byte of a file is on the device, and how many bytes follow it there and in the file.
  ///
  /// - Returns: device offset and bytes; 0 bytes at and beyond the end of the file.
  func extent(of inode: UInt64, at offset: Int) throws(Errno) -> (deviceOffset: Int, byteCount: Int)
  /// Finds data or holes in a file; `whence` is `SEEK_DATA` or `SEEK_HOLE`.
  func seek(_ inode: UInt64, offset: Int, whence: Int32) throws(Errno) -> Int
  /// fallocate(2) on a file; never beyond its end.
  func allocate(_ inode: UInt64, mode: Int32, offset: Int, length: Int) throws(Errno)
  /// Notes that a file was written, for its times.
  func noteWrite(_ inode: UInt64)
}

extension Volume {
  /// Nothing, unless a volume knows better.
  public var zeroing: Zeroing { .off }
}
