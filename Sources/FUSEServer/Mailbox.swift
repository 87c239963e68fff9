// What other threads have to tell a worker.

import CSystem
import DirectIO
import Glibc
import Memory
import Synchronization

/// A message to a worker; numbers are request slots.
enum Letter {
  /// A file's gate has let a parked request in.
  case resume(Slot)
  /// Another thread has put a request's answer in its place: it can leave.
  case commit(Slot)
  /// Another worker passes a request on that it has not looked at.
  case serve(Slot)
  /// What another thread did for a request is through: the rest is this worker's.
  case run(@Sendable (Worker) -> Void)
}

/// A worker's letters, and the bell that wakes it. Anyone posts; the worker alone opens.
final class Mailbox: Sendable {
  /// Readable while the bell has been rung and not yet cleared.
  let bell: Int32
  private let letters = Guarded<[Letter]>([])
  private let filled = Atomic<Bool>(false)
  /// Whether the worker must be woken for a letter. Set before it looks for letters for the last time.
  private let sleeping = Atomic<Bool>(true)

  /// Makes an empty mailbox.
  /// - Throws: the errno of eventfd(2).
  init() throws(Errno) {
    bell = eventfd(0, EXTRACTFS_EFD_FLAGS)
    if bell < 0 { throw Errno(rawValue: errno) }
  }

  deinit { close(bell) }

  /// Puts a letter in, and wakes the worker if it sleeps.
  func post(_ letter: Letter) { post([letter]) }

  /// Puts letters in, and wakes the worker if it sleeps.
  func post(_ new: [Letter]) {
    letters.withLock { $0.append(contentsOf: new) }
    filled.store(true, ordering: .sequentiallyConsistent)
    if sleeping.load(ordering: .sequentiallyConsistent) { ring() }
  }

  /// Wakes the worker, letter or not.
  func ring() {
    var one: UInt64 = 1
    _ = unsafe write(bell, &one, 8)
  }

  /// Takes back rings that have been noticed.
  func clearBell() {
    var count: UInt64 = 0
    _ = unsafe read(bell, &count, 8)
  }

  /// Whether there are letters; one relaxed load.
  var isFilled: Bool { filled.load(ordering: .relaxed) }

  /// Takes all letters out.
  func open() -> [Letter] {
    if !isFilled { return [] }
    filled.store(false, ordering: .sequentiallyConsistent)
    return letters.withLock { letters in
      let taken = letters
      letters.removeAll(keepingCapacity: true)
      return taken
    }
  }

  /// To be called before sleeping.
  /// - Returns: false if a letter came first: then there is no sleep.
  func fallAsleep() -> Bool {
    sleeping.store(true, ordering: .sequentiallyConsistent)
    if filled.load(ordering: .sequentiallyConsistent) {
      sleeping.store(false, ordering: .relaxed)
      return false
    }
    return true
  }

  /// To be called when awake: from here on letters are noticed without the bell.
  func wakeUp() { sleeping.store(false, ordering: .relaxed) }
}
