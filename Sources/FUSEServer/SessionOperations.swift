// The table of libfuse callbacks: each recovers the server, asks the volume, and answers once.

import CFuse3
import Glibc
import Memory
import Volumes

/// What libfuse calls for every request but READ, WRITE and INTERRUPT.
enum SessionOperations {
  /// Fills the table. A callback that is missing is answered ENOSYS, which the kernel remembers.
  static func table() -> fuse_lowlevel_ops {
    var table = fuse_lowlevel_ops()
    addSetup(to: &table)
    addNames(to: &table)
    addFiles(to: &table)
    addRefusals(to: &table)
    return table
  }

  private static func addSetup(to table: inout fuse_lowlevel_ops) {
    unsafe table.`init` = { data, connection in
      guard let data = unsafe data, let connection = unsafe connection else { return }
      unsafe server(data).negotiate(&connection.pointee)
    }
    unsafe table.statfs = { request, _ in
      guard let request = unsafe request else { return }
      var result = unsafe server(of: request).fileSystemStatistics()
      unsafe fuse_reply_statfs(request, &result)
    }
  }

  private static func addNames(to table: inout fuse_lowlevel_ops) {
    unsafe table.lookup = { request, parent, name in
      guard let request = unsafe request, let name = unsafe name else { return }
      unsafe server(of: request).lookup(parent: parent, name: String(cString: name), request)
    }
    unsafe table.getattr = { request, inode, _ in
      guard let request = unsafe request else { return }
      unsafe server(of: request).attributes(of: inode, request)
    }
    unsafe table.setattr = { request, inode, attributes, mask, _ in
      guard let request = unsafe request, let attributes = unsafe attributes else { return }
      unsafe server(of: request).change(inode, to: attributes.pointee, mask: mask, request)
    }
    unsafe table.opendir = { request, inode, info in
      guard let request = unsafe request, let info = unsafe info else { return }
      unsafe fuse_reply_open(request, info)
    }
    unsafe table.readdir = { request, inode, size, offset, _ in
      guard let request = unsafe request else { return }
      unsafe server(of: request).readDirectory(inode, size: size, offset: offset, request)
    }
  }

  private static func addFiles(to table: inout fuse_lowlevel_ops) {
    unsafe table.open = { request, inode, info in
      guard let request = unsafe request, let info = unsafe info else { return }
      unsafe server(of: request).open(inode, flags: info.pointee.flags, request)
    }
    unsafe table.release = { request, inode, info in
      guard let request = unsafe request, let info = unsafe info else { return }
      let server = unsafe server(of: request)
      if ControlDirectory.owns(inode) { unsafe server.openControls.close(info.pointee.fh) }
      unsafe fuse_reply_err(request, 0)
    }
    unsafe table.fsync = { request, inode, _, _ in
      guard let request = unsafe request else { return }
      unsafe server(of: request).synchronize(inode, request)
    }
    unsafe table.lseek = { request, inode, offset, whence, _ in
      guard let request = unsafe request else { return }
      unsafe server(of: request).seek(inode, offset: offset, whence: whence, request)
    }
    unsafe table.ioctl = { request, inode, command, _, info, _, input, inputCount, room in
      guard let request = unsafe request, let info = unsafe info else { return }
      unsafe server(of: request).passThrough(
        inode, command: command, isWritable: info.pointee.fh == Server.OpenHandle.writable,
        message: UnsafeRawBufferPointer(start: input, count: inputCount), room: room, request)
    }
    unsafe table.fallocate = { request, inode, mode, offset, length, _ in
      guard let request = unsafe request else { return }
      unsafe server(of: request).allocate(
        inode, mode: mode, offset: offset, length: length, request)
    }
  }

  /// Names are fixed here: nothing is made, renamed or removed.
  private static func addRefusals(to table: inout fuse_lowlevel_ops) {
    unsafe table.mknod = { request, _, _, _, _ in unsafe refuse(request) }
    unsafe table.mkdir = { request, _, _, _ in unsafe refuse(request) }
    unsafe table.create = { request, _, _, _, _ in unsafe refuse(request) }
    unsafe table.unlink = { request, _, _ in unsafe refuse(request) }
    unsafe table.rmdir = { request, _, _ in unsafe refuse(request) }
    unsafe table.symlink = { request, _, _, _ in unsafe refuse(request) }
    unsafe table.link = { request, _, _, _ in unsafe refuse(request) }
    unsafe table.rename = { request, _, _, _, _, _ in unsafe refuse(request) }
  }
}

// Callbacks capture nothing, not even a type, so these are free functions.

private func refuse(_ request: fuse_req_t?) {
  guard let request = unsafe request else { return }
  unsafe fuse_reply_err(request, EPERM)
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
