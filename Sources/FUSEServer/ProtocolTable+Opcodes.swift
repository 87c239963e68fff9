// Every message that the kernel can send.

extension ProtocolTable {
  /// All opcodes. 7 and 19 have never been given.
  static var opcodes: [ProtocolRow] { nameOpcodes + fileOpcodes + otherOpcodes }

  private static let nameOpcodes: [ProtocolRow] = [
    .init(
      "FUSE_LOOKUP", 1,
      .heeded(by: "lookup", "asks the volume or the control directory, and counts")),
    .init(
      "FUSE_FORGET", 2,
      .heeded(by: "forget", "look-ups are counted: what has no name, handle or look-up is gone")),
    .init("FUSE_BATCH_FORGET", 42, .heeded(by: "forget", "as FORGET, for each of the batch")),
    .init("FUSE_GETATTR", 3, .heeded(by: "attributes", "asks the volume or the control directory")),
    .init("FUSE_STATX", 52, .declined("libfuse says ENOSYS; the kernel goes back to GETATTR")),
    .init(
      "FUSE_SETATTR", 4,
      .heeded(by: "change", "the volume decides; raw takes times only, all else must stay as it is")
    ),
    .init("FUSE_READLINK", 5, .heeded(by: "target", "the volume's; raw has no links")),
    .init("FUSE_SYMLINK", 6, .heeded(by: "makeSymbolicLink", "asks the volume; raw says EPERM")),
    .init("FUSE_MKNOD", 8, .heeded(by: "makeNode", "asks the volume; raw says EPERM")),
    .init("FUSE_MKDIR", 9, .heeded(by: "makeDirectory", "asks the volume; raw says EPERM")),
    .init("FUSE_UNLINK", 10, .heeded(by: "remove", "asks the volume; raw says EPERM")),
    .init("FUSE_RMDIR", 11, .heeded(by: "remove", "asks the volume; raw says EPERM")),
    .init("FUSE_RENAME", 12, .heeded(by: "rename", "asks the volume; raw says EPERM")),
    .init("FUSE_RENAME2", 45, .heeded(by: "rename", "by libfuse's same callback, with flags")),
    .init("FUSE_LINK", 13, .heeded(by: "link", "asks the volume; raw says EPERM")),
    .init("FUSE_CREATE", 35, .heeded(by: "create", "makes a file and opens it; raw says EPERM")),
    .init(
      "FUSE_TMPFILE", 51,
      .heeded(
        by: "serveTemporaryFile",
        "decoded here, since libfuse 3.14 does not know it; raw says EOPNOTSUPP")),
    .init(
      "FUSE_SETXATTR", 21,
      .heeded(by: "setExtendedAttribute", "asks the volume; raw says EOPNOTSUPP")),
    .init(
      "FUSE_GETXATTR", 22, .heeded(by: "extendedAttribute", "asks the volume; raw says EOPNOTSUPP")),
    .init(
      "FUSE_LISTXATTR", 23,
      .heeded(by: "extendedAttributeNames", "asks the volume; raw says EOPNOTSUPP")),
    .init(
      "FUSE_REMOVEXATTR", 24,
      .heeded(by: "removeExtendedAttribute", "asks the volume; raw says EOPNOTSUPP")),
    .init(
      "FUSE_ACCESS", 34,
      .heeded(
        by: "checkAccess",
        "seldom sent: with default_permissions, which every mount has, the kernel enforces modes")),
    .init(
      "FUSE_OPENDIR", 27,
      .heeded(
        by: "openDirectory",
        "a handle of the volume's: an open directory stays, whatever becomes of its name")),
    .init("FUSE_READDIR", 28, .heeded(by: "list", "by the volume's cookies")),
    .init(
      "FUSE_READDIRPLUS", 44, .heeded(by: "list", "the same, each entry looked up, and so counted")),
    .init("FUSE_RELEASEDIR", 29, .heeded(by: "closeFile", "gives the handle back")),
    .init(
      "FUSE_FSYNCDIR", 30,
      .heeded(by: "synchronize", "the volume writes out names, then the image is flushed")),
  ]

  private static let fileOpcodes: [ProtocolRow] = [
    .init(
      "FUSE_OPEN", 14,
      .heeded(
        by: "open",
        "a handle with the file's gate and rights; a control file's text is that of its look-up")),
    .init("FUSE_READ", 15, .heeded(by: "start", "through iterator, bios and device")),
    .init("FUSE_WRITE", 16, .heeded(by: "start", "through iterator, bios and device")),
    .init(
      "FUSE_FLUSH", 25,
      .declined("ENOSYS once; FOPEN_NOFLUSH tells newer kernels that nothing waits for it")),
    .init("FUSE_RELEASE", 18, .heeded(by: "closeFile", "gives the handle back")),
    .init(
      "FUSE_FSYNC", 20,
      .heeded(
        by: "synchronize",
        "the volume writes out what it keeps, the image is flushed, then comes the answer")),
    .init(
      "FUSE_SYNCFS", 50,
      .unused(
        "sent for virtiofs and block mounts only; syncfs(2) here ends when the kernel's pages are written back"
      )),
    .init(
      "FUSE_FALLOCATE", 43,
      .heeded(by: "changeStorage", "through the mount's gate, and the file's, alone")),
    .init(
      "FUSE_LSEEK", 46,
      .heeded(
        by: "seek",
        "has pages written back that may have been changed by a mapping, then asks the volume")),
    .init("FUSE_COPY_FILE_RANGE", 47, .declined("ENOSYS: the kernel copies by READ and WRITE")),
    .init("FUSE_COPY_FILE_RANGE_64", 53, .declined("ENOSYS, as the older one")),
    .init(
      "FUSE_IOCTL", 39,
      .heeded(
        by: "passThrough", "block requests where the volume allows them; anything else is ENOTTY")),
    .init(
      "FUSE_POLL", 40,
      .heeded(
        by: "poll",
        "a stream is ready when there are events; any other file gets ENOSYS and is always ready")),
    .init("FUSE_BMAP", 37, .declined("ENOSYS; sent for block mounts only")),
    .init("FUSE_GETLK", 31, .declined("not agreed on: the kernel keeps locks by itself")),
    .init("FUSE_SETLK", 32, .declined("not agreed on: the kernel keeps locks by itself")),
    .init("FUSE_SETLKW", 33, .declined("not agreed on: the kernel keeps locks by itself")),
    .init("FUSE_SETUPMAPPING", 48, .unused("for DAX, which only virtiofs has")),
    .init("FUSE_REMOVEMAPPING", 49, .unused("for DAX, which only virtiofs has")),
  ]

  private static let otherOpcodes: [ProtocolRow] = [
    .init("FUSE_STATFS", 17, .heeded(by: "replyStatistics", "the volume's room")),
    .init("FUSE_INIT", 26, .heeded(by: "negotiate", "then completeInitialization() adds to it")),
    .init(
      "FUSE_INTERRUPT", 36,
      .heeded(
        by: "dispatch",
        "a read of a stream is cut short; every other request ends soon, or, held by a freeze, after the thaw"
      )),
    .init("FUSE_DESTROY", 38, .library("answered; sent for block mounts only")),
    .init("FUSE_NOTIFY_REPLY", 41, .unused("answers NOTIFY_RETRIEVE, which is never sent")),
    .init("CUSE_INIT", 4096, .unused("this is no character device")),
    .init("CUSE_INIT_BSWAP_RESERVED", 1_048_576, .unused("this is no character device")),
    .init("FUSE_INIT_BSWAP_RESERVED", 436_207_616, .unused("a peer of the other byte order")),
  ]
}
