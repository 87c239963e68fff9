// Every flag and numbered value within messages, but for INIT's.

extension ProtocolTable {
  /// Flags by the field that carries them. Numbers are bits, as on x86-64, but those of seeks, extensions and
  /// commands, which are values.
  static var flagGroups: [ProtocolGroup] {
    attributeFlags + openFlags + dataFlags + otherFlags + deviceNumbers
  }

  private static let attributeFlags: [ProtocolGroup] = [
    .init(
      "fuse_getattr_in.getattr_flags",
      [
        .init("FUSE_GETATTR_FH", 0, .unused("an open file has the attributes of its inode"))
      ]),
    .init(
      "fuse_setattr_in.valid",
      [
        .init("FATTR_MODE", 0, .heeded(by: "change", "raw: only as it is already, else EPERM")),
        .init("FATTR_UID", 1, .heeded(by: "change", "raw: only as it is already, else EPERM")),
        .init("FATTR_GID", 2, .heeded(by: "change", "raw: only as it is already, else EPERM")),
        .init(
          "FATTR_SIZE", 3,
          .heeded(by: "cut", "with the file alone; raw: only as it is already, else EPERM")),
        .init("FATTR_ATIME", 4, .heeded(by: "change", "the volume's")),
        .init("FATTR_MTIME", 5, .heeded(by: "change", "the volume's")),
        .init("FATTR_FH", 6, .library("taken off; who may change what does not hang on a handle")),
        .init("FATTR_ATIME_NOW", 7, .heeded(by: "change", "our clock")),
        .init("FATTR_MTIME_NOW", 8, .heeded(by: "change", "our clock")),
        .init("FATTR_LOCKOWNER", 9, .unused("there are no mandatory locks")),
        .init(
          "FATTR_CTIME", 10,
          .unused("sent with FUSE_WRITEBACK_CACHE, which is declined; the volume sets ctime to now")
        ),
        .init(
          "FATTR_KILL_SUIDGID", 11,
          .unused(
            "sent where FUSE_HANDLE_KILLPRIV_V2 is agreed on; here the new mode comes with it")),
      ]),
    .init(
      "fuse_attr.flags",
      [
        .init("FUSE_ATTR_SUBMOUNT", 0, .unused("for virtiofs")),
        .init("FUSE_ATTR_DAX", 1, .unused("for DAX, which only virtiofs has")),
      ]),
  ]

  private static let openFlags: [ProtocolGroup] = [
    .init(
      "fuse_open_in.flags",
      [
        .init(
          "O_ACCMODE", 0,
          .heeded(by: "openVolumeFile", "read-only mounts and control files refuse writers")),
        .init("O_CREAT", 6, .unused("the kernel takes it off; CREATE means it anyway")),
        .init(
          "O_EXCL", 7,
          .unused("the kernel takes it off; CREATE of a name that is there is EEXIST anyway")),
        .init("O_NOCTTY", 8, .unused("the kernel takes it off")),
        .init(
          "O_TRUNC", 9,
          .unused(
            "taken off, since FUSE_ATOMIC_O_TRUNC is declined: the kernel sends a SETATTR, which can fail"
          )),
        .init("O_APPEND", 10, .unused("the kernel puts the offset to the end of the file")),
        .init("O_NONBLOCK", 11, .unused("files do not block in its sense")),
        .init(
          "O_DSYNC", 12, .unused("what counts is WRITE's own flags, which fcntl(2) can change")),
        .init(
          "O_DIRECT", 14, .unused("both ways go through the model; the kernel knows the difference")
        ),
        .init("O_LARGEFILE", 15, .unused("every offset has 64 bits")),
        .init("O_DIRECTORY", 16, .unused("the kernel looks at the type")),
        .init("O_NOFOLLOW", 17, .unused("the kernel follows links, or does not")),
        .init(
          "O_NOATIME", 18,
          .missing(
            "READ carries it, but extent() is not told: reads of volume=scatter set atime all the same"
          )),
        .init("O_SYNC", 20, .unused("as O_DSYNC")),
      ]),
    .init(
      "fuse_open_in.open_flags",
      [
        .init(
          "FUSE_OPEN_KILL_SUIDGID", 0, .unused("sent where FUSE_HANDLE_KILLPRIV_V2 is agreed on"))
      ]),
    .init(
      "fuse_open_out.open_flags",
      [
        .init(
          "FOPEN_DIRECT_IO", 0,
          .heeded(
            by: "openControl",
            "control files open for reading and writing: each read has a new text")),
        .init(
          "FOPEN_KEEP_CACHE", 1,
          .heeded(
            by: "open",
            "the volume's files: nobody else changes them, and pass-through writes invalidate by themselves"
          )),
        .init("FOPEN_NONSEEKABLE", 2, .declined("all files can be read at any place")),
        .init("FOPEN_CACHE_DIR", 3, .declined("entries change, and a listing is short work")),
        .init("FOPEN_STREAM", 4, .declined("all files have positions")),
        .init(
          "FOPEN_NOFLUSH", 5,
          .heeded(
            by: "open",
            "close(2) waits for no write of others, as on a local filesystem; munmap(2) writes back what was mapped"
          )),
        .init(
          "FOPEN_PARALLEL_DIRECT_WRITES", 6,
          .heeded(by: "open", "the write gate orders what must be")),
        .init("FOPEN_PASSTHROUGH", 7, .declined("data would go round the model")),
      ]),
    .init(
      "fuse_release_in.release_flags",
      [
        .init("FUSE_RELEASE_FLUSH", 0, .unused("nothing waits for a release to be flushed")),
        .init("FUSE_RELEASE_FLOCK_UNLOCK", 1, .unused("the kernel keeps locks by itself")),
      ]),
  ]

  private static let dataFlags: [ProtocolGroup] = [
    .init(
      "fuse_read_in.read_flags",
      [
        .init("FUSE_READ_LOCKOWNER", 1, .unused("there are no mandatory locks"))
      ]),
    .init(
      "fuse_write_in.write_flags",
      [
        .init(
          "FUSE_WRITE_CACHE", 0,
          .heeded(
            by: "hold", "nobody would try again: while frozen it is held, and never told EAGAIN")),
        .init("FUSE_WRITE_LOCKOWNER", 1, .unused("there are no mandatory locks")),
        .init(
          "FUSE_WRITE_KILL_SUIDGID", 2,
          .unused(
            "the kernel clears set-ID bits by a SETATTR before it writes, since FUSE_HANDLE_KILLPRIV is declined"
          )),
      ]),
    .init(
      "fuse_write_in.flags",
      [
        .init("O_APPEND", 10, .unused("the kernel has put the offset to the end of the file")),
        .init(
          "O_DSYNC", 12,
          .heeded(
            by: "move",
            "answered when durable: by FUA or a flush; asynchronous writes get no FSYNC of their own"
          )),
        .init(
          "O_DIRECT", 14,
          .heeded(
            by: "answer",
            "one that came short is ENOSPC: of an asynchronous one the kernel would make EIO")),
        .init(
          "O_SYNC", 20,
          .heeded(
            by: "makeDurable",
            "has the bit of O_DSYNC; what it asks for besides, times, no volume keeps on the device"
          )),
      ]),
    .init(
      "fuse_fsync_in.fsync_flags",
      [
        .init(
          "FUSE_FSYNC_FDATASYNC", 0,
          .heeded(by: "synchronize", "the volume may leave out times; the flush is whole"))
      ]),
    .init(
      "fuse_fallocate_in.mode",
      [
        .init(
          "FALLOC_FL_KEEP_SIZE", 0,
          .heeded(by: "changeStorage", "of raw beyond the end ENOSPC, not EFBIG")),
        .init(
          "FALLOC_FL_PUNCH_HOLE", 1,
          .heeded(
            by: "changeStorage",
            "through the mount's gate, so a freeze holds it, and the file's, alone")),
        .init("FALLOC_FL_NO_HIDE_STALE", 2, .unused("the kernel refuses it for FUSE")),
        .init("FALLOC_FL_COLLAPSE_RANGE", 3, .unused("the kernel refuses it for FUSE")),
        .init("FALLOC_FL_ZERO_RANGE", 4, .heeded(by: "changeStorage", "as FALLOC_FL_PUNCH_HOLE")),
        .init("FALLOC_FL_INSERT_RANGE", 5, .unused("the kernel refuses it for FUSE")),
        .init("FALLOC_FL_UNSHARE_RANGE", 6, .unused("the kernel refuses it for FUSE")),
        .init("FALLOC_FL_WRITE_ZEROES", 7, .unused("the kernel refuses it for FUSE")),
      ]),
    .init(
      "fuse_lseek_in.whence",
      [
        .init("SEEK_SET", 0, .unused("the kernel does it by itself")),
        .init("SEEK_CUR", 1, .unused("the kernel does it by itself")),
        .init("SEEK_END", 2, .unused("the kernel asks for the size instead")),
        .init(
          "SEEK_DATA", 3,
          .heeded(by: "seek", "what a mapping may have changed is written back first")),
        .init("SEEK_HOLE", 4, .heeded(by: "seek", "as SEEK_DATA")),
      ]),
  ]

  private static let otherFlags: [ProtocolGroup] = [
    .init(
      "fuse_rename2_in.flags",
      [
        .init("RENAME_NOREPLACE", 0, .heeded(by: "rename", "the volume says EEXIST")),
        .init("RENAME_EXCHANGE", 1, .heeded(by: "rename", "the volume lets both change places")),
        .init("RENAME_WHITEOUT", 2, .declined("EINVAL: no volume keeps whiteouts")),
      ]),
    .init(
      "fuse_setxattr_in.flags",
      [
        .init("XATTR_CREATE", 0, .heeded(by: "setExtendedAttribute", "EEXIST if it is there")),
        .init("XATTR_REPLACE", 1, .heeded(by: "setExtendedAttribute", "ENODATA if it is not")),
      ]),
    .init(
      "fuse_setxattr_in.setxattr_flags",
      [
        .init("FUSE_SETXATTR_ACL_KILL_SGID", 0, .unused("not sent: FUSE_SETXATTR_EXT is declined"))
      ]),
    .init(
      "fuse_access_in.mask",
      [
        .init(
          "X_OK", 0, .unused("the kernel decides by the mode: every mount has default_permissions")),
        .init(
          "W_OK", 1,
          .heeded(
            by: "checkAccess", "EROFS on an image that cannot be written; modes are for the kernel")
        ),
        .init("R_OK", 2, .unused("as X_OK")),
      ]),
    .init(
      "fuse_lk_in.lk_flags",
      [
        .init("FUSE_LK_FLOCK", 0, .unused("the kernel keeps locks by itself"))
      ]),
    .init(
      "fuse_ioctl_in.flags",
      [
        .init("FUSE_IOCTL_COMPAT", 0, .unused("the message is the same for programs of 32 bits")),
        .init("FUSE_IOCTL_UNRESTRICTED", 1, .unused("for character devices")),
        .init(
          "FUSE_IOCTL_RETRY", 2, .unused("an answer that is never given: sizes are in the number")),
        .init("FUSE_IOCTL_32BIT", 3, .unused("the message is the same for programs of 32 bits")),
        .init(
          "FUSE_IOCTL_DIR", 4, .heeded(by: "passThrough", "ENOTTY by the inode, not by the flag")),
        .init("FUSE_IOCTL_COMPAT_X32", 5, .unused("there are no times in the message")),
      ]),
    .init(
      "fuse_poll_in.flags",
      [
        .init("FUSE_POLL_SCHEDULE_NOTIFY", 0, .unused("POLL is refused"))
      ]),
    .init(
      "fuse_notify_inval_entry_out.flags",
      [
        .init("FUSE_EXPIRE_ONLY", 0, .unused("no name is ever invalidated"))
      ]),
    .init(
      "fuse_setupmapping_in.flags",
      [
        .init("FUSE_SETUPMAPPING_FLAG_WRITE", 0, .unused("for DAX, which only virtiofs has")),
        .init("FUSE_SETUPMAPPING_FLAG_READ", 1, .unused("for DAX, which only virtiofs has")),
      ]),
    .init(
      "cuse_init_in.flags",
      [
        .init("CUSE_UNRESTRICTED_IOCTL", 0, .unused("no character device"))
      ]),
    .init(
      "fuse_in_header.unique",
      [
        .init("FUSE_UNIQUE_RESEND", 63, .unused("sent after NOTIFY_RESEND, which is never sent"))
      ]),
    .init(
      "fuse_ext_header.type",
      [
        .init("FUSE_MAX_NR_SECCTX", 31, .unused("FUSE_SECURITY_CTX is declined")),
        .init("FUSE_EXT_GROUPS", 32, .unused("FUSE_CREATE_SUPP_GROUP is declined")),
      ]),
  ]

  private static let deviceNumbers: [ProtocolGroup] = [
    .init(
      "ioctl of /dev/fuse",
      [
        .init(
          "FUSE_DEV_IOC_CLONE", 0, .heeded(by: "init", "FuseDevice: a descriptor for each worker")),
        .init("FUSE_DEV_IOC_BACKING_OPEN", 1, .unused("for FUSE_PASSTHROUGH, which is declined")),
        .init("FUSE_DEV_IOC_BACKING_CLOSE", 2, .unused("for FUSE_PASSTHROUGH, which is declined")),
        .init("FUSE_DEV_IOC_SYNC_INIT", 3, .unused("INIT is answered before any worker starts")),
      ]),
    .init(
      "command on a ring",
      [
        .init("FUSE_IO_URING_CMD_INVALID", 0, .unused("no command at all")),
        .init(
          "FUSE_IO_URING_CMD_REGISTER", 1, .heeded(by: "open", "RingTransport: every slot's entry")),
        .init(
          "FUSE_IO_URING_CMD_COMMIT_AND_FETCH", 2, .heeded(by: "commit", "one answer, one request")),
      ]),
  ]
}
