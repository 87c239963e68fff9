// Ctrl-C for commands that go on until told to stop: the first one ends them in order, the second at once.

import Glibc
import Synchronization

/// Whether this process was asked to end.
enum Interruption {
  private static let flag = Atomic<Bool>(false)

  /// SIGINT, SIGTERM and SIGHUP are noted from now on, each once.
  static func await() {
    flag.store(false, ordering: .relaxed)
    var action = sigaction()
    unsafe action.__sigaction_handler.sa_handler = { _ in
      Interruption.flag.store(true, ordering: .relaxed)
    }
    action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
    for signal in [SIGINT, SIGTERM, SIGHUP] { unsafe sigaction(signal, &action, nil) }
  }

  /// Whether one has come.
  static var hasCome: Bool { flag.load(ordering: .relaxed) }
}
