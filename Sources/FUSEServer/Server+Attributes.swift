// Requests about attributes: stat, chmod, chown, truncate, utimes, access, extended attributes, statfs.

import CFuse3
import Glibc
import Memory
import Volumes

extension Server {
  /// How long the kernel may believe a volume's attributes, in seconds.
  static var attributeSeconds: Double { 1 }

  /// Room in the volume, as statfs(2) wants it.
  func replyStatistics(_ request: LibfuseRequest) {
    onVolume(request) { [volume] request throws(Errno) in
      let room = volume.statistics()
      var result = statvfs()
      result.f_bsize = UInt(room.blockSize)
      result.f_frsize = UInt(room.blockSize)
      result.f_blocks = UInt(room.blocks)
      result.f_bfree = UInt(room.freeBlocks)
      result.f_bavail = UInt(room.freeBlocks)
      result.f_files = UInt(room.files)
      result.f_ffree = UInt(room.freeFiles)
      result.f_favail = UInt(room.freeFiles)
      result.f_namemax = UInt(FileName.maxBytes)
      request.reply(result)
    }
  }

  /// FUSE_GETATTR.
  func attributes(of inode: UInt64, _ request: LibfuseRequest) {
    if ControlDirectory.owns(inode) {
      attempt(request) { () throws(Errno) in
        replyAttributes(try control.attributes(of: inode), seconds: 0, request)
      }
      return
    }
    onVolume(request) { [self] request throws(Errno) in
      replyAttributes(try visibleAttributes(of: inode), request)
    }
  }

  /// The volume's attributes; a visible control directory is one more directory in the root.
  func visibleAttributes(of inode: UInt64) throws(Errno) -> FileAttributes {
    var attributes = try volume.attributes(of: inode)
    if inode == UInt64(FUSE_ROOT_ID) && control.visibility == .visible { attributes.linkCount += 1 }
    return attributes
  }

  /// FUSE_SETATTR. Control files take a truncate, so that a shell's `>` works, and nothing else.
  func change(_ inode: UInt64, to new: stat, mask: Int32, _ request: LibfuseRequest) {
    let change = AttributeChange(new, mask: mask)
    if ControlDirectory.owns(inode) {
      attempt(request) { () throws(Errno) in
        if change.permissions != nil || change.user != nil || change.group != nil {
          throw .notPermitted
        }
        replyAttributes(try control.attributes(of: inode), seconds: 0, request)
      }
      return
    }
    let caller = request.caller
    if change.size != nil && volume.traits.allocatesBlocks && !configuration.isReadOnly {
      return cut(inode, change, by: caller, request)
    }
    onVolume(request) { [self] request throws(Errno) in
      if configuration.isReadOnly { throw .readOnlyFileSystem }
      _ = try volume.change(inode, to: change, by: caller)
      replyAttributes(try visibleAttributes(of: inode), request)
    }
  }

  /// A new size where blocks change hands: with the file alone, as every change of its storage.
  private func cut(
    _ inode: UInt64, _ change: AttributeChange, by caller: Caller, _ request: LibfuseRequest
  ) {
    startStorageJob(
      inode, answering: request,
      change: { [volume] () throws(Errno) in [try volume.tailToZero(of: inode, before: change)] },
      complete: { [volume] () throws(Errno) in
        _ = try volume.change(inode, to: change, by: caller)
      }
    ) { [self] error in
      attempt(request) { () throws(Errno) in
        if let error { throw error }
        replyAttributes(try visibleAttributes(of: inode), request)
      }
    }
  }

  /// FUSE_ACCESS: asked only where the kernel does not decide by the mode.
  func checkAccess(_ inode: UInt64, mask: Int32, _ request: LibfuseRequest) {
    let caller = request.caller
    onVolume(request) { [volume] request throws(Errno) in
      if !ControlDirectory.owns(inode) {
        try volume.checkAccess(inode, mask: mask, by: caller)
      }
      request.reply()
    }
  }

  // MARK: Extended attributes

  /// FUSE_GETXATTR: with a size of 0 only the value's length is asked for.
  func extendedAttribute(_ name: FileName, of inode: UInt64, room: Int, _ request: LibfuseRequest) {
    onVolume(request) { [self] request throws(Errno) in
      if ControlDirectory.owns(inode) { throw .notSupported }
      try replyValue(
        try volume.extendedAttribute(name, of: inode), room: room, request)
    }
  }

  /// FUSE_LISTXATTR: each name with a NUL behind it.
  func extendedAttributeNames(of inode: UInt64, room: Int, _ request: LibfuseRequest) {
    onVolume(request) { [self] request throws(Errno) in
      if ControlDirectory.owns(inode) { throw .notSupported }
      let names = try volume.extendedAttributeNames(of: inode)
      try replyValue(names.flatMap { $0.bytes + [0] }, room: room, request)
    }
  }

  /// FUSE_SETXATTR.
  func setExtendedAttribute(
    _ name: FileName, of inode: UInt64, to value: [UInt8], flags: Int32, _ request: LibfuseRequest
  ) {
    onVolume(request) { [self] request throws(Errno) in
      if ControlDirectory.owns(inode) { throw .notSupported }
      if configuration.isReadOnly { throw .readOnlyFileSystem }
      // XATTR_CREATE and XATTR_REPLACE of setxattr(2).
      let presence: AttributePresence = flags & 1 != 0 ? .absent : flags & 2 != 0 ? .present : .any
      try volume.setExtendedAttribute(name, of: inode, to: value, presence)
      request.reply()
    }
  }

  /// FUSE_REMOVEXATTR.
  func removeExtendedAttribute(_ name: FileName, of inode: UInt64, _ request: LibfuseRequest) {
    onVolume(request) { [self] request throws(Errno) in
      if ControlDirectory.owns(inode) { throw .notSupported }
      if configuration.isReadOnly { throw .readOnlyFileSystem }
      try volume.removeExtendedAttribute(name, of: inode)
      request.reply()
    }
  }

  private func replyValue(_ value: [UInt8], room: Int, _ request: LibfuseRequest) throws(Errno) {
    if room == 0 {
      request.reply(attributeBytes: value.count)
    } else if value.count > room {
      throw .outOfRange
    } else {
      request.reply(value)
    }
  }

  // MARK: Answers

  private func replyAttributes(
    _ file: FileAttributes, seconds: Double = Server.attributeSeconds, _ request: LibfuseRequest
  ) {
    request.reply(file, seconds: seconds)
  }
}

extension AttributeChange {
  /// What a SETATTR asks for. A new ctime is not among it: that is the volume's to set.
  fileprivate init(_ new: stat, mask: Int32) {
    self.init()
    if mask & FUSE_SET_ATTR_SIZE != 0 { size = new.st_size }
    if mask & FUSE_SET_ATTR_MODE != 0 { permissions = new.st_mode & 0o7777 }
    if mask & FUSE_SET_ATTR_UID != 0 { user = new.st_uid }
    if mask & FUSE_SET_ATTR_GID != 0 { group = new.st_gid }
    if mask & FUSE_SET_ATTR_ATIME != 0 { accessed = Timestamp(new.st_atim) }
    if mask & FUSE_SET_ATTR_MTIME != 0 { modified = Timestamp(new.st_mtim) }
    if mask & FUSE_SET_ATTR_ATIME_NOW != 0 { accessed = .now() }
    if mask & FUSE_SET_ATTR_MTIME_NOW != 0 { modified = .now() }
  }
}
