// Every field of the structures about names and attributes, and of what is not used here.

extension ProtocolTable {
  static let nameStructures: [ProtocolStructure] = [
    .init(
      "fuse_entry_out",
      [
        .init("nodeid", .heeded(by: "replyEntry", "the volume's inode")),
        .init("generation", .unused("0: an inode never becomes another file's")),
        .init("entry_valid", .heeded(by: "replyEntry", "an hour; 0 in the control directory")),
        .init("attr_valid", .heeded(by: "replyEntry", "a second; 0 in the control directory")),
        .init("entry_valid_nsec", .heeded(by: "replyEntry", "as entry_valid")),
        .init("attr_valid_nsec", .heeded(by: "replyEntry", "as attr_valid")),
        .init("attr", .heeded(by: "replyEntry", "see fuse_attr")),
      ]),
    .init("fuse_forget_in", ["nlookup"], .unused("look-ups are not counted")),
    .init("fuse_forget_one", ["nodeid", "nlookup"], .unused("look-ups are not counted")),
    .init("fuse_batch_forget_in", ["count", "dummy"], .unused("look-ups are not counted")),
    .init("fuse_mknod_in", ["mode", "rdev", "umask", "padding"], .unused("MKNOD is refused")),
    .init("fuse_mkdir_in", ["mode", "umask"], .unused("MKDIR is refused")),
    .init("fuse_rename_in", ["newdir"], .unused("RENAME is refused")),
    .init("fuse_rename2_in", ["newdir", "flags", "padding"], .unused("RENAME2 is refused")),
    .init("fuse_link_in", ["oldnodeid"], .unused("LINK is refused")),
    .init("fuse_access_in", ["mask", "padding"], .unused("see FUSE_ACCESS")),
    .init(
      "fuse_dirent",
      [
        .init("ino", .heeded(by: "replyDirectory", "the entry's inode")),
        .init("off", .heeded(by: "replyDirectory", "the number of entries up to this one")),
        .init("namelen", .library("bytes of the name")),
        .init("type", .library("from the mode that it is given")),
        .init("name", .heeded(by: "replyDirectory", "the name")),
      ]),
    .init("fuse_direntplus", ["entry_out", "dirent"], .unused("READDIRPLUS is declined")),
    .init(
      "fuse_setxattr_in", ["size", "flags", "setxattr_flags", "padding"],
      .unused("SETXATTR is refused")),
    .init("fuse_getxattr_in", ["size", "padding"], .unused("GETXATTR is refused")),
    .init("fuse_getxattr_out", ["size", "padding"], .unused("GETXATTR is refused")),
  ]

  static let attributeStructures: [ProtocolStructure] = [
    .init(
      "fuse_attr",
      [
        .init("ino", .heeded(by: "replyAttributes", "the volume's inode")),
        .init(
          "size", .heeded(by: "attributes", "a control file's is that of its longest open text")),
        .init("blocks", .heeded(by: "replyAttributes", "what the image occupies")),
        .init("atime", .heeded(by: "replyAttributes", "as set; reads do not change it")),
        .init("mtime", .heeded(by: "replyAttributes", "the last write, or as set")),
        .init(
          "ctime", .missing("the same as mtime: it must be now at every change, whatever is set")),
        .init("atimensec", .heeded(by: "replyAttributes", "as atime")),
        .init("mtimensec", .heeded(by: "replyAttributes", "as mtime")),
        .init("ctimensec", .missing("as ctime")),
        .init("mode", .heeded(by: "replyAttributes", "shown; see fuse_in_header.uid")),
        .init("nlink", .missing("the root's must count a visible control directory")),
        .init("uid", .heeded(by: "replyAttributes", "who has mounted")),
        .init("gid", .heeded(by: "replyAttributes", "who has mounted")),
        .init("rdev", .unused("there are no device files")),
        .init("blksize", .missing("max_io: programs take it for the granularity of holes")),
        .init("flags", .unused("see its flags")),
      ]),
    .init(
      "fuse_getattr_in",
      [
        .init("getattr_flags", .unused("see FUSE_GETATTR_FH")), .init("dummy", .padding),
        .init("fh", .unused("a control file gives the longest open text instead")),
      ]),
    .init(
      "fuse_attr_out",
      [
        .init("attr_valid", .heeded(by: "replyAttributes", "a second; 0 for control files")),
        .init("attr_valid_nsec", .heeded(by: "replyAttributes", "as attr_valid")),
        .init("dummy", .padding), .init("attr", .heeded(by: "replyAttributes", "see fuse_attr")),
      ]),
    .init(
      "fuse_setattr_in",
      [
        .init("valid", .heeded(by: "change", "see its flags")), .init("padding", .padding),
        .init("fh", .unused("who may change what does not hang on a handle")),
        .init("size", .heeded(by: "change", "EPERM but for the size that it has")),
        .init("lock_owner", .unused("there are no mandatory locks")),
        .init("atime", .heeded(by: "change", "kept in memory")),
        .init("mtime", .heeded(by: "change", "kept in memory")),
        .init("ctime", .unused("sent with FUSE_WRITEBACK_CACHE, which is declined")),
        .init("atimensec", .heeded(by: "change", "as atime")),
        .init("mtimensec", .heeded(by: "change", "as mtime")),
        .init("ctimensec", .unused("as ctime")),
        .init("mode", .heeded(by: "change", "EPERM but for the mode that it has")),
        .init("unused4", .padding),
        .init("uid", .heeded(by: "change", "EPERM but for the owner that it has")),
        .init("gid", .heeded(by: "change", "EPERM but for the group that it has")),
        .init("unused5", .padding),
      ]),
    .init(
      "fuse_kstatfs",
      [
        .init("blocks", .heeded(by: "fileSystemStatistics", "the image's")),
        .init("bfree", .heeded(by: "fileSystemStatistics", "none: the image is one file")),
        .init("bavail", .heeded(by: "fileSystemStatistics", "as bfree")),
        .init("files", .heeded(by: "fileSystemStatistics", "the volume's inodes")),
        .init("ffree", .heeded(by: "fileSystemStatistics", "none")),
        .init("bsize", .heeded(by: "fileSystemStatistics", "the logical block")),
        .init("namelen", .heeded(by: "fileSystemStatistics", "255")),
        .init("frsize", .heeded(by: "fileSystemStatistics", "the logical block")),
        .init("padding", .padding), .init("spare", .padding),
      ]),
    .init("fuse_statfs_out", ["st"], .heeded(by: "fileSystemStatistics", "see fuse_kstatfs")),
    .init(
      "fuse_statx_in", ["getattr_flags", "reserved", "fh", "sx_flags", "sx_mask"],
      .unused("STATX is refused")),
    .init(
      "fuse_statx_out", ["attr_valid", "attr_valid_nsec", "flags", "spare", "stat"],
      .unused("STATX is refused")),
    .init(
      "fuse_statx",
      [
        "mask", "blksize", "attributes", "nlink", "uid", "gid", "mode", "__spare0", "ino", "size",
        "blocks", "attributes_mask", "atime", "btime", "ctime", "mtime", "rdev_major",
        "rdev_minor", "dev_major", "dev_minor", "__spare2",
      ], .unused("STATX is refused")),
    .init("fuse_sx_time", ["tv_sec", "tv_nsec", "__reserved"], .unused("STATX is refused")),
  ]

  static let otherStructures: [ProtocolStructure] = [
    .init("fuse_file_lock", ["start", "end", "type", "pid"], .unused("the kernel keeps locks")),
    .init(
      "fuse_lk_in", ["fh", "owner", "lk", "lk_flags", "padding"], .unused("the kernel keeps locks")),
    .init("fuse_lk_out", ["lk"], .unused("the kernel keeps locks")),
    .init("fuse_bmap_in", ["block", "blocksize", "padding"], .unused("BMAP is refused")),
    .init("fuse_bmap_out", ["block"], .unused("BMAP is refused")),
    .init("fuse_syncfs_in", ["padding"], .unused("SYNCFS does not come")),
    .init(
      "fuse_notify_inval_inode_out",
      [
        .init("ino", .heeded(by: "finishPassThroughWrite", "the disk")),
        .init("off", .heeded(by: "finishPassThroughWrite", "where the write began")),
        .init("len", .heeded(by: "finishPassThroughWrite", "0 in `drop` means all")),
      ]),
    .init("fuse_notify_poll_wakeup_out", ["kh"], .unused("never sent")),
    .init("fuse_notify_inval_entry_out", ["parent", "namelen", "flags"], .unused("never sent")),
    .init(
      "fuse_notify_delete_out", ["parent", "child", "namelen", "padding"], .unused("never sent")),
    .init(
      "fuse_notify_store_out", ["nodeid", "offset", "size", "padding"], .unused("never sent")),
    .init(
      "fuse_notify_retrieve_out", ["notify_unique", "nodeid", "offset", "size", "padding"],
      .unused("never sent")),
    .init(
      "fuse_notify_retrieve_in", ["dummy1", "offset", "size", "dummy2", "dummy3", "dummy4"],
      .unused("never asked for")),
    .init("fuse_notify_prune_out", ["count", "padding", "spare"], .unused("never sent")),
    .init("fuse_backing_map", ["fd", "flags", "padding"], .unused("FUSE_PASSTHROUGH is declined")),
    .init(
      "fuse_setupmapping_in", ["fh", "foffset", "len", "flags", "moffset"],
      .unused("for DAX, which only virtiofs has")),
    .init("fuse_removemapping_in", ["count"], .unused("for DAX, which only virtiofs has")),
    .init(
      "fuse_removemapping_one", ["moffset", "len"], .unused("for DAX, which only virtiofs has")),
  ]
}
