// Work that may wait, done one after the other on a thread of its own.

import Dispatch
import Memory

/// A serial queue with a thread of its own, for as long as the process runs.
///
/// It stands in for a queue of libdispatch, whose pool starts no thread while it deems the CPUs busy, and looks again
/// once a second: with two workers and eight readers at work, `stats` and `freeze` were seen to wait until the readers
/// had ended.
final class SerialQueue: Sendable {
  private let waiting = Guarded<[@Sendable () -> Void]>([])
  private let filled = DispatchSemaphore(value: 0)

  /// Starts the thread.
  /// - Parameter name: at most 15 bytes, as thread names are.
  init(name: String) {
    _ = startThread(name: name) { [self] in
      while true {
        filled.wait()
        waiting.withLock { $0.isEmpty ? nil : $0.removeFirst() }?()
      }
    }
  }

  /// Does a piece of work when all that came before is done. As many wait as clients do.
  func async(_ work: @escaping @Sendable () -> Void) {
    waiting.withLock { $0.append(work) }
    filled.signal()
  }
}
