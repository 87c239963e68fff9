// Client programs that run beside a test: started, awaited, and ended by their own id only.

import Foundation

/// A program that works on a mount while the test does something else.
public final class ClientProcess {
  private let program: ChildProgram
  private let errors: FileDescriptor
  private let command: String

  /// Starts a program; it is found in `PATH`. What it prints is dropped, but for a few lines of errors.
  public init(_ arguments: [String]) throws {
    command = arguments.joined(separator: " ")
    (program, errors) = try ChildProgram.withErrorPipe(arguments)
  }

  /// The program's process.
  public var processIdentifier: pid_t { program.processIdentifier }

  /// Ends the program at once, by SIGKILL; it may have ended already.
  public func kill() { program.send(SIGKILL) }

  /// Waits for the program's end.
  /// - Parameter limitSeconds: when these have passed, the program is killed and an error thrown: it hangs.
  public func wait(limitSeconds: Int = 60) throws -> CommandResult {
    guard let exitCode = try program.wait(milliseconds: Int32(limitSeconds * 1000)) else {
      kill()
      throw TestFailure("`\(command)` hung: killed after \(limitSeconds) s")
    }
    let text = String(decoding: errors.readAvailable(), as: UTF8.self)
    return CommandResult(command: command, exitCode: exitCode, output: "", errors: text)
  }
}
