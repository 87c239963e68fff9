// Running other programs, with their output kept and their time bounded.

import Foundation
import Synchronization

/// What a program that has ended left behind.
public struct CommandResult: Sendable, CustomStringConvertible {
  /// The command line, for people.
  public let command: String

  /// The exit code, or 128 plus the signal that ended it, as shells have it.
  public let exitCode: Int

  /// What it wrote to standard output.
  public let output: String

  /// What it wrote to standard error.
  public let errors: String

  /// The command, how it ended and all that it said.
  public var description: String {
    "`\(command)` ended with \(exitCode)\n\(output)\(errors)"
  }

  /// Returns itself if the exit code is 0, else throws a `TestFailure` with all that was said.
  @discardableResult
  public func checked() throws -> CommandResult {
    if exitCode != 0 { throw TestFailure(description) }
    return self
  }
}

/// Runs a program to its end; it is found in `PATH`.
///
/// Output goes to files, not pipes: a daemon that a program leaves behind then holds up nobody.
/// - Parameter limitSeconds: when these have passed, the program is killed and an error thrown: it hangs.
@discardableResult
public func run(
  _ arguments: [String], environment: [String: String] = [:], in directory: URL? = nil,
  limitSeconds: Int = 120
) throws -> CommandResult {
  try withTemporaryDirectory { scratch in
    let (output, errors) = (scratch.appending(path: "output"), scratch.appending(path: "errors"))
    for file in [output, errors] {
      guard FileManager.default.createFile(atPath: file.path, contents: nil) else {
        throw TestFailure("cannot make \(file.path)")
      }
    }
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.currentDirectoryURL = directory ?? scratch
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = try FileHandle(forWritingTo: errors)
    let ended = DispatchSemaphore(value: 0)
    process.terminationHandler = { _ in ended.signal() }
    try process.runWithSignals()
    let command = arguments.joined(separator: " ")
    if ended.wait(timeout: .now() + .seconds(limitSeconds)) == .timedOut {
      kill(process.processIdentifier, SIGKILL)
      throw TestFailure("`\(command)` hung: killed after \(limitSeconds) s")
    }
    return CommandResult(
      command: command, exitCode: process.exitCode,
      output: String(decoding: try Data(contentsOf: output), as: UTF8.self),
      errors: String(decoding: try Data(contentsOf: errors), as: UTF8.self))
  }
}

/// Runs a line of shell; see `run(_:environment:in:limitSeconds:)`.
@discardableResult
public func shell(
  _ line: String, environment: [String: String] = [:], in directory: URL? = nil,
  limitSeconds: Int = 120
) throws -> CommandResult {
  try run(
    ["sh", "-c", line], environment: environment, in: directory, limitSeconds: limitSeconds)
}

extension Process {
  /// Starts the process with no signal blocked.
  ///
  /// Tests run on threads of a pool that blocks nearly all signals, and a child inherits that: it would
  /// never see SIGTERM.
  func runWithSignals() throws {
    var none = sigset_t()
    var former = sigset_t()
    unsafe sigemptyset(&none)
    unsafe pthread_sigmask(SIG_SETMASK, &none, &former)
    defer { _ = unsafe pthread_sigmask(SIG_SETMASK, &former, nil) }
    try run()
  }

  /// The exit code as shells have it. Only for a process that has ended.
  var exitCode: Int {
    Int(terminationStatus) + (terminationReason == .uncaughtSignal ? 128 : 0)
  }
}

/// Runs `body` on `count` threads of their own at once, and throws the first error after all have ended.
///
/// The threads are real ones, so that more of them than CPUs can wait in system calls.
public func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
  let failures = Mutex<[any Error]>([])
  let group = DispatchGroup()
  for index in 0..<count {
    group.enter()
    let thread = Thread {
      do { try body(index) } catch { failures.withLock { $0.append(error) } }
      group.leave()
    }
    thread.start()
  }
  group.wait()
  if let first = failures.withLock({ $0.first }) { throw first }
}
