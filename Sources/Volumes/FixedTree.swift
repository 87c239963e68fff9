// Volumes whose names are given: what each of them refuses in the same way.

import Memory

/// A volume in which nothing is made, renamed or removed, and which keeps no extended attributes.
///
/// Of extended attributes it says that nobody answers, so that the kernel never asks again: else it would ask for
/// `security.capability` before every write (4 KiB writes at depth 32 fell from 240,000 to 67,000 a second).
public protocol FixedTree: Volume {}

extension FixedTree {
  /// Inodes stay for good.
  public func forget(_ inode: UInt64, lookups: UInt64) {}
  /// Throws `.notPermitted`.
  public func makeNode(
    _ name: FileName, in directory: UInt64, mode: UInt32, device: UInt32, by caller: Caller
  ) throws(Errno) -> VolumeEntry { throw .notPermitted }
  /// Throws `.notSupported`, as open(2) with O_TMPFILE says it.
  public func makeUnnamed(
    in directory: UInt64, mode: UInt32, by caller: Caller
  ) throws(Errno) -> VolumeEntry { throw .notSupported }
  /// Throws `.notPermitted`.
  public func makeDirectory(
    _ name: FileName, in directory: UInt64, mode: UInt32, by caller: Caller
  ) throws(Errno) -> VolumeEntry { throw .notPermitted }
  /// Throws `.notPermitted`.
  public func makeSymbolicLink(
    _ name: FileName, in directory: UInt64, to target: [UInt8], by caller: Caller
  ) throws(Errno) -> VolumeEntry { throw .notPermitted }
  /// There is no symbolic link.
  public func target(of link: UInt64) throws(Errno) -> [UInt8] { throw .invalidArgument }
  /// Throws `.notPermitted`.
  public func link(
    _ inode: UInt64, as name: FileName, in directory: UInt64
  ) throws(Errno) -> VolumeEntry { throw .notPermitted }
  /// Throws `.notPermitted`.
  public func unlink(_ name: FileName, in directory: UInt64) throws(Errno) { throw .notPermitted }
  /// Throws `.notPermitted`.
  public func removeDirectory(_ name: FileName, in directory: UInt64) throws(Errno) {
    throw .notPermitted
  }
  /// Throws `.notPermitted`.
  public func rename(
    _ name: FileName, in directory: UInt64, to newName: FileName, in newDirectory: UInt64,
    _ flags: RenameFlags
  ) throws(Errno) { throw .notPermitted }
  /// No file is cut.
  public func tailToZero(
    of inode: UInt64, before change: AttributeChange
  ) throws(Errno) -> StorageWork { .none }
  /// Throws `.notImplemented`.
  public func extendedAttribute(_ name: FileName, of inode: UInt64) throws(Errno) -> [UInt8] {
    throw .notImplemented
  }
  /// Throws `.notImplemented`.
  public func extendedAttributeNames(of inode: UInt64) throws(Errno) -> [FileName] {
    throw .notImplemented
  }
  /// Throws `.notImplemented`.
  public func setExtendedAttribute(
    _ name: FileName, of inode: UInt64, to value: [UInt8], _ presence: AttributePresence
  ) throws(Errno) { throw .notImplemented }
  /// Throws `.notImplemented`.
  public func removeExtendedAttribute(_ name: FileName, of inode: UInt64) throws(Errno) {
    throw .notImplemented
  }
}
