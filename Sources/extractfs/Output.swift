// What goes to the terminal: results to standard output, one line of trouble to standard error.

import ArgumentParser
import FUSEServer
import Glibc
import Memory
import Volumes

/// How a command ends when it did not do what it was asked for.
enum Exit {
  /// The operation failed.
  static let failed = ExitCode(1)
  /// A check found a defect.
  static let defect = ExitCode(2)
  /// The command line is wrong.
  static let usage = ExitCode(64)
}

/// Writes a line to standard error, after the program's name. If that cannot be written, nobody is left to tell.
func complain(_ message: String) {
  let line = "extractfs: \(ArgumentText.shownMessage(message))\n"
  _ = StreamWriter.write(Array(line.utf8), to: STDERR_FILENO)
}

/// Says what is wrong and gives the error that ends the command.
func failure(_ message: String, code: ExitCode = Exit.failed) -> ExitCode {
  complain(message)
  return code
}

/// Writes text to standard output as it is, or ends the command: a result that nobody can read is a failure.
func emit(_ text: String) { Results.write(Array(text.utf8)) }

/// Prints a document of dictionaries, arrays, strings and numbers as JSON.
func emitJSON(_ document: [String: Any]) { emit(JSONText.make(document)) }

/// The text of an errno value.
func describe(_ number: Int32) -> String { unsafe String(cString: strerror(number)) }

/// Standard output as the results' way out.
enum Results {
  /// Writes bytes, or ends the command.
  /// - Parameter descriptor: a file that takes them instead, or nil.
  static func write(_ bytes: [UInt8], to descriptor: Int32? = nil) {
    if let error = StreamWriter.write(bytes, to: descriptor ?? STDOUT_FILENO) { end(error) }
  }

  /// The last word of a command that did its work: some filesystems tell only now that there was no room.
  static func finish() {
    if close(STDOUT_FILENO) != 0 && errno != EBADF && errno != EINTR {
      end(Errno(rawValue: errno))
    }
  }

  /// A reader that has gone is no failure to talk of: the command ends by SIGPIPE, as others do, unless its caller has
  /// that ignored.
  private static func end(_ error: Errno) -> Never {
    if error.rawValue == EPIPE && !Inheritance.ignoresBrokenPipes {
      signal(SIGPIPE, SIG_DFL)
      kill(getpid(), SIGPIPE)
    }
    complain("standard output: \(describe(error.rawValue))")
    exit(Exit.failed.rawValue)
  }
}
