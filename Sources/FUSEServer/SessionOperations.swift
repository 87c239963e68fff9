// The table of libfuse callbacks: each recovers the server, takes what is C's into values, and calls one method.

import CFuse3
import Glibc
import Memory
import Volumes

/// What libfuse calls for every request but READ, WRITE, INTERRUPT and TMPFILE.
enum SessionOperations {
  /// Fills the table. A callback that is missing is answered ENOSYS, which the kernel remembers and does without.
  static func table() -> fuse_lowlevel_ops {
    var table = fuse_lowlevel_ops()
    addSetup(to: &table)
    addNames(to: &table)
    addChangesOfNames(to: &table)
    addAttributes(to: &table)
    addExtendedAttributes(to: &table)
    addDirectories(to: &table)
    addFiles(to: &table)
    return table
  }

  private static func addSetup(to table: inout fuse_lowlevel_ops) {
    unsafe table.`init` = { data, connection in
      guard let data = unsafe data, let connection = unsafe connection else { return }
      unsafe server(data).negotiate(&connection.pointee)
    }
    unsafe table.statfs = { request, _ in
      guard let request = unsafe request else { return }
      unsafe server(of: request).replyStatistics(request)
    }
  }

  private static func addNames(to table: inout fuse_lowlevel_ops) {
    unsafe table.lookup = { request, parent, name in
      guard let request = unsafe request, let name = unsafe name else { return }
      unsafe server(of: request).lookup(FileName(name), in: parent, request)
    }
    unsafe table.forget = { request, inode, count in
      guard let request = unsafe request else { return }
      unsafe server(of: request).forget(inode, lookups: count)
      unsafe fuse_reply_none(request)
    }
    unsafe table.forget_multi = { request, count, list in
      guard let request = unsafe request, let list = unsafe list else { return }
      for index in 0..<count {
        unsafe server(of: request).forget(list[index].ino, lookups: list[index].nlookup)
      }
      unsafe fuse_reply_none(request)
    }
    unsafe table.readlink = { request, inode in
      guard let request = unsafe request else { return }
      unsafe server(of: request).target(of: inode, request)
    }
  }

  private static func addChangesOfNames(to table: inout fuse_lowlevel_ops) {
    unsafe table.mknod = { request, parent, name, mode, device in
      guard let request = unsafe request, let name = unsafe name else { return }
      unsafe server(of: request).makeNode(
        FileName(name), in: parent, mode: mode, device: UInt32(truncatingIfNeeded: device), request)
    }
    unsafe table.mkdir = { request, parent, name, mode in
      guard let request = unsafe request, let name = unsafe name else { return }
      unsafe server(of: request).makeDirectory(FileName(name), in: parent, mode: mode, request)
    }
    unsafe table.create = { request, parent, name, mode, info in
      guard let request = unsafe request, let name = unsafe name, let info = unsafe info else {
        return
      }
      unsafe server(of: request).create(
        FileName(name), in: parent, mode: mode, flags: info.pointee.flags, request)
    }
    unsafe table.symlink = { request, target, parent, name in
      guard let request = unsafe request, let name = unsafe name, let target = unsafe target else {
        return
      }
      unsafe server(of: request).makeSymbolicLink(
        FileName(name), in: parent, to: FileName(target).bytes, request)
    }
    unsafe table.link = { request, inode, parent, name in
      guard let request = unsafe request, let name = unsafe name else { return }
      unsafe server(of: request).link(inode, as: FileName(name), in: parent, request)
    }
    unsafe table.unlink = { request, parent, name in
      guard let request = unsafe request, let name = unsafe name else { return }
      unsafe server(of: request).remove(FileName(name), in: parent, isDirectory: false, request)
    }
    unsafe table.rmdir = { request, parent, name in
      guard let request = unsafe request, let name = unsafe name else { return }
      unsafe server(of: request).remove(FileName(name), in: parent, isDirectory: true, request)
    }
    unsafe table.rename = { request, parent, name, newParent, newName, flags in
      guard let request = unsafe request, let name = unsafe name, let newName = unsafe newName
      else { return }
      unsafe server(of: request).rename(
        FileName(name), in: parent, to: FileName(newName), in: newParent, flags: flags, request)
    }
  }

  private static func addAttributes(to table: inout fuse_lowlevel_ops) {
    unsafe table.getattr = { request, inode, _ in
      guard let request = unsafe request else { return }
      unsafe server(of: request).attributes(of: inode, request)
    }
    unsafe table.setattr = { request, inode, attributes, mask, _ in
      guard let request = unsafe request, let attributes = unsafe attributes else { return }
      unsafe server(of: request).change(inode, to: attributes.pointee, mask: mask, request)
    }
    unsafe table.access = { request, inode, mask in
      guard let request = unsafe request else { return }
      unsafe server(of: request).checkAccess(inode, mask: mask, request)
    }
  }

  private static func addExtendedAttributes(to table: inout fuse_lowlevel_ops) {
    unsafe table.getxattr = { request, inode, name, room in
      guard let request = unsafe request, let name = unsafe name else { return }
      unsafe server(of: request).extendedAttribute(FileName(name), of: inode, room: room, request)
    }
    unsafe table.listxattr = { request, inode, room in
      guard let request = unsafe request else { return }
      unsafe server(of: request).extendedAttributeNames(of: inode, room: room, request)
    }
    unsafe table.setxattr = { request, inode, name, value, count, flags in
      guard let request = unsafe request, let name = unsafe name else { return }
      let bytes = unsafe Array(UnsafeRawBufferPointer(start: value, count: count))
      unsafe server(of: request).setExtendedAttribute(
        FileName(name), of: inode, to: bytes, flags: flags, request)
    }
    unsafe table.removexattr = { request, inode, name in
      guard let request = unsafe request, let name = unsafe name else { return }
      unsafe server(of: request).removeExtendedAttribute(FileName(name), of: inode, request)
    }
  }

  private static func addDirectories(to table: inout fuse_lowlevel_ops) {
    unsafe table.opendir = { request, inode, _ in
      guard let request = unsafe request else { return }
      unsafe server(of: request).openDirectory(inode, request)
    }
    unsafe table.readdir = { request, inode, size, offset, info in
      guard let request = unsafe request, let info = unsafe info else { return }
      unsafe server(of: request).list(
        inode, handle: info.pointee.fh, room: size, from: offset, withAttributes: false, request)
    }
    unsafe table.readdirplus = { request, inode, size, offset, info in
      guard let request = unsafe request, let info = unsafe info else { return }
      unsafe server(of: request).list(
        inode, handle: info.pointee.fh, room: size, from: offset, withAttributes: true, request)
    }
    unsafe table.releasedir = { request, inode, info in
      guard let request = unsafe request, let info = unsafe info else { return }
      unsafe server(of: request).closeFile(inode, handle: info.pointee.fh, request)
    }
    unsafe table.fsyncdir = { request, inode, _, _ in
      guard let request = unsafe request else { return }
      unsafe server(of: request).synchronize(.directory(inode), inode, request)
    }
  }

  private static func addFiles(to table: inout fuse_lowlevel_ops) {
    unsafe table.open = { request, inode, info in
      guard let request = unsafe request, let info = unsafe info else { return }
      unsafe server(of: request).open(inode, flags: info.pointee.flags, request)
    }
    unsafe table.release = { request, inode, info in
      guard let request = unsafe request, let info = unsafe info else { return }
      unsafe server(of: request).closeFile(inode, handle: info.pointee.fh, request)
    }
    unsafe table.poll = { request, inode, info, waiter in
      guard let request = unsafe request, let info = unsafe info else { return }
      unsafe server(of: request).poll(inode, file: info.pointee.fh, waiter: waiter, request)
    }
    unsafe table.fsync = { request, inode, dataOnly, _ in
      guard let request = unsafe request else { return }
      unsafe server(of: request).synchronize(
        .file(inode, dataOnly: dataOnly != 0), inode, request)
    }
    unsafe table.lseek = { request, inode, offset, whence, _ in
      guard let request = unsafe request else { return }
      unsafe server(of: request).seek(inode, offset: offset, whence: whence, request)
    }
    unsafe table.ioctl = { request, inode, command, _, info, _, input, inputCount, room in
      guard let request = unsafe request, let info = unsafe info else { return }
      unsafe server(of: request).passThrough(
        inode, command: command, handle: info.pointee.fh,
        message: UnsafeRawBufferPointer(start: input, count: inputCount), room: room, request)
    }
    unsafe table.fallocate = { request, inode, mode, offset, length, info in
      guard let request = unsafe request, let info = unsafe info else { return }
      unsafe server(of: request).changeStorage(
        inode, handle: info.pointee.fh, mode: mode, offset: offset, length: length, request)
    }
  }
}

extension FileName {
  /// The bytes of a C string.
  @unsafe fileprivate init(_ text: UnsafePointer<CChar>) {
    unsafe self.init(bytes: Array(UnsafeRawBufferPointer(start: text, count: strlen(text))))
  }
}

/// The server behind a request. It outlives the session, so nothing is retained.
private func server(of request: fuse_req_t) -> Server {
  guard let data = unsafe fuse_req_userdata(request) else {
    preconditionFailure("a FUSE session has lost its server")
  }
  return unsafe server(data)
}

private func server(_ data: UnsafeMutableRawPointer) -> Server {
  unsafe Unmanaged<Server>.fromOpaque(data).takeUnretainedValue()
}
