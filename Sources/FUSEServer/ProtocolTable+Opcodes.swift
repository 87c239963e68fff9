// Every message that the kernel can send.

extension ProtocolTable {
  /// All opcodes. 7 and 19 have never been given.
  static var opcodes: [ProtocolRow] { nameOpcodes + fileOpcodes + otherOpcodes }

  private static let nameOpcodes: [ProtocolRow] = [
    .init("FUSE_LOOKUP", 1, .heeded(by: "lookup", "asks the volume or the control directory")),
    .init(
      "FUSE_FORGET", 2, .unused("a raw volume's inodes are fixed, so look-ups are not counted")),
    .init("FUSE_BATCH_FORGET", 42, .unused("as FORGET")),
    .init("FUSE_GETATTR", 3, .heeded(by: "attributes", "asks the volume or the control directory")),
    .init("FUSE_STATX", 52, .declined("libfuse says ENOSYS; the kernel goes back to GETATTR")),
    .init(
      "FUSE_SETATTR", 4, .heeded(by: "change", "times can be set; all else must stay as it is")),
    .init("FUSE_READLINK", 5, .declined("ENOSYS: there are no links to read")),
    .init("FUSE_SYMLINK", 6, .heeded(by: "addRefusals", "EPERM: names are fixed")),
    .init("FUSE_MKNOD", 8, .heeded(by: "addRefusals", "EPERM: names are fixed")),
    .init("FUSE_MKDIR", 9, .heeded(by: "addRefusals", "EPERM: names are fixed")),
    .init("FUSE_UNLINK", 10, .heeded(by: "addRefusals", "EPERM: names are fixed")),
    .init("FUSE_RMDIR", 11, .heeded(by: "addRefusals", "EPERM: names are fixed")),
    .init("FUSE_RENAME", 12, .heeded(by: "addRefusals", "EPERM: names are fixed")),
    .init("FUSE_RENAME2", 45, .heeded(by: "addRefusals", "EPERM, whatever the flags")),
    .init("FUSE_LINK", 13, .heeded(by: "addRefusals", "EPERM: names are fixed")),
    .init("FUSE_CREATE", 35, .heeded(by: "addRefusals", "EPERM: names are fixed")),
    .init("FUSE_TMPFILE", 51, .declined("libfuse says ENOSYS; open(O_TMPFILE) is EOPNOTSUPP")),
    .init("FUSE_SETXATTR", 21, .declined("ENOSYS, which users see as EOPNOTSUPP")),
    .init("FUSE_GETXATTR", 22, .declined("ENOSYS, which users see as EOPNOTSUPP")),
    .init("FUSE_LISTXATTR", 23, .declined("ENOSYS, which users see as EOPNOTSUPP")),
    .init("FUSE_REMOVEXATTR", 24, .declined("ENOSYS, which users see as EOPNOTSUPP")),
    .init(
      "FUSE_ACCESS", 34,
      .missing("ENOSYS makes access(2) say yes to everybody: enforce the modes that are shown")),
    .init("FUSE_OPENDIR", 27, .heeded(by: "addNames", "answered as it came")),
    .init("FUSE_READDIR", 28, .heeded(by: "readDirectory", "by the number of entries given")),
    .init("FUSE_READDIRPLUS", 44, .declined("not agreed on: a directory has a few names")),
    .init("FUSE_RELEASEDIR", 29, .library("says yes: an open directory holds nothing")),
    .init("FUSE_FSYNCDIR", 30, .declined("ENOSYS, after which fsync(2) succeeds: names are fixed")),
  ]

  private static let fileOpcodes: [ProtocolRow] = [
    .init("FUSE_OPEN", 14, .heeded(by: "open", "makes a control file's text; tells who may write")),
    .init("FUSE_READ", 15, .heeded(by: "start", "through iterator, bios and device")),
    .init("FUSE_WRITE", 16, .heeded(by: "start", "through iterator, bios and device")),
    .init(
      "FUSE_FLUSH", 25,
      .declined("ENOSYS once; at close(2) the kernel writes pages back before it would ask")),
    .init("FUSE_RELEASE", 18, .heeded(by: "addFiles", "forgets a control file's text")),
    .init("FUSE_FSYNC", 20, .heeded(by: "synchronize", "flushes the image, then answers")),
    .init(
      "FUSE_SYNCFS", 50,
      .unused("sent for virtiofs and block mounts only; syncfs(2) here ends in the kernel's cache")),
    .init("FUSE_FALLOCATE", 43, .heeded(by: "allocate", "asks the volume, on the worker")),
    .init("FUSE_LSEEK", 46, .heeded(by: "seek", "asks the volume for data and holes")),
    .init("FUSE_COPY_FILE_RANGE", 47, .declined("ENOSYS: the kernel copies by READ and WRITE")),
    .init("FUSE_COPY_FILE_RANGE_64", 53, .declined("ENOSYS, as the older one")),
    .init("FUSE_IOCTL", 39, .heeded(by: "passThrough", "block requests; anything else is ENOTTY")),
    .init("FUSE_POLL", 40, .declined("ENOSYS: the kernel says always ready, as for any file")),
    .init("FUSE_BMAP", 37, .declined("ENOSYS; sent for block mounts only")),
    .init("FUSE_GETLK", 31, .declined("not agreed on: the kernel keeps locks by itself")),
    .init("FUSE_SETLK", 32, .declined("not agreed on: the kernel keeps locks by itself")),
    .init("FUSE_SETLKW", 33, .declined("not agreed on: the kernel keeps locks by itself")),
    .init("FUSE_SETUPMAPPING", 48, .unused("for DAX, which only virtiofs has")),
    .init("FUSE_REMOVEMAPPING", 49, .unused("for DAX, which only virtiofs has")),
  ]

  private static let otherOpcodes: [ProtocolRow] = [
    .init("FUSE_STATFS", 17, .heeded(by: "fileSystemStatistics", "the volume's room")),
    .init("FUSE_INIT", 26, .heeded(by: "negotiate", "then completeInitialization() adds to it")),
    .init(
      "FUSE_INTERRUPT", 36, .heeded(by: "dispatch", "every request ends soon; none is cut short")),
    .init("FUSE_DESTROY", 38, .library("answered; sent for block mounts only")),
    .init("FUSE_NOTIFY_REPLY", 41, .unused("answers NOTIFY_RETRIEVE, which is never sent")),
    .init("CUSE_INIT", 4096, .unused("this is no character device")),
    .init("CUSE_INIT_BSWAP_RESERVED", 1_048_576, .unused("this is no character device")),
    .init("FUSE_INIT_BSWAP_RESERVED", 436_207_616, .unused("a peer of the other byte order")),
  ]
}
