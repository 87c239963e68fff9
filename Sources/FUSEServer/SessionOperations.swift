// The table of libfuse callbacks: each takes what is C's into values, and calls one method of the server.

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
      let server = unsafe Unmanaged<Server>.fromOpaque(data).takeUnretainedValue()
      unsafe server.negotiate(&connection.pointee)
    }
    unsafe table.statfs = { request, _ in
      let request = unsafe LibfuseRequest(request)
      request.server.replyStatistics(request)
    }
  }

  private static func addNames(to table: inout fuse_lowlevel_ops) {
    unsafe table.lookup = { request, parent, name in
      let (request, name) = unsafe (LibfuseRequest(request), FileName(name))
      request.server.lookup(name, in: parent, request)
    }
    unsafe table.forget = { request, inode, count in
      let request = unsafe LibfuseRequest(request)
      request.server.forget(inode, lookups: count)
      request.end()
    }
    unsafe table.forget_multi = { request, count, list in
      let request = unsafe LibfuseRequest(request)
      unsafe UnsafeBufferPointer(start: list, count: count).forEach {
        request.server.forget($0.ino, lookups: $0.nlookup)
      }
      request.end()
    }
    unsafe table.readlink = { request, inode in
      let request = unsafe LibfuseRequest(request)
      request.server.target(of: inode, request)
    }
  }

  private static func addChangesOfNames(to table: inout fuse_lowlevel_ops) {
    unsafe table.mknod = { request, parent, name, mode, device in
      let (request, name) = unsafe (LibfuseRequest(request), FileName(name))
      request.server.makeNode(
        name, in: parent, mode: mode, device: UInt32(truncatingIfNeeded: device), request)
    }
    unsafe table.mkdir = { request, parent, name, mode in
      let (request, name) = unsafe (LibfuseRequest(request), FileName(name))
      request.server.makeDirectory(name, in: parent, mode: mode, request)
    }
    unsafe table.create = { request, parent, name, mode, info in
      let (request, name, file) = unsafe (LibfuseRequest(request), FileName(name), FileInfo(info))
      request.server.create(name, in: parent, mode: mode, flags: file.flags, request)
    }
    unsafe table.symlink = { request, target, parent, name in
      let (request, name, target) = unsafe (
        LibfuseRequest(request), FileName(name), FileName(target)
      )
      request.server.makeSymbolicLink(name, in: parent, to: target.bytes, request)
    }
    unsafe table.link = { request, inode, parent, name in
      let (request, name) = unsafe (LibfuseRequest(request), FileName(name))
      request.server.link(inode, as: name, in: parent, request)
    }
    unsafe table.unlink = { request, parent, name in
      let (request, name) = unsafe (LibfuseRequest(request), FileName(name))
      request.server.remove(name, in: parent, isDirectory: false, request)
    }
    unsafe table.rmdir = { request, parent, name in
      let (request, name) = unsafe (LibfuseRequest(request), FileName(name))
      request.server.remove(name, in: parent, isDirectory: true, request)
    }
    unsafe table.rename = { request, parent, name, newParent, newName, flags in
      let (request, name, newName) = unsafe (
        LibfuseRequest(request), FileName(name), FileName(newName)
      )
      request.server.rename(name, in: parent, to: newName, in: newParent, flags: flags, request)
    }
  }

  private static func addAttributes(to table: inout fuse_lowlevel_ops) {
    unsafe table.getattr = { request, inode, _ in
      let request = unsafe LibfuseRequest(request)
      request.server.attributes(of: inode, request)
    }
    unsafe table.setattr = { request, inode, attributes, mask, _ in
      let request = unsafe LibfuseRequest(request)
      guard let attributes = unsafe attributes?.pointee else { return }
      request.server.change(inode, to: attributes, mask: mask, request)
    }
    unsafe table.access = { request, inode, mask in
      let request = unsafe LibfuseRequest(request)
      request.server.checkAccess(inode, mask: mask, request)
    }
  }

  private static func addExtendedAttributes(to table: inout fuse_lowlevel_ops) {
    unsafe table.getxattr = { request, inode, name, room in
      let (request, name) = unsafe (LibfuseRequest(request), FileName(name))
      request.server.extendedAttribute(name, of: inode, room: room, request)
    }
    unsafe table.listxattr = { request, inode, room in
      let request = unsafe LibfuseRequest(request)
      request.server.extendedAttributeNames(of: inode, room: room, request)
    }
    unsafe table.setxattr = { request, inode, name, value, count, flags in
      let (request, name) = unsafe (LibfuseRequest(request), FileName(name))
      let bytes = unsafe Array(UnsafeRawBufferPointer(start: value, count: count))
      request.server.setExtendedAttribute(name, of: inode, to: bytes, flags: flags, request)
    }
    unsafe table.removexattr = { request, inode, name in
      let (request, name) = unsafe (LibfuseRequest(request), FileName(name))
      request.server.removeExtendedAttribute(name, of: inode, request)
    }
  }

  private static func addDirectories(to table: inout fuse_lowlevel_ops) {
    unsafe table.opendir = { request, inode, _ in
      let request = unsafe LibfuseRequest(request)
      request.server.openDirectory(inode, request)
    }
    unsafe table.readdir = { request, inode, size, offset, info in
      let (request, file) = unsafe (LibfuseRequest(request), FileInfo(info))
      request.server.list(
        inode, handle: file.handle, room: size, from: offset, withAttributes: false, request)
    }
    unsafe table.readdirplus = { request, inode, size, offset, info in
      let (request, file) = unsafe (LibfuseRequest(request), FileInfo(info))
      request.server.list(
        inode, handle: file.handle, room: size, from: offset, withAttributes: true, request)
    }
    unsafe table.releasedir = { request, inode, info in
      let (request, file) = unsafe (LibfuseRequest(request), FileInfo(info))
      request.server.closeFile(inode, handle: file.handle, request)
    }
    unsafe table.fsyncdir = { request, inode, _, _ in
      let request = unsafe LibfuseRequest(request)
      request.server.synchronize(.directory(inode), inode, request)
    }
  }

  private static func addFiles(to table: inout fuse_lowlevel_ops) {
    unsafe table.open = { request, inode, info in
      let (request, file) = unsafe (LibfuseRequest(request), FileInfo(info))
      request.server.open(inode, flags: file.flags, request)
    }
    unsafe table.release = { request, inode, info in
      let (request, file) = unsafe (LibfuseRequest(request), FileInfo(info))
      request.server.closeFile(inode, handle: file.handle, request)
    }
    unsafe table.fsync = { request, inode, dataOnly, _ in
      let request = unsafe LibfuseRequest(request)
      request.server.synchronize(.file(inode, dataOnly: dataOnly != 0), inode, request)
    }
    unsafe table.lseek = { request, inode, offset, whence, _ in
      let request = unsafe LibfuseRequest(request)
      request.server.seek(inode, offset: offset, whence: whence, request)
    }
    unsafe table.ioctl = { request, inode, command, _, info, _, input, inputCount, room in
      let (request, file) = unsafe (LibfuseRequest(request), FileInfo(info))
      // libfuse takes it for read-only; it lies in the request's own buffer.
      let message = unsafe MemoryWindow(
        UnsafeMutableRawBufferPointer(
          start: UnsafeMutableRawPointer(mutating: input), count: inputCount))
      request.server.passThrough(
        inode, command: command, handle: file.handle, message: message, room: room, request)
    }
    unsafe table.fallocate = { request, inode, mode, offset, length, info in
      let (request, file) = unsafe (LibfuseRequest(request), FileInfo(info))
      request.server.changeStorage(
        inode, handle: file.handle, mode: mode, offset: offset, length: length, request)
    }
  }
}

/// What libfuse tells of an open file, or of how one is to be opened.
private struct FileInfo {
  /// The number that the server gave it.
  let handle: UInt64
  /// Flags of open(2).
  let flags: Int32

  @unsafe init(_ info: UnsafeMutablePointer<fuse_file_info>?) {
    guard let info = unsafe info?.pointee else { preconditionFailure("a callback without a file") }
    handle = info.fh
    flags = info.flags
  }
}

extension FileName {
  /// The bytes of a C string.
  @unsafe fileprivate init(_ text: UnsafePointer<CChar>?) {
    guard let text = unsafe text else { preconditionFailure("a callback without a name") }
    unsafe self.init(bytes: Array(UnsafeRawBufferPointer(start: text, count: strlen(text))))
  }
}
