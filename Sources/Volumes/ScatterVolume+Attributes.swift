// Attributes of a scatter volume's inodes, plain and extended, and handles.

import Memory

extension ScatterVolume {
  /// With the storage that is allocated, written or not.
  public func attributes(of inode: UInt64) throws(Errno) -> FileAttributes {
    try locked { state throws(Errno) in state.attributes(of: try state.node(inode)) }
  }

  /// A new owner or group takes the set-user-ID and set-group-ID bits away, unless new bits come with it. Whether a
  /// caller may keep the latter with chmod depends on all of its groups, which only the kernel knows.
  ///
  /// Kernel: `chown_common()`, fs/open.c, and `setattr_prepare()`, fs/attr.c, v6.6.
  public func change(
    _ inode: UInt64, to change: AttributeChange, by caller: Caller
  ) throws(Errno) -> FileAttributes {
    try locked { state throws(Errno) in
      let node = try state.node(inode)
      let now = Timestamp.now()
      if let size = change.size {
        try state.resize(state.regular(inode), to: size, limit: maximumBytes)
        node.noteModification(now)
      }
      if let permissions = change.permissions {
        node.attributes.permissions = permissions & 0o7777
      } else if change.user != nil || change.group != nil, !node.isDirectory {
        Self.dropSetID(&node.attributes)
      }
      if let user = change.user { node.attributes.user = user }
      if let group = change.group { node.attributes.group = group }
      if let accessed = change.accessed { node.attributes.accessed = accessed }
      if let modified = change.modified { node.attributes.modified = modified }
      node.attributes.changed = now
      return state.attributes(of: node)
    }
  }

  /// Without the group's execute bit, set-group-ID means mandatory locking, and stays.
  private static func dropSetID(_ attributes: inout FileAttributes) {
    attributes.permissions &= ~0o4000
    if attributes.permissions & 0o010 != 0 { attributes.permissions &= ~0o2000 }
  }

  /// Modes decide: the mount is made with `default_permissions`, so the kernel asks only where it knows no mode.
  public func checkAccess(_ inode: UInt64, mask: Int32, by caller: Caller) throws(Errno) {
    try locked { state throws(Errno) in _ = try state.node(inode) }
  }

  // MARK: Extended attributes

  /// Throws `.notSupported` outside of `user.`, `trusted.` and `security.`.
  public func extendedAttribute(_ name: FileName, of inode: UInt64) throws(Errno) -> [UInt8] {
    try Self.checkNamespace(of: name)
    return try locked { state throws(Errno) in
      let node = try state.node(inode)
      guard let index = node.extended.firstIndex(where: { $0.name == name }) else { throw .noData }
      return node.extended[index].value
    }
  }

  /// In the order in which they were first set.
  public func extendedAttributeNames(of inode: UInt64) throws(Errno) -> [FileName] {
    try locked { state throws(Errno) in try state.node(inode).extended.map(\.name) }
  }

  /// Values have 64 KiB at most; all of an inode's have 256 KiB, and its names as much as listxattr(2) can give.
  public func setExtendedAttribute(
    _ name: FileName, of inode: UInt64, to value: [UInt8], _ presence: AttributePresence
  ) throws(Errno) {
    try Self.checkNamespace(of: name)
    if value.count > 64 << 10 { throw .tooBig }
    try locked { state throws(Errno) in
      let node = try state.node(inode)
      var extended = node.extended
      if let index = extended.firstIndex(where: { $0.name == name }) {
        if presence == .absent { throw .exists }
        extended[index].value = value
      } else {
        if presence == .present { throw .noData }
        extended.append((name, value))
      }
      let nameBytes = extended.reduce(0) { $0 + $1.name.bytes.count + 1 }
      let allBytes = extended.reduce(nameBytes) { $0 + $1.value.count }
      let limit = Self.maximumAttributeBytes
      if nameBytes > limit.names || allBytes > limit.all { throw .noSpace }
      node.extended = extended
      node.attributes.changed = .now()
    }
  }

  /// Throws ENODATA.
  public func removeExtendedAttribute(_ name: FileName, of inode: UInt64) throws(Errno) {
    try Self.checkNamespace(of: name)
    try locked { state throws(Errno) in
      let node = try state.node(inode)
      guard let index = node.extended.firstIndex(where: { $0.name == name }) else { throw .noData }
      node.extended.remove(at: index)
      node.attributes.changed = .now()
    }
  }

  private static let namespaces = ["user.", "trusted.", "security."].map { Array($0.utf8) }

  private static func checkNamespace(of name: FileName) throws(Errno) {
    if name.bytes.count > FileName.maxBytes { throw .outOfRange }
    if !namespaces.contains(where: name.bytes.starts) { throw .notSupported }
  }

  // MARK: Handles

  /// Counts a handle.
  public func open(_ inode: UInt64, flags: Int32, by caller: Caller) throws(Errno) -> UInt64 {
    try locked { state throws(Errno) in
      let node = try state.node(inode)
      node.handles += 1
      let handle = state.makeHandle()
      if node.isDirectory { state.listingEnds[handle] = node.names.latestCookie }
      return handle
    }
  }

  /// Inodes that nobody can reach are gone, and their blocks are free.
  public func close(_ inode: UInt64, handle: UInt64) {
    locked { state in
      state.listingEnds[handle] = nil
      guard let node = state.nodes[inode] else { return }
      precondition(node.handles > 0, "a handle was closed twice")
      node.handles -= 1
      state.collect(node)
    }
  }

  /// Names in the order in which they were made. One that is made after the directory was opened or rewound is left
  /// out, so that a program which renames what it lists comes to an end.
  public func list(
    _ directory: UInt64, handle: UInt64, from cookie: UInt64, _ body: (DirectoryEntry) -> Bool
  ) throws(Errno) {
    let batch = 32
    var cookie = cookie
    while true {
      let entries = try locked { state throws(Errno) in
        try state.entries(of: directory, handle: handle, behind: cookie, limit: batch)
      }
      for entry in entries {
        if !body(entry) { return }
        cookie = entry.cookie
      }
      if entries.count < batch { return }
    }
  }

  /// A removed directory still says where it was.
  public func parent(of directory: UInt64) throws(Errno) -> UInt64 {
    try locked { state throws(Errno) in try state.directory(directory).names.parent }
  }
}

extension ScatterState {
  /// Some entries of a directory.
  mutating func entries(
    of directory: UInt64, handle: UInt64, behind cookie: UInt64, limit: Int
  ) throws(Errno) -> [DirectoryEntry] {
    let node = try self.directory(directory)
    if cookie == 0 {
      node.noteAccess(.now())
      if listingEnds[handle] != nil { listingEnds[handle] = node.names.latestCookie }
    }
    let slots = node.names.slots(
      behind: cookie, upTo: listingEnds[handle] ?? .max, limit: limit)
    var entries: [DirectoryEntry] = []
    for slot in slots {
      let type = try self.node(slot.inode).attributes.type
      entries.append(
        DirectoryEntry(name: slot.name, inode: slot.inode, type: type, cookie: slot.cookie))
    }
    return entries
  }
}
