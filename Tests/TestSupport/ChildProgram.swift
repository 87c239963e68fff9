// Another program: started by posix_spawn(3), awaited through its pidfd, and ended by its own id only.
//
// Foundation's `Process` is not used: it keeps the descriptors that it is given, and lists its own on each start, which
// crashes where there are more than a thousand or where other threads open and close some meanwhile.

import CSystem
import Foundation
import Synchronization

/// A running program, until it has been awaited.
public final class ChildProgram: Sendable {
  /// The program's process.
  public let processIdentifier: pid_t

  private let descriptor: FileDescriptor
  /// The exit code once the process has been reaped: from then on its id may be another's.
  private let reaped = Mutex<Int?>(nil)

  /// Starts a program, found in `PATH` unless its name has a slash, with no signal blocked or ignored.
  /// - Parameters:
  ///   - directory: where it runs; nil is where this process does.
  ///   - output: its standard output; nil is /dev/null. As is its standard input.
  ///   - errors: its standard error; nil is /dev/null.
  /// - Throws: `SystemFailure` if it cannot be started.
  public init(
    _ arguments: [String], environment: [String: String] = [:], in directory: URL? = nil,
    output: FileDescriptor? = nil, errors: FileDescriptor? = nil
  ) throws {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    if let directory {
      unsafe posix_spawn_file_actions_addchdir_np(&actions, directory.path)
    }
    unsafe posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    for (number, file) in [(STDOUT_FILENO, output), (STDERR_FILENO, errors)] {
      if let file {
        unsafe posix_spawn_file_actions_adddup2(&actions, file.number, number)
      } else {
        unsafe posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_WRONLY, 0)
      }
    }
    unsafe posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1)

    // Tests run on threads of a pool that blocks nearly all signals: a child would never see SIGTERM.
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    unsafe posix_spawnattr_setsigmask(&attributes, &signals)
    unsafe sigfillset(&signals)
    unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
    unsafe posix_spawnattr_setflags(
      &attributes, Int16(EXTRACTFS_SPAWN_SETSIGMASK | EXTRACTFS_SPAWN_SETSIGDEF))

    let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }
      .map { "\($0.key)=\($0.value)" }
    var process = pid_t()
    let error = unsafe withCStrings(arguments) { words in
      unsafe withCStrings(variables) { variables in
        unsafe posix_spawnp(&process, words[0]!, &actions, &attributes, words, variables)
      }
    }
    if error != 0 { throw SystemFailure("start \(arguments.first ?? "")", code: error) }
    processIdentifier = process
    descriptor = try FileDescriptor(pidfd_open(process, 0), "pidfd_open")
  }

  /// Whether the process has not ended yet.
  public var isRunning: Bool { (try? wait(milliseconds: 0)) == nil }

  /// Sends a signal, unless the process has ended.
  public func send(_ signal: CInt) {
    reaped.withLock { if $0 == nil { _ = Glibc.kill(processIdentifier, signal) } }
  }

  /// Waits for the end; any number of threads may.
  /// - Parameter milliseconds: how long at most; -1 is for ever.
  /// - Returns: the exit code, or 128 plus the signal that ended it, as shells have it; nil if it still runs.
  /// - Throws: `SystemFailure` if the kernel cannot tell.
  public func wait(milliseconds: Int32) throws -> Int? {
    var look = pollfd(fd: descriptor.number, events: Int16(POLLIN), revents: 0)
    let start = DispatchTime.now()
    while true {
      let passed = Int32(
        clamping: (DispatchTime.now().uptimeNanoseconds - start.uptimeNanoseconds) / 1_000_000)
      let ready = unsafe poll(&look, 1, milliseconds < 0 ? -1 : max(0, milliseconds - passed))
      if ready == 0 { return nil }
      if ready > 0 { return try reap() }
      if errno != EINTR { throw SystemFailure("poll of process \(processIdentifier)") }
    }
  }

  private func reap() throws -> Int {
    try reaped.withLock { code in
      if let code { return code }
      var status: CInt = 0
      while unsafe waitpid(processIdentifier, &status, 0) < 0 {
        if errno != EINTR { throw SystemFailure("wait for process \(processIdentifier)") }
      }
      let signal = Int(status & 0x7f)
      let found = signal == 0 ? Int(status >> 8) & 0xff : 128 + signal
      code = found
      return found
    }
  }

  /// Starts a program whose standard error is a pipe that nobody else holds open.
  static func withErrorPipe(_ arguments: [String]) throws -> (ChildProgram, FileDescriptor) {
    let pipe = try FileDescriptor.pipe()
    return (try ChildProgram(arguments, errors: pipe.write), pipe.read)
  }

  /// Ends a process that nobody has awaited; one that waits for a dead mount is left behind.
  deinit {
    if isRunning {
      send(SIGKILL)
      _ = try? wait(milliseconds: 10_000)
    }
  }
}

/// A descriptor that is closed with its last user.
public final class FileDescriptor: Sendable {
  /// What system calls name it by.
  public let number: CInt

  /// Takes over what a system call returned.
  /// - Throws: `SystemFailure` if that was -1.
  public init(_ number: CInt, _ call: String) throws {
    if number < 0 { throw SystemFailure(call) }
    self.number = number
  }

  /// Makes or empties a file for writing.
  public convenience init(writing file: URL) throws {
    try self.init(
      unsafe open(file.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600), file.path)
  }

  /// Both ends of a pipe.
  public static func pipe() throws -> (read: FileDescriptor, write: FileDescriptor) {
    var ends: [CInt] = [-1, -1]
    if unsafe pipe2(&ends, O_CLOEXEC) != 0 { throw SystemFailure("pipe2") }
    return (try FileDescriptor(ends[0], "pipe2"), try FileDescriptor(ends[1], "pipe2"))
  }

  /// Waits for bytes and reads what there is; nothing at the end of file.
  public func readAvailable() -> [UInt8] {
    unsafe [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
      var result = -1
      repeat {
        result = unsafe read(number, buffer.baseAddress, buffer.count)
      } while result < 0 && errno == EINTR
      count = max(0, result)
    }
  }

  deinit { close(number) }
}

/// Calls `body` with the words as C has them: an array of strings that a null pointer ends.
private func withCStrings<Result>(
  _ words: [String],
  _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) throws -> Result
) rethrows -> Result {
  var list = unsafe words.map { unsafe strdup($0) } + [nil]
  defer { unsafe list.forEach { unsafe free($0) } }
  return unsafe try list.withUnsafeMutableBufferPointer { unsafe try body($0.baseAddress!) }
}
