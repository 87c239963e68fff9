// Names of a scatter volume change places.

import Memory

extension ScatterVolume {
  /// Throws EEXIST, EISDIR, ENOTDIR, ENOTEMPTY for what is in the way, EMLINK, and `.invalidArgument` for a directory
  /// into itself and for flags that are unknown or exclude each other.
  public func rename(
    _ name: FileName, in directory: UInt64, to newName: FileName, in newDirectory: UInt64,
    _ flags: RenameFlags
  ) throws(Errno) {
    let known: RenameFlags = [.noReplace, .exchange]
    if !known.isSuperset(of: flags) || flags == known { throw .invalidArgument }
    try locked { state throws(Errno) in
      let parent = try state.directory(directory)
      let newParent = try state.liveDirectory(newDirectory)
      let node = try state.node(named: name, in: parent)
      let old = try newParent.names.inode(of: newName).map { inode throws(Errno) in
        try state.node(inode)
      }
      if flags.contains(.noReplace) && old != nil { throw .exists }
      if flags.contains(.exchange) && old == nil { throw .noSuchFile }
      if old === node { return }
      try state.checkNotInside(newParent, node)
      if parent !== newParent {
        try Self.checkLinks(of: newParent, receiving: node, for: old)
      }
      if let old, flags.contains(.exchange) {
        try state.checkNotInside(parent, old)
        if parent !== newParent { try Self.checkLinks(of: parent, receiving: old, for: node) }
        state.exchange(name, of: parent, node, newName, of: newParent, old)
      } else {
        if let old { try Self.checkReplacement(of: old, by: node) }
        state.move(name, of: parent, node, to: newName, of: newParent, replacing: old)
      }
    }
  }

  /// Whether a directory can have one more directory, where it does not lose one.
  private static func checkLinks(
    of parent: ScatterNode, receiving node: ScatterNode, for other: ScatterNode?
  ) throws(Errno) {
    let losesOne = other?.isDirectory ?? false
    if node.isDirectory && !losesOne && parent.attributes.linkCount >= maximumLinks {
      throw .tooManyLinks
    }
  }

  private static func checkReplacement(
    of old: ScatterNode, by node: ScatterNode
  ) throws(Errno) {
    if node.isDirectory && !old.isDirectory { throw .notDirectory }
    if !node.isDirectory && old.isDirectory { throw .isDirectory }
    if !old.names.isEmpty { throw .notEmpty }
  }
}

extension ScatterState {
  /// Throws `.invalidArgument` if a directory is another one or lies in it.
  func checkNotInside(_ directory: ScatterNode, _ node: ScatterNode) throws(Errno) {
    if !node.isDirectory { return }
    var place = directory
    while place !== node {
      if place.names.parent == place.attributes.inode { return }
      place = try self.node(place.names.parent)
    }
    throw .invalidArgument
  }

  mutating func move(
    _ name: FileName, of parent: ScatterNode, _ node: ScatterNode, to newName: FileName,
    of newParent: ScatterNode, replacing old: ScatterNode?
  ) {
    let now = Timestamp.now()
    parent.names.remove(name)
    if old != nil {
      newParent.names.redirect(newName, to: node.attributes.inode)
    } else {
      newParent.names.add(newName, node.attributes.inode)
    }
    transfer(node, from: parent, to: newParent)
    if let old {
      if old.isDirectory { newParent.attributes.linkCount -= 1 }
      dropLink(of: old, now)
    }
    noteMove(of: [node], parent, newParent, now)
  }

  mutating func exchange(
    _ name: FileName, of parent: ScatterNode, _ node: ScatterNode, _ newName: FileName,
    of newParent: ScatterNode, _ old: ScatterNode
  ) {
    parent.names.redirect(name, to: old.attributes.inode)
    newParent.names.redirect(newName, to: node.attributes.inode)
    transfer(node, from: parent, to: newParent)
    transfer(old, from: newParent, to: parent)
    noteMove(of: [node, old], parent, newParent, .now())
  }

  /// A directory's `..` leads elsewhere.
  private func transfer(
    _ node: ScatterNode, from parent: ScatterNode, to newParent: ScatterNode
  ) {
    guard node.isDirectory, parent !== newParent else { return }
    node.names.parent = newParent.attributes.inode
    parent.attributes.linkCount -= 1
    newParent.attributes.linkCount += 1
  }

  private func noteMove(
    of nodes: [ScatterNode], _ parent: ScatterNode, _ newParent: ScatterNode, _ now: Timestamp
  ) {
    for node in nodes { node.attributes.changed = now }
    parent.noteModification(now)
    newParent.noteModification(now)
  }
}
