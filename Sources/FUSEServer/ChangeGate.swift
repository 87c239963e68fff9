// The one gate of a mount: whatever changes the volume enters it, and a freeze closes it.

import Memory
import Synchronization

/// Counts changes under way, and can be closed to new ones.
///
/// A change is counted first and looks then whether the gate is closed; who closes it marks it first and looks then at
/// the counts. So no change can slip through between the two: either it is seen, or it sees. Each thread that brings
/// changes has a lane of its own, so that counting touches no cache line of another's.
///
/// Kernel: `sb_start_write()` and `freeze_super()`, fs/super.c, v6.6, which count per CPU in the same way.
final class ChangeGate: Sendable {
  private let lanes: FixedTable<PaddedNumber>
  private let closed = Atomic<Bool>(false)
  private let whenEmpty = Guarded<Waiting?>(nil)

  /// Who waits for the gate to be empty.
  ///
  /// A structure, since Swift 6.3 wraps a bare function once more each time that a lock hands it out and takes it back:
  /// after some ten thousand looks at it, letting it go overflowed the stack.
  private struct Waiting: Sendable {
    let tell: @Sendable (_ isClosed: Bool) -> Void
  }

  /// Makes an open gate.
  /// - Parameter laneCount: threads that bring changes.
  init(laneCount: Int) { lanes = FixedTable(count: laneCount) { _ in PaddedNumber() } }

  /// Whether changes are held back; one relaxed load.
  var isClosed: Bool { closed.load(ordering: .relaxed) }

  /// Counts a change in, unless the gate is closed.
  /// - Returns: whether it is in; then `leave` is owed, with the same lane.
  func enter(lane: Int) -> Bool {
    lanes[lane].value.wrappingAdd(1, ordering: .sequentiallyConsistent)
    if !closed.load(ordering: .sequentiallyConsistent) { return true }
    leave(lane: lane)
    return false
  }

  /// Counts a change out.
  func leave(lane: Int) {
    lanes[lane].value.wrappingSubtract(1, ordering: .sequentiallyConsistent)
    if closed.load(ordering: .sequentiallyConsistent) { noteLeft() }
  }

  /// Closes the gate to new changes.
  /// - Parameter whenEmpty: called once, on any thread: with true when no change is under way any more, with false if
  ///   the gate was opened again before.
  func close(whenEmpty action: @escaping @Sendable (_ isClosed: Bool) -> Void) {
    let earlier = whenEmpty.withLock { waiting in
      let earlier = waiting
      waiting = Waiting { isClosed in
        earlier?.tell(isClosed)
        action(isClosed)
      }
      return earlier != nil
    }
    if earlier { return }
    closed.store(true, ordering: .sequentiallyConsistent)
    noteLeft()
  }

  /// Opens the gate; who waits for it to be empty waits no longer.
  func open() {
    closed.store(false, ordering: .sequentiallyConsistent)
    let told = whenEmpty.withLock { waiting -> Waiting? in
      defer { waiting = nil }
      return waiting
    }
    told?.tell(false)
  }

  /// If nothing is under way in a closed gate, tells who waits for that.
  ///
  /// The counts are read under the lock: who waits now has closed the gate before, so every change that is in was
  /// counted before, and is seen. A lane's count can only fall by then, but for changes that look and leave again.
  private func noteLeft() {
    let told = whenEmpty.withLock { waiting -> Waiting? in
      if waiting == nil || !closed.load(ordering: .sequentiallyConsistent) { return nil }
      for index in 0..<lanes.count
      where lanes[index].value.load(ordering: .sequentiallyConsistent) != 0 { return nil }
      defer { waiting = nil }
      return waiting
    }
    told?.tell(true)
  }
}
