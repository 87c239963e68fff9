// The control directory `.extractfs/`: a few files whose text is made when they are opened.

import Memory

/// One file of the control directory.
public struct ControlFile: Sendable {
  /// Its name.
  public let name: String
  /// Permission bits.
  public let permissions: UInt32
  /// Makes the content.
  public let render: @Sendable () -> String
  /// Takes what was written, or nil for a file that cannot be written.
  public let accept: (@Sendable (String) throws(Errno) -> Void)?

  /// Puts a file together.
  public init(
    name: String, permissions: UInt32, render: @escaping @Sendable () -> String,
    accept: (@Sendable (String) throws(Errno) -> Void)? = nil
  ) {
    self.name = name
    self.permissions = permissions
    self.render = render
    self.accept = accept
  }
}

/// The directory and its inodes; they lie far above those of any volume.
public final class ControlDirectory: Sendable {
  /// Whether and how users meet it.
  public enum Visibility: String, Sendable {
    /// Found by name, not listed.
    case hidden
    /// Listed in the root.
    case visible
    /// Not there at all.
    case off
  }

  /// Its name in the mount's root.
  public static let name = ".extractfs"
  /// The directory's own inode; its files follow.
  public static let inode: UInt64 = 1 << 62

  /// Whether and how users meet it.
  public let visibility: Visibility
  private let files: [ControlFile]
  private let owner: (user: UInt32, group: UInt32)

  /// Makes the directory.
  public init(files: [ControlFile], visibility: Visibility, user: UInt32, group: UInt32) {
    self.files = files
    self.visibility = visibility
    owner = (user, group)
  }

  /// Whether an inode belongs to the control directory.
  @inlinable public static func owns(_ inode: UInt64) -> Bool { inode >= inode0 }
  @usableFromInline static var inode0: UInt64 { 1 << 62 }

  /// The file behind an inode. Throws `.noSuchFile`.
  public func file(_ inode: UInt64) throws(Errno) -> ControlFile {
    let index = Int(bitPattern: UInt(inode &- Self.inode)) - 1
    guard files.indices.contains(index) else { throw .noSuchFile }
    return files[index]
  }

  /// Finds a file by name. Throws `.noSuchFile`.
  public func lookup(name: String) throws(Errno) -> FileAttributes {
    guard let index = files.firstIndex(where: { $0.name == name }) else { throw .noSuchFile }
    return try attributes(of: Self.inode + UInt64(index) + 1)
  }

  /// Attributes; a file's size is that of its text now, unless an open file has its own.
  /// - Parameter size: the size of an open snapshot, in bytes.
  public func attributes(of inode: UInt64, size: Int? = nil) throws(Errno) -> FileAttributes {
    if inode == Self.inode {
      var directory = FileAttributes(
        inode: inode, type: .directory, permissions: 0o555, user: owner.user, group: owner.group,
        size: 0, time: .now())
      directory.linkCount = 2
      return directory
    }
    let file = try file(inode)
    return FileAttributes(
      inode: inode, type: .regular, permissions: file.permissions, user: owner.user,
      group: owner.group, size: size ?? file.render().utf8.count, time: .now())
  }

  /// The names of its files.
  public func entries() -> [DirectoryEntry] {
    files.enumerated().map { index, file in
      DirectoryEntry(name: file.name, inode: Self.inode + UInt64(index) + 1, type: .regular)
    }
  }
}
