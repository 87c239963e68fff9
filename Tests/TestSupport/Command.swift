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
    let program = try ChildProgram(
      arguments, environment: environment, in: directory ?? scratch,
      output: FileDescriptor(writing: output), errors: FileDescriptor(writing: errors))
    let command = arguments.joined(separator: " ")
    guard let exitCode = try program.wait(milliseconds: Int32(limitSeconds * 1000)) else {
      throw TestFailure("`\(command)` hung: killed after \(limitSeconds) s")
    }
    return CommandResult(
      command: command, exitCode: exitCode,
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
