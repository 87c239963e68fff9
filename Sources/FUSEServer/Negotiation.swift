// What is agreed with the kernel at the start: every ability that libfuse knows is asked for or declined by name.

import CFuse3

/// One ability of FUSE's INIT, and what is done about it.
struct Ability: Sendable {
  /// The bit in libfuse's `fuse_conn_info`.
  let bit: UInt32
  /// The name, without `FUSE_CAP_`.
  let name: String
  /// Whether it is asked for, where the kernel has it.
  let isWanted: Bool
  /// Why.
  let reason: String

  fileprivate static func asked(_ bit: Int, _ name: String, _ reason: String) -> Ability {
    Ability(bit: UInt32(bit), name: name, isWanted: true, reason: reason)
  }

  fileprivate static func declined(_ bit: Int, _ name: String, _ reason: String) -> Ability {
    Ability(bit: UInt32(bit), name: name, isWanted: false, reason: reason)
  }

  /// All that libfuse 3.14 can ask for. It asks for some of them by itself; nothing here is left to it.
  static let all: [Ability] = [
    .asked(Int(FUSE_CAP_ASYNC_READ), "ASYNC_READ", "pages are read ahead side by side"),
    .asked(Int(FUSE_CAP_ASYNC_DIO), "ASYNC_DIO", "direct I/O of one file runs side by side"),
    .asked(
      Int(FUSE_CAP_PARALLEL_DIROPS), "PARALLEL_DIROPS", "volumes have locks of their own"),
    .asked(
      Int(FUSE_CAP_READDIRPLUS), "READDIRPLUS", "a listing with attributes saves a look-up a name"),
    .asked(
      Int(FUSE_CAP_READDIRPLUS_AUTO), "READDIRPLUS_AUTO", "the kernel sees when attributes are used"
    ),
    .asked(
      Int(FUSE_CAP_CACHE_SYMLINKS), "CACHE_SYMLINKS", "a link's target never changes"),
    .declined(
      Int(FUSE_CAP_ATOMIC_O_TRUNC), "ATOMIC_O_TRUNC",
      "the kernel would take an open(2) with O_TRUNC for a truncation that succeeded and forget its pages; "
        + "as a SETATTR of its own a volume can refuse it"),
    .declined(
      Int(FUSE_CAP_AUTO_INVAL_DATA), "AUTO_INVAL_DATA",
      "nobody else changes the files, and it costs a GETATTR for each read after a write"),
    .declined(
      Int(FUSE_CAP_EXPLICIT_INVAL_DATA), "EXPLICIT_INVAL_DATA",
      "a new size must drop the pages beyond it"),
    .declined(
      Int(FUSE_CAP_WRITEBACK_CACHE), "WRITEBACK_CACHE",
      "what write(2) has written is to be seen arriving; times and sizes are the volume's"),
    .declined(
      Int(FUSE_CAP_HANDLE_KILLPRIV), "HANDLE_KILLPRIV",
      "the kernel clears set-id bits by a SETATTR of its own before a write"),
    .declined(
      Int(FUSE_CAP_DONT_MASK), "DONT_MASK", "the kernel applies the caller's umask"),
    .declined(
      Int(FUSE_CAP_POSIX_ACL), "POSIX_ACL", "modes alone decide; no volume here keeps ACLs"),
    .declined(
      Int(FUSE_CAP_POSIX_LOCKS), "POSIX_LOCKS", "there is one client kernel, which keeps locks"),
    .declined(
      Int(FUSE_CAP_FLOCK_LOCKS), "FLOCK_LOCKS", "there is one client kernel, which keeps locks"),
    .declined(
      Int(FUSE_CAP_EXPORT_SUPPORT), "EXPORT_SUPPORT",
      "look-ups of . and .. by number, as NFS needs them, are not answered"),
    .declined(Int(FUSE_CAP_IOCTL_DIR), "IOCTL_DIR", "directories take no ioctl"),
    .declined(
      Int(FUSE_CAP_NO_OPEN_SUPPORT), "NO_OPEN_SUPPORT",
      "each open file has a handle, with its gate and its rights"),
    .declined(
      Int(FUSE_CAP_NO_OPENDIR_SUPPORT), "NO_OPENDIR_SUPPORT",
      "an open directory stays, whatever becomes of its name"),
    .declined(
      Int(FUSE_CAP_EXPIRE_ONLY), "EXPIRE_ONLY", "no name is ever told to expire"),
    .declined(
      Int(FUSE_CAP_SPLICE_READ), "SPLICE_READ", "requests land where O_DIRECT can take them"),
    .declined(
      Int(FUSE_CAP_SPLICE_WRITE), "SPLICE_WRITE", "a plain write of page-aligned memory is faster"),
    .declined(
      Int(FUSE_CAP_SPLICE_MOVE), "SPLICE_MOVE", "the buffers stay with the mount"),
  ]
}

extension Server {
  /// Agrees with the kernel on sizes and abilities.
  func negotiate(_ connection: inout fuse_conn_info) {
    connection.max_write = UInt32(configuration.maxIOBytes)
    connection.max_readahead = UInt32(configuration.maxIOBytes)
    connection.max_background = UInt32(configuration.backgroundLimit)
    connection.congestion_threshold = connection.max_background * 3 / 4
    connection.want = Ability.all.reduce(0) { $0 | ($1.isWanted ? $1.bit : 0) }
    connection.want &= connection.capable
    connection.time_gran = 1
  }
}
