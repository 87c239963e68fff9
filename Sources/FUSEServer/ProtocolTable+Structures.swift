// Every field of the structures that come with opening, reading, writing and everything else about files.

extension ProtocolTable {
  static let headers: [ProtocolStructure] = [
    .init(
      "fuse_in_header",
      [
        .init("len", .heeded(by: "dataRequest", "what was read counts; a short message is EINVAL")),
        .init(
          "opcode",
          .heeded(by: "dispatch", "READ, WRITE, INTERRUPT and TMPFILE here, the rest by libfuse")),
        .init("unique", .heeded(by: "dispatch", "goes into the answer")),
        .init("nodeid", .heeded(by: "dispatch", "which file, and whether it is a control file")),
        .init(
          "uid",
          .heeded(
            by: "makeNode",
            "owner of what is made; who may is decided by the kernel: every mount has default_permissions"
          )),
        .init(
          "gid", .heeded(by: "makeNode", "as uid, but in a directory with the set-group-ID bit")),
        .init("pid", .unused("who asks changes nothing")),
        .init("total_extlen", .unused("no extension was agreed on at INIT")),
        .init("padding", .padding),
      ]),
    .init(
      "fuse_out_header",
      [
        .init("len", .heeded(by: "data", "and the same for every other answer")),
        .init("error", .heeded(by: "error", "one errno, negative")),
        .init("unique", .heeded(by: "data", "the request's")),
      ]),
    .init(
      "fuse_uring_req_header",
      [
        .init("in_out", .heeded(by: "message", "the header of the request, then of the answer")),
        .init("op_in", .heeded(by: "message", "put in front of the payload")),
        .init("ring_ent_in_out", .heeded(by: "message", "see there")),
      ]),
    .init(
      "fuse_uring_ent_in_out",
      [
        .init("flags", .unused("none is defined")),
        .init("commit_id", .heeded(by: "commit", "goes back with the answer")),
        .init("payload_sz", .heeded(by: "message", "bytes of payload, both ways")),
        .init("padding", .padding), .init("reserved", .padding),
      ]),
    .init(
      "fuse_uring_cmd_req",
      [
        .init("flags", .unused("none is defined")),
        .init("commit_id", .heeded(by: "commit", "which answer")),
        .init("qid", .heeded(by: "commit", "the entry's queue")), .init("padding", .padding),
      ]),
    .init("fuse_ext_header", ["size", "type"], .unused("no extension was agreed on at INIT")),
    .init("fuse_secctx_header", ["size", "nr_secctx"], .unused("FUSE_SECURITY_CTX is declined")),
    .init("fuse_secctx", ["size", "padding"], .unused("FUSE_SECURITY_CTX is declined")),
    .init(
      "fuse_supp_groups", ["nr_groups", "groups"], .unused("FUSE_CREATE_SUPP_GROUP is declined")),
  ]

  static let fileStructures: [ProtocolStructure] = [
    .init(
      "fuse_open_in",
      [
        .init("flags", .heeded(by: "openVolumeFile", "whether it will write; see its flags")),
        .init("open_flags", .unused("see FUSE_OPEN_KILL_SUIDGID")),
      ]),
    .init(
      "fuse_open_out",
      [
        .init(
          "fh", .heeded(by: "openVolumeFile", "the open file; 0 in the control directory")),
        .init("open_flags", .heeded(by: "open", "see FOPEN_…")),
        .init("backing_id", .unused("FOPEN_PASSTHROUGH is declined")),
      ]),
    .init(
      "fuse_create_in",
      [
        .init("flags", .heeded(by: "create", "as of OPEN")),
        .init("mode", .heeded(by: "create", "permissions")),
        .init("umask", .unused("FUSE_DONT_MASK is declined: the kernel has applied it")),
        .init("open_flags", .unused("see FUSE_OPEN_KILL_SUIDGID")),
      ]),
    .init(
      "fuse_release_in",
      [
        .init("fh", .heeded(by: "closeFile", "which to close")),
        .init("flags", .unused("the handle says it")),
        .init("release_flags", .unused("see its flags")),
        .init("lock_owner", .unused("the kernel keeps locks by itself")),
      ]),
    .init("fuse_flush_in", ["fh", "unused", "padding", "lock_owner"], .unused("FLUSH is refused")),
    .init(
      "fuse_read_in",
      [
        .init("fh", .heeded(by: "move", "the open file: its file's gate")),
        .init("offset", .heeded(by: "dataRequest", "checked")),
        .init("size", .heeded(by: "dataRequest", "checked against the largest request")),
        .init("read_flags", .unused("see FUSE_READ_LOCKOWNER")),
        .init("lock_owner", .unused("there are no mandatory locks")),
        .init(
          "flags",
          .unused("a READ is the same whatever the file was opened for; but see O_NOATIME")),
        .init("padding", .padding),
      ]),
    .init(
      "fuse_write_in",
      [
        .init(
          "fh",
          .heeded(by: "move", "the open file: its file's gate; in a write-back any that may write")),
        .init("offset", .heeded(by: "dataRequest", "checked")),
        .init("size", .heeded(by: "dataRequest", "checked against what came")),
        .init("write_flags", .heeded(by: "dataRequest", "see its flags")),
        .init("lock_owner", .unused("there are no mandatory locks")),
        .init("flags", .heeded(by: "dataRequest", "see its flags")),
        .init("padding", .padding),
      ]),
    .init(
      "fuse_write_out",
      [
        .init("size", .heeded(by: "written", "all that was asked, or what there was room for")),
        .init("padding", .padding),
      ]),
    .init(
      "fuse_fsync_in",
      [
        .init("fh", .unused("a flush is of the whole image")),
        .init("fsync_flags", .heeded(by: "synchronize", "see FUSE_FSYNC_FDATASYNC")),
        .init("padding", .padding),
      ]),
    .init(
      "fuse_fallocate_in",
      [
        .init("fh", .heeded(by: "changeStorage", "EBADF unless it may write")),
        .init("offset", .heeded(by: "changeStorage", "checked")),
        .init("length", .heeded(by: "changeStorage", "checked")),
        .init("mode", .heeded(by: "changeStorage", "see its flags")), .init("padding", .padding),
      ]),
    .init(
      "fuse_lseek_in",
      [
        .init("fh", .unused("a file has one content")),
        .init("offset", .heeded(by: "seek", "ENXIO beyond the end")),
        .init("whence", .heeded(by: "seek", "see its values")), .init("padding", .padding),
      ]),
    .init(
      "fuse_lseek_out", ["offset"],
      .heeded(by: "seek", "the volume's; raw asks the image's filesystem")),
    .init(
      "fuse_ioctl_in",
      [
        .init("fh", .heeded(by: "passThrough", "whether it may write")),
        .init("flags", .unused("see its flags")),
        .init("cmd", .heeded(by: "passThrough", "one number; others are ENOTTY")),
        .init("arg", .unused("an address of the caller, which the kernel has read for us")),
        .init("in_size", .heeded(by: "passThrough", "the whole message")),
        .init("out_size", .heeded(by: "passThrough", "room for the whole message")),
      ]),
    .init(
      "fuse_ioctl_out",
      [
        .init("result", .heeded(by: "replyPassThrough", "0")),
        .init("flags", .unused("FUSE_IOCTL_RETRY is never asked")),
        .init("in_iovs", .unused("FUSE_IOCTL_RETRY is never asked")),
        .init("out_iovs", .unused("FUSE_IOCTL_RETRY is never asked")),
      ]),
    .init("fuse_ioctl_iovec", ["base", "len"], .unused("FUSE_IOCTL_RETRY is never asked")),
    .init(
      "fuse_interrupt_in", ["unique"],
      .heeded(by: "interrupt", "a read of a stream is cut short, nothing else")),
    .init(
      "fuse_copy_file_range_in",
      ["fh_in", "off_in", "nodeid_out", "fh_out", "off_out", "len", "flags"],
      .unused("COPY_FILE_RANGE is refused")),
    .init("fuse_copy_file_range_out", ["bytes_copied"], .unused("COPY_FILE_RANGE_64 is refused")),
    .init(
      "fuse_poll_in",
      [
        .init("fh", .heeded(by: "poll", "the stream's number")),
        .init("kh", .library("kept in the handle")), .init("flags", .library("no handle without")),
        .init("events", .declined("all that is ready is told")),
      ]),
    .init(
      "fuse_poll_out",
      [
        .init("revents", .heeded(by: "poll", "what is ready")),
        .init("padding", .unused("padding")),
      ]),
  ]
}
