// What goes to the terminal: results to standard output, one line of trouble to standard error.

import ArgumentParser
import Foundation
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

/// Writes a line to standard error, after the program's name.
func complain(_ message: String) {
  FileHandle.standardError.write(Data("extractfs: \(message)\n".utf8))
}

/// Says what is wrong and gives the error that ends the command.
func failure(_ message: String, code: ExitCode = Exit.failed) -> ExitCode {
  complain(message)
  return code
}

/// Writes text to standard output as it is.
func emit(_ text: String) { FileHandle.standardOutput.write(Data(text.utf8)) }

/// Prints a document of dictionaries, arrays, strings and numbers as JSON.
func emitJSON(_ document: [String: Any]) { emit(JSONText.make(document)) }
