// The one place where a system call that a signal cut short is made again.

import Glibc

/// Makes a system call again for as long as it fails with EINTR.
/// - Parameter call: answers with a negative number, and `errno`, where it fails.
/// - Returns: what the call answered at last; `errno` is as it left it.
@inline(__always)
public func retryingInterrupted<Answer: SignedInteger>(_ call: () -> Answer) -> Answer {
  while true {
    let answer = call()
    if answer >= 0 || errno != EINTR { return answer }
  }
}
