// Client programs that run beside a test: started, awaited, and ended by their own id only.

import Foundation

/// A program that works on a mount while the test does something else.
public final class ClientProcess {
  private let process = Process()
  private let errors = Pipe()
  private let command: String

  /// Signalled once, when the program has ended.
  private let ended = DispatchSemaphore(value: 0)

  /// Starts a program; it is found in `PATH`. What it prints is dropped, but for a few lines of errors.
  public init(_ arguments: [String]) throws {
    command = arguments.joined(separator: " ")
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = errors
    process.terminationHandler = { [ended] _ in ended.signal() }
    try process.runWithSignals()
  }

  /// The program's process.
  public var processIdentifier: pid_t { process.processIdentifier }

  /// Ends the program at once, by SIGKILL; it may have ended already.
  public func kill() {
    if process.isRunning { Glibc.kill(process.processIdentifier, SIGKILL) }
  }

  /// Waits for the program's end.
  /// - Parameter limitSeconds: when these have passed, the program is killed and an error thrown: it hangs.
  public func wait(limitSeconds: Int = 60) throws -> CommandResult {
    if ended.wait(timeout: .now() + .seconds(limitSeconds)) == .timedOut {
      kill()
      throw TestFailure("`\(command)` hung: killed after \(limitSeconds) s")
    }
    let text = String(decoding: errors.fileHandleForReading.availableData, as: UTF8.self)
    return CommandResult(command: command, exitCode: process.exitCode, output: "", errors: text)
  }
}
