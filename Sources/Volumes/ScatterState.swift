// What a scatter volume knows, all of it under one lock: its inodes, and which blocks are free.

import Memory

/// An inode of a scatter volume.
final class ScatterNode: @unchecked Sendable {
  // Guard of the unchecked Sendable: reached under the lock of the volume only.
  /// What is known of it, but for the storage used, which the extents say.
  var attributes: FileAttributes
  /// Of a regular file.
  var file = ScatterFile()
  /// Of a directory.
  var names = ScatterDirectory(parent: 0)
  /// Of a symbolic link.
  var target: [UInt8] = []
  /// In the order in which they were set.
  var extended: [(name: FileName, value: [UInt8])] = []
  /// Look-ups that the kernel has not forgotten.
  var lookups: UInt64 = 1
  /// Open handles.
  var handles = 0
  /// Whether it never had a name and may get one. Kernel: `I_LINKABLE`, include/linux/fs.h.
  var isLinkable = false

  /// A new inode, looked up once.
  init(_ attributes: FileAttributes) { self.attributes = attributes }

  /// Whether it is a directory.
  var isDirectory: Bool { attributes.type == .directory }

  /// Its data or its names changed.
  func noteModification(_ now: Timestamp) {
    attributes.modified = now
    attributes.changed = now
  }

  /// It was read. Like the kernel's `relatime`: a time is written only if it says something new.
  ///
  /// Kernel: `relatime_need_update()`, fs/inode.c, v6.6.
  func noteAccess(_ now: Timestamp) {
    let accessed = attributes.accessed
    if accessed <= attributes.modified || accessed <= attributes.changed
      || now.seconds - accessed.seconds >= 24 * 60 * 60
    {
      attributes.accessed = now
    }
  }
}

/// Everything that a scatter volume's lock guards.
struct ScatterState: Sendable {
  /// Bytes of a block.
  let blockBytes: Int
  /// The inodes that have a name, a look-up or a handle.
  private(set) var nodes: [UInt64: ScatterNode] = [:]
  /// Which blocks are free.
  var allocator: ScatterAllocator
  /// For each open directory the last cookie that its listing goes to.
  var listingEnds: [UInt64: UInt64] = [:]
  private var latestInode: UInt64 = 1
  private var latestHandle: UInt64 = 0

  /// An empty tree on free blocks.
  init(root: FileAttributes, blockBytes: Int, allocator: ScatterAllocator) {
    self.blockBytes = blockBytes
    self.allocator = allocator
    let node = ScatterNode(root)
    node.names.parent = root.inode
    node.attributes.linkCount = 2
    nodes[root.inode] = node
  }

  /// An inode. Throws `.noSuchFile`.
  func node(_ inode: UInt64) throws(Errno) -> ScatterNode {
    guard let node = nodes[inode] else { throw .noSuchFile }
    return node
  }

  /// A directory. Throws `.noSuchFile`, `.notDirectory`.
  func directory(_ inode: UInt64) throws(Errno) -> ScatterNode {
    let node = try node(inode)
    if !node.isDirectory { throw .notDirectory }
    return node
  }

  /// A regular file. Throws `.isDirectory`, and `.invalidArgument` for anything else.
  func regular(_ inode: UInt64) throws(Errno) -> ScatterNode {
    let node = try node(inode)
    if node.isDirectory { throw .isDirectory }
    if node.attributes.type != .regular { throw .invalidArgument }
    return node
  }

  /// What a name leads to. Throws `.noSuchFile`.
  func node(named name: FileName, in directory: ScatterNode) throws(Errno) -> ScatterNode {
    guard let inode = directory.names.inode(of: name) else { throw .noSuchFile }
    return try node(inode)
  }

  /// An inode's attributes, with the storage that it uses.
  func attributes(of node: ScatterNode) -> FileAttributes {
    var attributes = node.attributes
    attributes.blocks512 = node.file.blockCount * (blockBytes / 512)
    return attributes
  }

  /// Makes an inode without a name, looked up once.
  mutating func makeNode(
    _ type: FileType, mode: UInt32, in parent: ScatterNode, by caller: Caller
  ) throws(Errno) -> ScatterNode {
    if nodes.count >= ScatterVolume.maximumInodes { throw .noSpace }
    let inherits = parent.attributes.permissions & 0o2000 != 0
    latestInode += 1
    var attributes = FileAttributes(
      inode: latestInode, type: type, permissions: mode & 0o7777, user: caller.user,
      group: inherits ? parent.attributes.group : caller.group, size: 0, time: .now())
    if inherits && type == .directory { attributes.permissions |= 0o2000 }
    attributes.blockSize = blockBytes
    let node = ScatterNode(attributes)
    nodes[latestInode] = node
    return node
  }

  /// A number for an open file or directory.
  mutating func makeHandle() -> UInt64 {
    latestHandle += 1
    return latestHandle
  }

  /// Forgets an inode that nobody can reach any more, and frees its blocks.
  mutating func collect(_ node: ScatterNode) {
    if node.attributes.linkCount > 0 || node.lookups > 0 || node.handles > 0 { return }
    free(node.file.remove(0..<Int.max))
    nodes[node.attributes.inode] = nil
  }

  /// Gives blocks back.
  mutating func free(_ pieces: [ScatterFile.Piece]) {
    for piece in pieces { allocator.free(piece.places) }
  }
}
