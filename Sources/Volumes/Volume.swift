// What a filesystem inside the mount must offer: names, attributes, handles, and where a file's bytes are on the device.
//
// A volume moves no file data. It says where data lies (`extent`), the engine moves it, and what a write leaves to be
// done (conversion, size, times) is the volume's again (`finishWrite`) before the write is answered.

import DirectIO
import Memory

/// An inode as a look-up gives it.
public struct VolumeEntry: Sendable {
  /// What is there.
  public var attributes: FileAttributes
  /// Tells apart two objects that have the same inode number one after the other.
  public var generation: UInt64

  /// Puts an entry together.
  public init(_ attributes: FileAttributes, generation: UInt64 = 0) {
    self.attributes = attributes
    self.generation = generation
  }
}

/// A name in a directory, as a listing gives it.
public struct DirectoryEntry: Sendable {
  /// The name.
  public let name: FileName
  /// The inode it leads to.
  public let inode: UInt64
  /// What is there.
  public let type: FileType
  /// Where the listing goes on behind this name; never 0.
  public let cookie: UInt64

  /// Puts an entry together.
  public init(name: FileName, inode: UInt64, type: FileType, cookie: UInt64) {
    self.name = name
    self.inode = inode
    self.type = type
    self.cookie = cookie
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
  /// Inodes that are free.
  public var freeFiles: Int

  /// Puts the figures together.
  public init(blockSize: Int, blocks: Int, freeBlocks: Int, files: Int, freeFiles: Int = 0) {
    self.blockSize = blockSize
    self.blocks = blocks
    self.freeBlocks = freeBlocks
    self.files = files
    self.freeFiles = freeFiles
  }
}

/// What is constant about a volume and decides how its files are served.
public struct VolumeTraits: Sendable {
  /// Whether all of its names and attributes are in memory, so that its calls may run on a worker. Others run on the
  /// volume's own queue, one after the other.
  public var answersAtOnce: Bool
  /// Bytes of a filesystem block, a power of two: the unit of extents, and what a write into fresh space fills up with
  /// zeroes.
  public var blockBytes: Int
  /// Whether a mapped extent may turn out to be a hole of the device, which is then fresh space too.
  public var asksDeviceForHoles: Bool
  /// Whether it gives blocks to files and takes them back, so that where a range lies can change, a write must be
  /// finished, and a file's size can change. A volume that does not says of every write at once that it is finished.
  public var allocatesBlocks: Bool
  /// How long the kernel may believe names, in seconds: nobody else changes them.
  public var nameSeconds: Double

  /// Puts the traits together.
  public init(
    answersAtOnce: Bool, blockBytes: Int, asksDeviceForHoles: Bool = false,
    allocatesBlocks: Bool = true, nameSeconds: Double = 3600
  ) {
    self.answersAtOnce = answersAtOnce
    self.blockBytes = blockBytes
    self.asksDeviceForHoles = asksDeviceForHoles
    self.allocatesBlocks = allocatesBlocks
    self.nameSeconds = nameSeconds
  }
}

/// Why an extent is asked for.
public enum ExtentPurpose: Sendable {
  /// To read: nothing is allocated.
  case read
  /// To write: what is not there is allocated, and comes as `new` or `unwritten`.
  case write
}

/// How names change places. Kernel: `RENAME_*`, include/uapi/linux/fs.h.
public struct RenameFlags: OptionSet, Sendable {
  /// The bits, as renameat2(2) has them.
  public let rawValue: UInt32
  /// Wraps the bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// The new name must not be there.
  public static let noReplace = RenameFlags(rawValue: 1)
  /// Both names must be there and change places.
  public static let exchange = RenameFlags(rawValue: 2)
}

/// Whether an extended attribute must or must not be there. Kernel: `XATTR_CREATE`, `XATTR_REPLACE`.
public enum AttributePresence: Sendable {
  /// Either.
  case any
  /// EEXIST if it is there.
  case absent
  /// ENODATA if it is not.
  case present
}

/// What is to be made durable.
public enum SyncScope: Sendable {
  /// A file's data and what is needed to read it; with `dataOnly` not its times.
  case file(UInt64, dataOnly: Bool)
  /// A directory's names.
  case directory(UInt64)
  /// Everything.
  case all
}

/// What a change of a file's storage does to a range. Kernel: `FALLOC_FL_*`, include/uapi/linux/falloc.h.
public enum StorageChange: Sendable, Equatable {
  /// The range gets storage that reads as zeroes where it has none; data stays.
  case allocate(keepsSize: Bool)
  /// The range loses its storage and reads as zeroes.
  case punchHole
  /// The range reads as zeroes and keeps or gets storage.
  case zero(keepsSize: Bool)
}

/// What the engine has to do for a change of storage, when the volume has said where.
public struct StorageWork: Sendable {
  /// What is done to the range.
  public enum Kind: Sendable {
    /// It is zeroed; the device may give the storage back, or keeps it.
    case zero(unmaps: Bool)
    /// It gets storage where it has none; what can be read stays the same.
    case provision
  }

  /// What is done.
  public var kind: Kind
  /// Byte offset in the file.
  public var offset: Int
  /// Bytes; 0 for nothing to do.
  public var byteCount: Int

  /// Puts the work together.
  public init(_ kind: Kind, offset: Int, byteCount: Int) {
    self.kind = kind
    self.offset = offset
    self.byteCount = byteCount
  }

  /// Nothing to do.
  public static var none: StorageWork { StorageWork(.provision, offset: 0, byteCount: 0) }
}

/// A filesystem whose files lie in extents of a device. The mount's root is inode 1.
///
/// Calls come from several threads at once, those that change names or attributes through the mount's one gate. What a
/// call may throw besides what it names: `.ioError`, `.noSuchFile` for an inode that is none.
public protocol Volume: AnyObject, Sendable {
  /// Its kind, as in the mount option `volume`.
  var kindName: String { get }
  /// What is constant about it.
  var traits: VolumeTraits { get }

  // MARK: Names

  /// Finds a name, and counts one look-up of what it leads to. Throws `.noSuchFile`, ENOTDIR.
  func lookup(_ name: FileName, in directory: UInt64) throws(Errno) -> VolumeEntry
  /// The kernel has forgotten so many look-ups. An inode without links, look-ups and handles is gone.
  func forget(_ inode: UInt64, lookups: UInt64)
  /// Makes a regular file, a device node, a pipe or a socket; counts a look-up. Throws EEXIST, `.noSpace`.
  /// - Parameters:
  ///   - mode: type and permission bits, the umask applied.
  ///   - device: as `st_rdev`, for device nodes.
  func makeNode(
    _ name: FileName, in directory: UInt64, mode: UInt32, device: UInt32, by caller: Caller
  ) throws(Errno) -> VolumeEntry
  /// Makes a regular file without a name, as O_TMPFILE wants it; counts a look-up.
  func makeUnnamed(
    in directory: UInt64, mode: UInt32, by caller: Caller
  ) throws(Errno) -> VolumeEntry
  /// Makes a directory; counts a look-up.
  func makeDirectory(
    _ name: FileName, in directory: UInt64, mode: UInt32, by caller: Caller
  ) throws(Errno) -> VolumeEntry
  /// Makes a symbolic link; counts a look-up.
  func makeSymbolicLink(
    _ name: FileName, in directory: UInt64, to target: [UInt8], by caller: Caller
  ) throws(Errno) -> VolumeEntry
  /// Where a symbolic link leads. Throws `.invalidArgument` for anything else.
  func target(of link: UInt64) throws(Errno) -> [UInt8]
  /// Gives an inode one more name; counts a look-up. Throws EMLINK, EEXIST, EPERM for a directory.
  func link(
    _ inode: UInt64, as name: FileName, in directory: UInt64
  ) throws(Errno) -> VolumeEntry
  /// Removes a name of anything but a directory. Throws EISDIR.
  func unlink(_ name: FileName, in directory: UInt64) throws(Errno)
  /// Removes an empty directory. Throws ENOTEMPTY, ENOTDIR.
  func removeDirectory(_ name: FileName, in directory: UInt64) throws(Errno)
  /// Moves a name, over an existing one unless the flags forbid it.
  func rename(
    _ name: FileName, in directory: UInt64, to newName: FileName, in newDirectory: UInt64,
    _ flags: RenameFlags
  ) throws(Errno)

  // MARK: Attributes

  /// An inode's attributes.
  func attributes(of inode: UInt64) throws(Errno) -> FileAttributes
  /// Changes attributes; permissions were checked. A new size keeps what lies before it.
  func change(
    _ inode: UInt64, to change: AttributeChange, by caller: Caller
  ) throws(Errno) -> FileAttributes
  /// What has to be zeroed on the device before attributes are changed: what a new size leaves of a file's last block.
  func tailToZero(of inode: UInt64, before change: AttributeChange) throws(Errno) -> StorageWork
  /// Whether somebody may do what `mask` (R_OK, W_OK, X_OK) says, where the kernel does not know. Throws EACCES.
  func checkAccess(_ inode: UInt64, mask: Int32, by caller: Caller) throws(Errno)
  /// An extended attribute's value. Throws ENODATA, `.notSupported`.
  func extendedAttribute(_ name: FileName, of inode: UInt64) throws(Errno) -> [UInt8]
  /// The names of all extended attributes.
  func extendedAttributeNames(of inode: UInt64) throws(Errno) -> [FileName]
  /// Sets an extended attribute. Throws EEXIST, ENODATA, `.noSpace`, E2BIG, `.notSupported`.
  func setExtendedAttribute(
    _ name: FileName, of inode: UInt64, to value: [UInt8], _ presence: AttributePresence
  ) throws(Errno)
  /// Removes an extended attribute. Throws ENODATA.
  func removeExtendedAttribute(_ name: FileName, of inode: UInt64) throws(Errno)

  // MARK: Handles

  /// Opens a file or a directory. An open inode stays, whatever becomes of its names.
  /// - Parameter flags: of open(2).
  /// - Returns: a value of the volume's, given back with `close`.
  func open(_ inode: UInt64, flags: Int32, by caller: Caller) throws(Errno) -> UInt64
  /// The last user of a handle has gone.
  func close(_ inode: UInt64, handle: UInt64)
  /// Lists a directory, without `.` and `..`.
  /// - Parameters:
  ///   - cookie: where to go on: that of the last entry that was taken, or 0.
  ///   - body: takes an entry; false ends the call, and that entry counts as not taken.
  func list(
    _ directory: UInt64, handle: UInt64, from cookie: UInt64, _ body: (DirectoryEntry) -> Bool
  ) throws(Errno)
  /// The directory that a directory lies in; the root's is itself.
  func parent(of directory: UInt64) throws(Errno) -> UInt64

  // MARK: Data

  /// Where a byte of a file is, and how far what follows lies in one piece.
  /// - Parameters:
  ///   - offset: byte offset in the file.
  ///   - limit: bytes that are wanted, at least 1; the extent may be shorter, not longer.
  ///   - mayBlock: false on a worker.
  /// - Returns: nil if it cannot be said without blocking; 0 bytes at and beyond the end of what can be read or written.
  func extent(
    of inode: UInt64, at offset: Int, limit: Int, for purpose: ExtentPurpose, mayBlock: Bool
  ) throws(Errno) -> Extent?
  /// Data was written to the extents that `extent` gave, successfully or in part: conversion, size, times.
  /// - Parameters:
  ///   - byteCount: bytes from `offset` that are on the device; the rest of what was asked for is not.
  ///   - mayBlock: false on a worker.
  /// - Returns: false if it cannot be done without blocking; then it is called again where it may.
  func finishWrite(
    to inode: UInt64, at offset: Int, byteCount: Int, mayBlock: Bool
  ) throws(Errno) -> Bool
  /// Finds data or holes in a file.
  /// - Parameter whence: `SEEK_DATA` or `SEEK_HOLE`.
  /// - Throws: ENXIO beyond the last data.
  func seek(_ inode: UInt64, offset: Int, whence: Int32) throws(Errno) -> Int
  /// fallocate(2): changes the file's storage, as far as that needs no data to be moved.
  /// - Returns: what remains to be zeroed on the device; afterwards `finishWrite` is called with 0 bytes.
  func changeStorage(
    of inode: UInt64, _ change: StorageChange, offset: Int, length: Int
  ) throws(Errno) -> StorageWork
  /// Where pass-through requests on a file may go: a range of the device. Throws ENOTTY where blocks are the
  /// filesystem's own business.
  func passThroughRange(of inode: UInt64) throws(Errno) -> Range<Int>

  // MARK: The whole

  /// Room.
  func statistics() -> VolumeStatistics
  /// Writes out what must be on the device before a flush makes the scope durable.
  /// - Returns: whether the device is to be flushed now.
  func prepareSync(_ scope: SyncScope) throws(Errno) -> Bool
  /// The regular files whose pages the kernel may have cached, for `drop`.
  func cachedInodes() -> [UInt64]
  /// The orderly end: nothing follows it but one flush of the device.
  func end() throws(Errno)
}
