// What is agreed on at INIT: every ability is asked for or declined, with the reason.

extension ProtocolTable {
  /// The flags of INIT by bit; from 32 on they are in the second word.
  static let initializationFlags: [ProtocolRow] = [
    .init("FUSE_ASYNC_READ", 0, .heeded(by: "negotiate", "reads ahead may overtake each other")),
    .init(
      "FUSE_POSIX_LOCKS", 1, .declined("the kernel keeps locks by itself; nobody else has them")),
    .init("FUSE_FILE_OPS", 2, .unused("the kernel has never done anything about it")),
    .init(
      "FUSE_ATOMIC_O_TRUNC", 3,
      .declined("O_TRUNC comes as a SETATTR of its own, which a volume can refuse")),
    .init("FUSE_EXPORT_SUPPORT", 4, .declined("`.` and `..` are not looked up by inode")),
    .init("FUSE_BIG_WRITES", 5, .library("always asked for; max_write has taken its place")),
    .init("FUSE_DONT_MASK", 6, .declined("the kernel applies the caller's umask")),
    .init("FUSE_SPLICE_WRITE", 7, .declined("answers are short, or lie in the slot already")),
    .init("FUSE_SPLICE_MOVE", 8, .declined("pages belong to the arena and stay there")),
    .init("FUSE_SPLICE_READ", 9, .declined("a payload is read to the page where bios want it")),
    .init("FUSE_FLOCK_LOCKS", 10, .declined("the kernel keeps locks by itself")),
    .init(
      "FUSE_HAS_IOCTL_DIR", 11,
      .declined("the kernel sends them all the same; passThrough() says ENOTTY")),
    .init(
      "FUSE_AUTO_INVAL_DATA", 12,
      .declined("nobody else changes the files, and it costs a GETATTR for each read after a write")
    ),
    .init(
      "FUSE_DO_READDIRPLUS", 13,
      .heeded(by: "negotiate", "a listing with attributes saves a look-up a name")),
    .init(
      "FUSE_READDIRPLUS_AUTO", 14,
      .heeded(by: "negotiate", "the kernel sees when attributes are used")),
    .init("FUSE_ASYNC_DIO", 15, .heeded(by: "negotiate", "parts of a direct transfer run at once")),
    .init("FUSE_WRITEBACK_CACHE", 16, .declined("writes are to be seen when they are made")),
    .init(
      "FUSE_NO_OPEN_SUPPORT", 17,
      .declined("each open file has a handle, with its gate and its rights")),
    .init(
      "FUSE_PARALLEL_DIROPS", 18,
      .heeded(
        by: "completeInitialization",
        "volumes have locks of their own; libfuse 3.14 does not send it")),
    .init(
      "FUSE_HANDLE_KILLPRIV", 19,
      .declined("the kernel clears set-ID bits by a SETATTR of its own before it writes")),
    .init("FUSE_POSIX_ACL", 20, .declined("modes alone decide; no volume keeps ACLs")),
    .init("FUSE_ABORT_ERROR", 21, .declined("ENODEV says the same, on every kernel")),
    .init("FUSE_MAX_PAGES", 22, .library("sent; completeInitialization() gives the number")),
    .init("FUSE_CACHE_SYMLINKS", 23, .heeded(by: "negotiate", "a link's target never changes")),
    .init(
      "FUSE_NO_OPENDIR_SUPPORT", 24,
      .declined("an open directory stays, whatever becomes of its name")),
    .init("FUSE_EXPLICIT_INVAL_DATA", 25, .declined("a new size must drop the pages beyond it")),
    .init("FUSE_MAP_ALIGNMENT", 26, .unused("for DAX, which only virtiofs has")),
    .init("FUSE_SUBMOUNTS", 27, .unused("for virtiofs")),
    .init(
      "FUSE_HANDLE_KILLPRIV_V2", 28,
      .declined("as FUSE_HANDLE_KILLPRIV")),
    .init("FUSE_SETXATTR_EXT", 29, .declined("for ACLs, which no volume keeps")),
    .init(
      "FUSE_INIT_EXT", 30,
      .heeded(by: "completeInitialization", "sent where the second word says something")),
    .init("FUSE_INIT_RESERVED", 31, .unused("the protocol forbids it")),
    .init(
      "FUSE_SECURITY_CTX", 32, .declined("no label is given at the making: setxattr(2) can follow")),
    .init("FUSE_HAS_INODE_DAX", 33, .unused("for DAX, which only virtiofs has")),
    .init(
      "FUSE_CREATE_SUPP_GROUP", 34,
      .declined("a new file has its maker's group, or its directory's")),
    .init("FUSE_HAS_EXPIRE_ONLY", 35, .unused("an offer; no name is ever invalidated")),
    .init(
      "FUSE_DIRECT_IO_ALLOW_MMAP", 36,
      .declined("only control files open for both bypass the cache")),
    .init("FUSE_PASSTHROUGH", 37, .declined("data would go round the model")),
    .init("FUSE_NO_EXPORT_SUPPORT", 38, .declined("inodes in the cache may be exported")),
    .init("FUSE_HAS_RESEND", 39, .unused("an offer; a daemon that dies takes its mount with it")),
    .init("FUSE_ALLOW_IDMAP", 40, .declined("owners are shown as they are")),
    .init(
      "FUSE_OVER_IO_URING", 41, .heeded(by: "completeInitialization", "where `transport` allows it")
    ),
    .init("FUSE_REQUEST_TIMEOUT", 42, .declined("a frozen mount holds writes as long as asked")),
  ]

  static let setupStructures: [ProtocolStructure] = [
    .init(
      "fuse_init_in",
      [
        .init("major", .library("anything but 7 is refused or asked again")),
        .init("minor", .library("decides how long the answer is")),
        .init("max_readahead", .library("the smaller of this and ours is sent back")),
        .init("flags", .library("nothing is asked for that is not offered")),
        .init("flags2", .heeded(by: "offersRing", "whether there is FUSE over io_uring")),
        .init("unused", .padding),
      ]),
    .init(
      "fuse_init_out",
      [
        .init("major", .library("7")),
        .init("minor", .library("its own: 31 was seen from Debian 12's 3.14")),
        .init("max_readahead", .heeded(by: "negotiate", "as long as the largest request")),
        .init("flags", .heeded(by: "negotiate", "see the flags of INIT")),
        .init(
          "max_background",
          .heeded(
            by: "negotiate", "64, or what the entries of a queue allow while the mount is frozen")),
        .init("congestion_threshold", .heeded(by: "negotiate", "three quarters of max_background")),
        .init("max_write", .heeded(by: "completeInitialization", "the largest request")),
        .init("time_gran", .heeded(by: "negotiate", "1 ns")),
        .init("max_pages", .heeded(by: "completeInitialization", "the largest request in pages")),
        .init("map_alignment", .unused("for DAX, which only virtiofs has")),
        .init("flags2", .heeded(by: "completeInitialization", "FUSE over io_uring, if it is used")),
        .init("max_stack_depth", .unused("for FUSE_PASSTHROUGH, which is declined")),
        .init("request_timeout", .unused("FUSE_REQUEST_TIMEOUT is declined")),
        .init("unused", .padding),
      ]),
    .init(
      "cuse_init_in", ["major", "minor", "unused", "flags"], .unused("no character device")),
    .init(
      "cuse_init_out",
      [
        "major", "minor", "unused", "flags", "max_read", "max_write", "dev_major", "dev_minor",
        "spare",
      ], .unused("no character device")),
  ]
}
