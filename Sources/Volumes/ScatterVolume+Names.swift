// Names of a scatter volume: how they are found, made and removed. How they are moved has a file of its own.

import Memory

extension ScatterVolume {
  /// Finds a name, `.` and `..` too.
  public func lookup(_ name: FileName, in directory: UInt64) throws(Errno) -> VolumeEntry {
    try locked { state throws(Errno) in
      let parent = try state.directory(directory)
      let node =
        switch name {
        case Self.ownName: parent
        case Self.parentName: try state.node(parent.names.parent)
        default: try state.node(named: name, in: parent)
        }
      node.lookups += 1
      return VolumeEntry(state.attributes(of: node))
    }
  }

  private static let ownName = FileName(".")
  private static let parentName = FileName("..")

  /// Inodes that nobody can reach are gone, and their blocks are free.
  public func forget(_ inode: UInt64, lookups: UInt64) {
    locked { state in
      guard let node = state.nodes[inode] else { return }
      node.lookups -= min(node.lookups, lookups)
      state.collect(node)
    }
  }

  /// Throws `.notPermitted` for a directory, `.invalidArgument` for a type that is none.
  public func makeNode(
    _ name: FileName, in directory: UInt64, mode: UInt32, device: UInt32, by caller: Caller
  ) throws(Errno) -> VolumeEntry {
    let bits = mode & FileType.mask
    guard let type = bits == 0 ? .regular : FileType(rawValue: bits), type != .symbolicLink else {
      throw .invalidArgument
    }
    if type == .directory { throw .notPermitted }
    return try locked { state throws(Errno) in
      let node = try state.make(name, in: directory, type, mode: mode, by: caller)
      if type == .blockDevice || type == .characterDevice { node.attributes.device = device }
      return VolumeEntry(state.attributes(of: node))
    }
  }

  /// Gone with its last handle and look-up, unless it got a name.
  public func makeUnnamed(
    in directory: UInt64, mode: UInt32, by caller: Caller
  ) throws(Errno) -> VolumeEntry {
    try locked { state throws(Errno) in
      let parent = try state.directory(directory)
      let node = try state.makeNode(.regular, mode: mode, in: parent, by: caller)
      node.attributes.linkCount = 0
      node.isLinkable = true
      return VolumeEntry(state.attributes(of: node))
    }
  }

  /// Throws EMLINK for a directory with as many directories as an inode can have links.
  public func makeDirectory(
    _ name: FileName, in directory: UInt64, mode: UInt32, by caller: Caller
  ) throws(Errno) -> VolumeEntry {
    try locked { state throws(Errno) in
      let parent = try state.directory(directory)
      if parent.names.inode(of: name) == nil && parent.attributes.linkCount >= Self.maximumLinks {
        throw .tooManyLinks
      }
      let node = try state.make(name, in: directory, .directory, mode: mode, by: caller)
      node.attributes.linkCount = 2
      node.names.parent = directory
      parent.attributes.linkCount += 1
      return VolumeEntry(state.attributes(of: node))
    }
  }

  /// The target may be any bytes.
  public func makeSymbolicLink(
    _ name: FileName, in directory: UInt64, to target: [UInt8], by caller: Caller
  ) throws(Errno) -> VolumeEntry {
    try locked { state throws(Errno) in
      let node = try state.make(name, in: directory, .symbolicLink, mode: 0o777, by: caller)
      node.target = target
      node.attributes.size = target.count
      return VolumeEntry(state.attributes(of: node))
    }
  }

  /// Counts as an access.
  public func target(of link: UInt64) throws(Errno) -> [UInt8] {
    try locked { state throws(Errno) in
      let node = try state.node(link)
      if node.attributes.type != .symbolicLink { throw .invalidArgument }
      node.noteAccess(.now())
      return node.target
    }
  }

  /// A file whose last name was removed gets no new one; one that never had a name does.
  ///
  /// Kernel: `vfs_link()`, fs/namei.c, v6.6.
  public func link(
    _ inode: UInt64, as name: FileName, in directory: UInt64
  ) throws(Errno) -> VolumeEntry {
    try locked { state throws(Errno) in
      let node = try state.node(inode)
      let parent = try state.liveDirectory(directory)
      if parent.names.inode(of: name) != nil { throw .exists }
      if node.isDirectory { throw .notPermitted }
      if node.attributes.linkCount == 0 && !node.isLinkable { throw .noSuchFile }
      if node.attributes.linkCount >= Self.maximumLinks { throw .tooManyLinks }
      let now = Timestamp.now()
      parent.names.add(name, inode)
      parent.noteModification(now)
      node.isLinkable = false
      node.attributes.linkCount += 1
      node.attributes.changed = now
      node.lookups += 1
      return VolumeEntry(state.attributes(of: node))
    }
  }

  /// The file lives on while it is open or known.
  public func unlink(_ name: FileName, in directory: UInt64) throws(Errno) {
    try locked { state throws(Errno) in
      let parent = try state.directory(directory)
      let node = try state.node(named: name, in: parent)
      if node.isDirectory { throw .isDirectory }
      let now = Timestamp.now()
      parent.names.remove(name)
      parent.noteModification(now)
      state.dropLink(of: node, now)
    }
  }

  /// The directory lives on, empty and with nothing to be made in it, while it is open or known.
  public func removeDirectory(_ name: FileName, in directory: UInt64) throws(Errno) {
    try locked { state throws(Errno) in
      let parent = try state.directory(directory)
      let node = try state.node(named: name, in: parent)
      if !node.isDirectory { throw .notDirectory }
      if !node.names.isEmpty { throw .notEmpty }
      let now = Timestamp.now()
      parent.names.remove(name)
      parent.attributes.linkCount -= 1
      parent.noteModification(now)
      state.dropLink(of: node, now)
    }
  }
}

extension ScatterState {
  /// A directory that was not removed. Throws `.noSuchFile`, `.notDirectory`.
  func liveDirectory(_ inode: UInt64) throws(Errno) -> ScatterNode {
    let node = try directory(inode)
    if node.attributes.linkCount == 0 { throw .noSuchFile }
    return node
  }

  /// Makes an inode with a name. Throws `.exists`, `.noSpace`.
  mutating func make(
    _ name: FileName, in directory: UInt64, _ type: FileType, mode: UInt32, by caller: Caller
  ) throws(Errno) -> ScatterNode {
    let parent = try liveDirectory(directory)
    if parent.names.inode(of: name) != nil { throw .exists }
    let node = try makeNode(type, mode: mode, in: parent, by: caller)
    parent.names.add(name, node.attributes.inode)
    parent.noteModification(node.attributes.changed)
    return node
  }

  /// A name of an inode is gone; with a directory's name its own `.` is.
  mutating func dropLink(of node: ScatterNode, _ now: Timestamp) {
    node.attributes.linkCount -= node.isDirectory ? 2 : 1
    node.attributes.changed = now
    collect(node)
  }
}
