// What a system call refused, as an error that tests can compare.

import Glibc

/// A system call that failed.
public struct SystemFailure: Error, Equatable, CustomStringConvertible {
  /// The call and what it was given, for people.
  public let operation: String

  /// The errno it left.
  public let code: CInt

  /// Names the failure of the call that has just returned, from `errno`.
  public init(_ operation: String) {
    self.init(operation, code: errno)
  }

  /// Names a failure with a code known otherwise.
  public init(_ operation: String, code: CInt) {
    self.operation = operation
    self.code = code
  }

  /// The operation and the system's words for its error.
  public var description: String {
    unsafe "\(operation): \(String(cString: strerror(code)))"
  }
}

/// Something a test needed and did not get; the text is for people.
public struct TestFailure: Error, CustomStringConvertible {
  /// What was missing.
  public let description: String

  /// Describes what was missing.
  public init(_ description: String) {
    self.description = description
  }
}

/// Runs a system call again for as long as a signal interrupts it.
func retryingInterrupted(_ call: () -> Int) -> Int {
  while true {
    let result = call()
    if result >= 0 || errno != EINTR { return result }
  }
}
