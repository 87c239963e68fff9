// What a process has from its caller, and what is done about each.

import CSystem
import Glibc

/// Everything that execve(2) and fork(2) list as kept, as of the manual pages of Linux 6.18.
///
/// | kept | every command | the daemon besides |
/// |---|---|---|
/// | descriptors 0–2 | missing ones: /dev/null (`StandardStreams`) | in the background: /dev/null |
/// | other descriptors | kept | in the background closed, so that nobody waits for the unmount; with `-f` the caller's affair, as for any job |
/// | ignored signals | SIGPIPE, SIGXFSZ ignored: an errno is the answer; SIGCHLD default, or children could not be awaited | SIGTERM and all that end it in order: default; with `-f`, SIGINT and SIGHUP stay ignored (`nohup`, `&`) |
/// | blocked signals | none | those that end it in order are blocked and awaited |
/// | pending signals | kept | |
/// | RLIMIT_FSIZE | kept; beyond it a write is answered EFBIG | soft limit raised to the hard one; said at the mount if the image is longer |
/// | RLIMIT_NOFILE, RLIMIT_MEMLOCK | kept | soft limit raised to the hard one |
/// | RLIMIT_CPU | kept | as much as the hard limit allows, less the second that an orderly end takes; SIGXCPU ends it in order |
/// | RLIMIT_AS, RLIMIT_DATA | kept | buffers are sized to fit |
/// | RLIMIT_CORE, RLIMIT_STACK, RLIMIT_NPROC and the rest | kept | kept: the user's wish |
/// | working directory | kept | `/`; paths are made absolute before |
/// | root directory, mount and other namespaces, cgroup | kept | kept: they say where the mount is to be, and what it may use |
/// | umask | kept; `mkimage` honours it | makes no file |
/// | session, controlling terminal, process group | kept | in the background a session of its own |
/// | nice value, I/O priority, scheduling policy, memory policy | kept | kept: `nice`, `ionice`, `chrt`, `numactl` mean it |
/// | CPU affinity | kept | kept: workers stay inside (`Machine.allowedCPUs`) |
/// | interval timers, alarm | kept | in the background none (fork); else SIGALRM, SIGVTALRM, SIGPROF end it in order |
/// | environment | kept | kept: the same libraries, and fusermount3 by PATH |
/// | user, groups, securebits, capabilities, no_new_privs, seccomp | kept | kept: they say who mounts |
/// | OOM score adjustment | kept | kept: a daemon is no more worth than who started it |
/// | file locks | of the descriptors | gone with the descriptors, in the background |
/// | memory locks, dumpable, pending async I/O, shared memory, exit handlers | none after execve | none |
/// | personality, core dump filter, timer slack, huge page setting, parent-death signal | kept | kept; the last is none in the background |
/// | name in ps | `extractfs`, whatever the file is called | |
enum Inheritance {
  /// Whether the caller has SIGPIPE ignored: known since `settle()`.
  static let ignoresBrokenPipes = isIgnored(SIGPIPE)

  /// Signals that end a daemon in order: the mount goes, what was written is made durable.
  static let endingSignals: [Int32] = [
    SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU,
  ]

  /// For every command. To be called before any thread starts.
  static func settle() {
    _ = unsafe extractfs_set_name("extractfs")
    _ = ignoresBrokenPipes
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
    signal(SIGCHLD, SIG_DFL)
    var none = sigset_t()
    unsafe sigemptyset(&none)
    unsafe pthread_sigmask(SIG_SETMASK, &none, nil)
  }

  /// For a daemon. To be called before any thread starts.
  static func settleDaemon(inBackground: Bool) {
    for signal in endingSignals {
      let stays = !inBackground && [SIGINT, SIGHUP].contains(signal)
      if !stays { Glibc.signal(signal, SIG_DFL) }
    }
    // No directory of the caller's is kept busy.
    _ = unsafe chdir("/")
    raise(Resource.fileSize)
    raise(Resource.openFiles)
    raise(Resource.lockedMemory)
    raise(Resource.processorTime, below: 1)
  }

  /// The most bytes of a file that may be written, or nil for no limit.
  static var fileSizeLimit: Int? { limit(Resource.fileSize) }

  /// The most bytes of address space, or nil for no limit.
  static var addressSpaceLimit: Int? {
    [limit(Resource.addressSpace), limit(Resource.data)].compactMap(\.self).min()
  }

  private static func isIgnored(_ signal: Int32) -> Bool {
    var action = sigaction()
    guard unsafe sigaction(signal, nil, &action) == 0 else { return false }
    let ignore = 1  // SIG_IGN
    return unsafe unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == ignore
  }

  /// A resource's number: glibc has an enumeration, which Swift imports as a type of its own.
  private enum Resource {
    static let processorTime = Int32(RLIMIT_CPU.rawValue)
    static let fileSize = Int32(RLIMIT_FSIZE.rawValue)
    static let data = Int32(RLIMIT_DATA.rawValue)
    static let openFiles = Int32(RLIMIT_NOFILE.rawValue)
    static let lockedMemory = Int32(__RLIMIT_MEMLOCK.rawValue)
    static let addressSpace = Int32(RLIMIT_AS.rawValue)
  }

  /// Raises a soft limit to the hard one, or to so much below it.
  private static func raise(_ resource: Int32, below distance: UInt = 0) {
    var limit = rlimit()
    guard unsafe getrlimit(resource, &limit) == 0 else { return }
    let isInfinite = limit.rlim_max == UInt(bitPattern: -1)
    let wanted = isInfinite ? limit.rlim_max : limit.rlim_max - min(distance, limit.rlim_max)
    if limit.rlim_cur >= wanted && distance == 0 { return }
    limit.rlim_cur = max(wanted, 1)
    if limit.rlim_cur > limit.rlim_max { return }
    unsafe setrlimit(resource, &limit)
  }

  private static func limit(_ resource: Int32) -> Int? {
    var limit = rlimit()
    guard unsafe getrlimit(resource, &limit) == 0 else { return nil }
    return Int(exactly: limit.rlim_cur)
  }
}
