// Requests about names: the volume or the control directory is asked, and one answer given.

import CFuse3
import Glibc
import Memory
import Volumes

extension Server {
  // MARK: Finding and forgetting

  /// FUSE_LOOKUP.
  func lookup(_ name: FileName, in parent: UInt64, _ request: LibfuseRequest) {
    if parent == ControlDirectory.inode {
      onControlQueue(request) { [self] request throws(Errno) in
        let (node, attributes) = try control.lookup(name)
        replyEntry(node, VolumeEntry(attributes), nameSeconds: 0, request)
      }
    } else if isControlName(name, in: parent) {
      attempt(request) { () throws(Errno) in
        replyEntry(
          ControlDirectory.inode, VolumeEntry(try control.attributes(of: ControlDirectory.inode)),
          nameSeconds: 0, request)
      }
    } else {
      answerEntry(request) { [volume] () throws(Errno) in
        try Self.check(name)
        return try volume.lookup(name, in: parent)
      }
    }
  }

  /// FUSE_FORGET and its batch: wants no answer.
  func forget(_ inode: UInt64, lookups: UInt64) {
    if ControlDirectory.owns(inode) {
      control.forget(inode)
    } else if volume.traits.answersAtOnce {
      volume.forget(inode, lookups: lookups)
    } else {
      volumeQueue.async { [volume] in volume.forget(inode, lookups: lookups) }
    }
  }

  // MARK: Making

  /// FUSE_MKNOD.
  func makeNode(
    _ name: FileName, in parent: UInt64, mode: UInt32, device: UInt32, _ request: LibfuseRequest
  ) {
    let caller = request.caller
    answerEntry(request) { [self] () throws(Errno) in
      try checkNew(name, in: parent)
      return try volume.makeNode(name, in: parent, mode: mode, device: device, by: caller)
    }
  }

  /// FUSE_CREATE: makes a file and opens it.
  func create(
    _ name: FileName, in parent: UInt64, mode: UInt32, flags: Int32, _ request: LibfuseRequest
  ) {
    let caller = request.caller
    onVolume(request) { [self] request throws(Errno) in
      try checkNew(name, in: parent)
      let entry = try volume.makeNode(
        name, in: parent, mode: mode & 0o7777 | FileType.regular.rawValue, device: 0, by: caller)
      try replyCreated(entry, flags: flags, by: caller, request)
    }
  }

  /// FUSE_TMPFILE: makes a file without a name and opens it.
  /// - Returns: the answer's body.
  func createUnnamed(
    in parent: UInt64, mode: UInt32, flags: UInt32, by caller: Caller
  ) throws(Errno) -> [UInt8] {
    if ControlDirectory.owns(parent) { throw .notSupported }
    if configuration.isReadOnly { throw .readOnlyFileSystem }
    let entry = try volume.makeUnnamed(in: parent, mode: mode & 0o7777, by: caller)
    let handle = try openCreated(entry, flags: Int32(bitPattern: flags), by: caller)
    var answer = created(entry, handle: handle)
    return MemoryWindow.on(&answer) { $0.contents }
  }

  /// FUSE_MKDIR.
  func makeDirectory(_ name: FileName, in parent: UInt64, mode: UInt32, _ request: LibfuseRequest) {
    let caller = request.caller
    answerEntry(request) { [self] () throws(Errno) in
      try checkNew(name, in: parent)
      return try volume.makeDirectory(name, in: parent, mode: mode & 0o7777, by: caller)
    }
  }

  /// FUSE_SYMLINK.
  func makeSymbolicLink(
    _ name: FileName, in parent: UInt64, to target: [UInt8], _ request: LibfuseRequest
  ) {
    let caller = request.caller
    answerEntry(request) { [self] () throws(Errno) in
      try checkNew(name, in: parent)
      return try volume.makeSymbolicLink(name, in: parent, to: target, by: caller)
    }
  }

  /// FUSE_LINK.
  func link(_ inode: UInt64, as name: FileName, in parent: UInt64, _ request: LibfuseRequest) {
    answerEntry(request) { [self] () throws(Errno) in
      try checkNew(name, in: parent)
      if ControlDirectory.owns(inode) { throw .notPermitted }
      return try volume.link(inode, as: name, in: parent)
    }
  }

  /// FUSE_READLINK.
  func target(of inode: UInt64, _ request: LibfuseRequest) {
    onVolume(request) { [volume] request throws(Errno) in
      if ControlDirectory.owns(inode) { throw .invalidArgument }
      request.reply(try volume.target(of: inode))
    }
  }

  // MARK: Removing and moving

  /// FUSE_UNLINK and FUSE_RMDIR.
  func remove(_ name: FileName, in parent: UInt64, isDirectory: Bool, _ request: LibfuseRequest) {
    onVolume(request) { [self] request throws(Errno) in
      try checkChange(of: name, in: parent)
      if isDirectory {
        try volume.removeDirectory(name, in: parent)
      } else {
        try volume.unlink(name, in: parent)
      }
      request.reply()
    }
  }

  /// FUSE_RENAME and FUSE_RENAME2.
  func rename(
    _ name: FileName, in parent: UInt64, to newName: FileName, in newParent: UInt64, flags: UInt32,
    _ request: LibfuseRequest
  ) {
    onVolume(request) { [self] request throws(Errno) in
      try checkChange(of: name, in: parent)
      try checkChange(of: newName, in: newParent)
      let known: RenameFlags = [.noReplace, .exchange]
      if flags & ~known.rawValue != 0 || flags == known.rawValue { throw .invalidArgument }
      try volume.rename(
        name, in: parent, to: newName, in: newParent, RenameFlags(rawValue: flags))
      request.reply()
    }
  }

  // MARK: Checks

  /// Whether a name is that of the control directory.
  func isControlName(_ name: FileName, in parent: UInt64) -> Bool {
    parent == UInt64(FUSE_ROOT_ID) && control.visibility != .off && name == ControlDirectory.name
  }

  private static func check(_ name: FileName) throws(Errno) {
    if name.bytes.count > FileName.maxBytes { throw .nameTooLong }
  }

  /// The control directory's own names stay as they are.
  private func checkChange(of name: FileName, in parent: UInt64) throws(Errno) {
    try Self.check(name)
    if ControlDirectory.owns(parent) || isControlName(name, in: parent) { throw .notPermitted }
    if configuration.isReadOnly { throw .readOnlyFileSystem }
  }

  private func checkNew(_ name: FileName, in parent: UInt64) throws(Errno) {
    if isControlName(name, in: parent) { throw .exists }
    try checkChange(of: name, in: parent)
  }

  // MARK: Answers

  /// Answers with the entry that `body` gives.
  private func answerEntry(
    _ request: LibfuseRequest, _ body: @escaping @Sendable () throws(Errno) -> VolumeEntry
  ) {
    onVolume(request) { [self] request throws(Errno) in
      let entry = try body()
      replyEntry(
        entry.attributes.inode, entry, nameSeconds: volume.traits.nameSeconds, request)
    }
  }

  /// Answers a look-up. What the kernel did not take, it will not forget: then that is done here.
  private func replyEntry(
    _ node: UInt64, _ entry: VolumeEntry, nameSeconds: Double, _ request: LibfuseRequest
  ) {
    let answer = fuse_entry_param(node, entry, nameSeconds: nameSeconds)
    if !request.reply(answer) { forget(node, lookups: 1) }
  }

  /// Answers with a new file and its handle. libfuse's own structure lacks a flag of the answer.
  private func replyCreated(
    _ entry: VolumeEntry, flags: Int32, by caller: Caller, _ request: LibfuseRequest
  ) throws(Errno) {
    let inode = entry.attributes.inode
    let handle = try openCreated(entry, flags: flags, by: caller)
    if !request.reply(structure: created(entry, handle: handle)) {
      volume.close(inode, handle: openFiles.close(handle))
      forget(inode, lookups: 1)
    }
  }
}

extension Server {
  fileprivate func openCreated(
    _ entry: VolumeEntry, flags: Int32, by caller: Caller
  ) throws(Errno) -> UInt64 {
    do throws(Errno) {
      return try openVolumeFile(entry.attributes.inode, flags: flags, by: caller)
    } catch {
      forget(entry.attributes.inode, lookups: 1)
      throw error
    }
  }

  /// The body of an answer to CREATE and TMPFILE.
  fileprivate func created(
    _ entry: VolumeEntry, handle: UInt64
  ) -> (fuse_entry_out, fuse_open_out) {
    (
      fuse_entry_out(entry, nameSeconds: volume.traits.nameSeconds),
      fuse_open_out(fh: handle, open_flags: OpenFlags.ofVolume, padding: 0)
    )
  }
}
