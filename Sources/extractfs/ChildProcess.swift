// Children: other programs, and system calls that may never return. Each is awaited for so long and no longer.
//
// A system call on a mount whose daemon has stopped, or waits for itself, does not return. It is made by a child, which can
// be left behind: a thread could not, since some of these waits do not even end with the process.

import CSystem
import Glibc
import Memory

/// A moment until when something is waited for.
struct Deadline {
  private let nanoseconds: Int

  /// So many seconds from now.
  init(seconds: Double) { nanoseconds = Self.now + Int(min(seconds, 1e8) * 1e9) }

  /// Milliseconds that are left, rounded up; 0 when it has passed.
  var remainingMilliseconds: Int32 {
    Int32(clamping: max(0, (nanoseconds - Self.now + 999_999) / 1_000_000))
  }

  /// The earlier of this one and one so many seconds from now.
  func within(seconds: Double) -> Deadline {
    let other = Deadline(seconds: seconds)
    return other.nanoseconds < nanoseconds ? other : self
  }

  private static var now: Int {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
  }
}

/// How a child ended.
enum ChildEnd {
  /// It has ended: its exit code, or 128 and the signal that ended it; and what it wrote.
  case ended(code: Int32, output: [UInt8])
  /// It had not ended in time, and was told to by SIGKILL.
  case late
}

/// A child of this process, and what it writes.
struct ChildProcess {
  private let pid: pid_t
  private let output: Int32

  /// Runs `body` in a child that shares nothing with this process. What it returns is the exit code: 0, or an errno.
  ///
  /// This process must have no other threads. `body` makes system calls; what it writes to the descriptor is kept.
  static func fork(_ body: (_ output: Int32) -> Int32) -> ChildProcess? {
    guard let pipe = makePipe() else { return nil }
    let pid = extractfs_fork()
    if pid == 0 {
      // One that is left behind must not keep the caller's pipes open: its reader would wait for it.
      extractfs_close_all_but(pipe.write)
      _exit(body(pipe.write))
    }
    close(pipe.write)
    if pid < 0 {
      close(pipe.read)
      return nil
    }
    return ChildProcess(pid: pid, output: pipe.read)
  }

  /// Starts a program, found in PATH unless its name has a slash; what it prints is kept.
  /// - Throws: an `Errno` as a number.
  static func spawn(_ words: [[UInt8]]) -> ChildProcess? {
    guard let pipe = makePipe() else { return nil }
    defer { close(pipe.write) }
    var start = ProgramStart(words)
    start.send(STDIN_FILENO, to: nil)
    start.send(STDOUT_FILENO, to: pipe.write)
    start.send(STDERR_FILENO, to: pipe.write)
    guard let pid = start.run() else {
      close(pipe.read)
      return nil
    }
    return ChildProcess(pid: pid, output: pipe.read)
  }

  /// Waits for the end.
  func await(until deadline: Deadline) -> ChildEnd {
    let process = pidfd_open(pid, 0)
    defer {
      close(output)
      if process >= 0 { close(process) }
    }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    var isOpen = true
    while true {
      var waits = (
        pollfd(fd: isOpen ? output : -1, events: Int16(POLLIN), revents: 0),
        pollfd(fd: process, events: Int16(POLLIN), revents: 0)
      )
      let ready = unsafe withUnsafeMutableBytes(of: &waits) { list in
        unsafe poll(
          list.assumingMemoryBound(to: pollfd.self).baseAddress, 2, deadline.remainingMilliseconds)
      }
      if ready < 0 && errno == EINTR { continue }
      if ready <= 0 {
        kill(pid, SIGKILL)
        return .late
      }
      if waits.0.revents != 0 {
        let count = unsafe read(output, &buffer, buffer.count)
        if count > 0 { bytes += buffer[..<count] }
        if count == 0 { isOpen = false }
      } else if waits.1.revents != 0 {
        return .ended(code: reap(), output: bytes)
      }
    }
  }

  private func reap() -> Int32 {
    var status: Int32 = 0
    _ = retryingInterrupted { unsafe waitpid(pid, &status, 0) }
    let signal = status & 0x7f
    return signal == 0 ? (status >> 8) & 0xff : 128 + signal
  }

  private static func makePipe() -> (read: Int32, write: Int32)? {
    var ends: [Int32] = [0, 0]
    return unsafe pipe2(&ends, O_CLOEXEC) == 0 ? (ends[0], ends[1]) : nil
  }
}

/// Makes system calls that may never return.
/// - Returns: 0 or an errno, and what `body` wrote; nil if it was not through in time.
func attempt(
  until deadline: Deadline, _ body: (_ output: Int32) -> Int32
) -> (error: Int32, output: [UInt8])? {
  guard let child = ChildProcess.fork(body) else { return (errno, []) }
  guard case .ended(let code, let output) = child.await(until: deadline) else { return nil }
  return (code, output)
}

/// The start of a program, by posix_spawn(3): Foundation's `Process` waits for ever where the loopback interface is down.
@safe struct ProgramStart: ~Copyable {
  private var words: [[UInt8]]
  private var actions = unsafe posix_spawn_file_actions_t()
  private var flags = EXTRACTFS_SPAWN_SETSIGMASK | EXTRACTFS_SPAWN_SETSIGDEF

  /// Names the program and its arguments.
  init(_ words: [[UInt8]]) {
    self.words = words
    unsafe posix_spawn_file_actions_init(&actions)
  }

  deinit {
    var actions = unsafe actions
    unsafe posix_spawn_file_actions_destroy(&actions)
  }

  /// Gives the program a descriptor: one of ours, or /dev/null.
  mutating func send(_ descriptor: Int32, to source: Int32?) {
    if let source {
      unsafe posix_spawn_file_actions_adddup2(&actions, source, descriptor)
    } else {
      unsafe posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
    }
  }

  /// Makes it a daemon: a session of its own, and no descriptor from this one on.
  mutating func detach(closingFrom first: Int32) {
    flags |= EXTRACTFS_SPAWN_SETSID
    unsafe posix_spawn_file_actions_addclosefrom_np(&actions, first)
  }

  /// Starts `file`, or the program's own name, with no signal blocked or ignored.
  /// - Returns: the process, or nil with errno set.
  mutating func run(file: String? = nil) -> pid_t? {
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    unsafe posix_spawnattr_setsigmask(&attributes, &signals)
    unsafe sigfillset(&signals)
    unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
    unsafe posix_spawnattr_setflags(&attributes, Int16(flags))
    var list: [UnsafeMutablePointer<CChar>?] = unsafe words.map { word in
      unsafe SystemPath(word).withCString { unsafe strdup($0) }
    }
    unsafe list.append(nil)
    defer { unsafe list.forEach { unsafe free($0) } }
    let name = file.map { SystemPath($0) } ?? SystemPath(words[0])
    var pid = pid_t()
    let error = unsafe name.withCString { name in
      unsafe posix_spawnp(&pid, name, &actions, &attributes, &list, environ)
    }
    errno = error
    return error == 0 ? pid : nil
  }
}
