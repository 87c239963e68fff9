// Every field of the structures about names and attributes, and of what is not used here.

extension ProtocolTable {
  static let nameStructures: [ProtocolStructure] = [
    .init(
      "fuse_entry_out",
      [
        .init(
          "nodeid",
          .heeded(
            by: "replyEntry",
            "the volume's inode; a control file's look-up makes a number of its own")),
        .init(
          "generation",
          .heeded(
            by: "replyEntry", "the volume's: tells apart who had a number one after the other")),
        .init(
          "entry_valid",
          .heeded(
            by: "replyEntry", "as long as the volume says, an hour; 0 in the control directory")),
        .init("attr_valid", .heeded(by: "replyEntry", "a second; 0 in the control directory")),
        .init("entry_valid_nsec", .heeded(by: "replyEntry", "as entry_valid")),
        .init("attr_valid_nsec", .heeded(by: "replyEntry", "as attr_valid")),
        .init("attr", .heeded(by: "replyEntry", "see fuse_attr")),
      ]),
    .init("fuse_forget_in", ["nlookup"], .heeded(by: "forget", "so many look-ups fewer")),
    .init("fuse_forget_one", ["nodeid", "nlookup"], .heeded(by: "forget", "as FORGET")),
    .init(
      "fuse_batch_forget_in",
      [.init("count", .library("how many follow")), .init("dummy", .padding)]),
    .init(
      "fuse_mknod_in",
      [
        .init("mode", .heeded(by: "makeNode", "type and permissions")),
        .init("rdev", .heeded(by: "makeNode", "the device of a device node")),
        .init("umask", .unused("FUSE_DONT_MASK is declined: the kernel has applied it")),
        .init("padding", .padding),
      ]),
    .init(
      "fuse_mkdir_in",
      [
        .init("mode", .heeded(by: "makeDirectory", "permissions")),
        .init("umask", .unused("the kernel has applied it")),
      ]),
    .init("fuse_rename_in", ["newdir"], .heeded(by: "rename", "where to")),
    .init(
      "fuse_rename2_in",
      [
        .init("newdir", .heeded(by: "rename", "where to")),
        .init("flags", .heeded(by: "rename", "see its flags")),
        .init("padding", .padding),
      ]),
    .init("fuse_link_in", ["oldnodeid"], .heeded(by: "link", "what gets one more name")),
    .init(
      "fuse_access_in",
      [.init("mask", .heeded(by: "checkAccess", "see its bits")), .init("padding", .padding)]),
    .init(
      "fuse_dirent",
      [
        .init("ino", .heeded(by: "addEntries", "the entry's inode")),
        .init(
          "off",
          .heeded(
            by: "list", "the volume's cookie, behind `.`, `..` and a visible control directory")),
        .init("namelen", .library("bytes of the name")),
        .init("type", .library("from the mode that it is given")),
        .init("name", .heeded(by: "addEntries", "any bytes")),
      ]),
    .init(
      "fuse_direntplus",
      [
        .init(
          "entry_out",
          .heeded(
            by: "addEntries",
            "of a look-up; nodeid 0 where there was none, as in the control directory")),
        .init("dirent", .heeded(by: "addEntries", "see fuse_dirent")),
      ]),
    .init(
      "fuse_setxattr_in",
      [
        .init("size", .library("bytes of the value")),
        .init("flags", .heeded(by: "setExtendedAttribute", "see XATTR_…")),
        .init("setxattr_flags", .unused("not sent: FUSE_SETXATTR_EXT is declined")),
        .init("padding", .padding),
      ]),
    .init(
      "fuse_getxattr_in",
      [
        .init(
          "size", .heeded(by: "replyValue", "0 asks for the length; too little room is ERANGE")),
        .init("padding", .padding),
      ]),
    .init(
      "fuse_getxattr_out",
      [.init("size", .heeded(by: "replyValue", "the length")), .init("padding", .padding)]),
  ]

  static let attributeStructures: [ProtocolStructure] = [
    .init(
      "fuse_attr",
      [
        .init("ino", .heeded(by: "replyAttributes", "the volume's inode")),
        .init(
          "size", .heeded(by: "replyAttributes", "a control file's is that of its look-up's text")),
        .init(
          "blocks",
          .heeded(
            by: "replyAttributes", "what is allocated; of the raw disk, what the image occupies")),
        .init(
          "atime",
          .heeded(
            by: "replyAttributes", "the volume's: raw's is as set, scatter's as with relatime")),
        .init("mtime", .heeded(by: "replyAttributes", "the last write, or as set")),
        .init(
          "ctime",
          .heeded(
            by: "replyAttributes",
            "a time of its own: now at every change and write, and nobody can set it")),
        .init("atimensec", .heeded(by: "replyAttributes", "as atime")),
        .init("mtimensec", .heeded(by: "replyAttributes", "as mtime")),
        .init("ctimensec", .heeded(by: "replyAttributes", "as ctime")),
        .init(
          "mode",
          .heeded(
            by: "replyAttributes",
            "shown, and enforced by the kernel: every mount has default_permissions")),
        .init(
          "nlink",
          .heeded(by: "visibleAttributes", "counts a visible control directory in the root")),
        .init(
          "uid",
          .heeded(
            by: "replyAttributes",
            "who has made the file; of raw and control files, who has mounted")),
        .init("gid", .heeded(by: "replyAttributes", "as uid")),
        .init("rdev", .heeded(by: "replyAttributes", "of device nodes")),
        .init(
          "blksize",
          .heeded(
            by: "replyAttributes",
            "the volume's block: programs take it for the granularity of holes")),
        .init("flags", .unused("see its flags")),
      ]),
    .init(
      "fuse_getattr_in",
      [
        .init("getattr_flags", .unused("see FUSE_GETATTR_FH")), .init("dummy", .padding),
        .init("fh", .unused("an open file has the attributes of its inode")),
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
        .init(
          "size",
          .heeded(
            by: "change",
            "cut or grown with the file alone; raw says EPERM but for the size that it has")),
        .init("lock_owner", .unused("there are no mandatory locks")),
        .init("atime", .heeded(by: "change", "the volume's")),
        .init("mtime", .heeded(by: "change", "the volume's")),
        .init(
          "ctime",
          .unused(
            "sent with FUSE_WRITEBACK_CACHE, which is declined; ctime is now, whatever is sent")),
        .init("atimensec", .heeded(by: "change", "as atime")),
        .init("mtimensec", .heeded(by: "change", "as mtime")),
        .init("ctimensec", .unused("as ctime")),
        .init("mode", .heeded(by: "change", "raw says EPERM but for the mode that it has")),
        .init("unused4", .padding),
        .init("uid", .heeded(by: "change", "raw says EPERM but for the owner that it has")),
        .init("gid", .heeded(by: "change", "raw says EPERM but for the group that it has")),
        .init("unused5", .padding),
      ]),
    .init(
      "fuse_kstatfs",
      [
        .init("blocks", .heeded(by: "replyStatistics", "the volume's")),
        .init(
          "bfree",
          .heeded(by: "replyStatistics", "the volume's; raw has none, since the image is one file")),
        .init("bavail", .heeded(by: "replyStatistics", "as bfree")),
        .init("files", .heeded(by: "replyStatistics", "the volume's inodes")),
        .init("ffree", .heeded(by: "replyStatistics", "the volume's; raw has none")),
        .init(
          "bsize", .heeded(by: "replyStatistics", "the volume's block; of raw the logical block")),
        .init("namelen", .heeded(by: "replyStatistics", "255")),
        .init("frsize", .heeded(by: "replyStatistics", "as bsize")),
        .init("padding", .padding), .init("spare", .padding),
      ]),
    .init("fuse_statfs_out", ["st"], .heeded(by: "replyStatistics", "see fuse_kstatfs")),
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
        .init("ino", .heeded(by: "dropCached", "the file")),
        .init("off", .heeded(by: "dropCached", "where it begins")),
        .init("len", .heeded(by: "dropCached", "0 means all that follows")),
      ]),
    .init(
      "fuse_notify_poll_wakeup_out", ["kh"], .library("by fuse_lowlevel_notify_poll()")),
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
