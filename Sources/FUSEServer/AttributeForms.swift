// Attributes in the forms that libfuse and the protocol want them in.

import CFuse3
import Glibc
import Volumes

extension stat {
  init(_ file: FileAttributes) {
    self.init()
    st_ino = UInt(file.inode)
    st_mode = file.type.rawValue | file.permissions
    st_nlink = UInt(file.linkCount)
    st_uid = file.user
    st_gid = file.group
    st_rdev = UInt(file.device)
    st_size = file.size
    st_blksize = file.blockSize
    st_blocks = file.blocks512
    st_atim = timespec(file.accessed)
    st_mtim = timespec(file.modified)
    st_ctim = timespec(file.changed)
  }
}

extension timespec {
  fileprivate init(_ time: Timestamp) {
    self.init(tv_sec: time.seconds, tv_nsec: time.nanoseconds)
  }
}

extension Timestamp {
  init(_ time: timespec) { self.init(seconds: time.tv_sec, nanoseconds: time.tv_nsec) }
}

extension fuse_entry_param {
  /// - Parameter node: what the kernel will call it by; programs see the attributes' inode.
  init(_ node: UInt64, _ entry: VolumeEntry, nameSeconds: Double) {
    self.init()
    ino = node
    generation = entry.generation
    attr = stat(entry.attributes)
    attr_timeout = min(nameSeconds, Server.attributeSeconds)
    entry_timeout = nameSeconds
  }
}

extension fuse_entry_out {
  /// An entry in the protocol's own form.
  init(_ entry: VolumeEntry, nameSeconds: Double) {
    self.init()
    let file = entry.attributes
    nodeid = file.inode
    generation = entry.generation
    entry_valid = UInt64(nameSeconds)
    attr_valid = UInt64(Server.attributeSeconds)
    attr.ino = file.inode
    attr.size = UInt64(file.size)
    attr.blocks = UInt64(file.blocks512)
    attr.atime = UInt64(bitPattern: Int64(file.accessed.seconds))
    attr.mtime = UInt64(bitPattern: Int64(file.modified.seconds))
    attr.ctime = UInt64(bitPattern: Int64(file.changed.seconds))
    attr.atimensec = UInt32(file.accessed.nanoseconds)
    attr.mtimensec = UInt32(file.modified.nanoseconds)
    attr.ctimensec = UInt32(file.changed.nanoseconds)
    attr.mode = file.type.rawValue | file.permissions
    attr.nlink = file.linkCount
    attr.uid = file.user
    attr.gid = file.group
    attr.rdev = file.device
    attr.blksize = UInt32(file.blockSize)
  }
}
