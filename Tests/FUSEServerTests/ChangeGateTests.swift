// The gate that a freeze closes: nothing slips through between its being closed and its being found empty.

import Glibc
import Memory
import Synchronization
import Testing

@testable import FUSEServer

@Suite("The gate of changes")
struct ChangeGateTests {
  /// What a closing was told, or nil.
  private final class Told: Sendable {
    private let word = Atomic<Int>(-1)
    var value: Bool? {
      let word = word.load(ordering: .sequentiallyConsistent)
      return word < 0 ? nil : word == 1
    }
    func tell(_ isClosed: Bool) { word.store(isClosed ? 1 : 0, ordering: .sequentiallyConsistent) }
  }

  @Test("is empty at once when nothing is under way")
  func isEmptyAtOnce() {
    let gate = ChangeGate(laneCount: 2)
    let told = Told()
    gate.close { told.tell($0) }
    #expect(told.value == true)
    #expect(gate.isClosed)
    #expect(!gate.enter(lane: 0))
    gate.open()
    #expect(gate.enter(lane: 0))
  }

  @Test("waits for the changes under way in every lane, and for no other")
  func waits() {
    let gate = ChangeGate(laneCount: 3)
    let told = Told()
    #expect(gate.enter(lane: 0) && gate.enter(lane: 2))
    gate.close { told.tell($0) }
    #expect(told.value == nil)
    #expect(!gate.enter(lane: 1))
    gate.leave(lane: 2)
    #expect(told.value == nil)
    gate.leave(lane: 0)
    #expect(told.value == true)
  }

  @Test("tells who waits that it was opened before it was empty")
  func isOpenedBefore() {
    let gate = ChangeGate(laneCount: 1)
    let (first, second) = (Told(), Told())
    #expect(gate.enter(lane: 0))
    gate.close { first.tell($0) }
    gate.close { second.tell($0) }
    gate.open()
    #expect(first.value == false && second.value == false)
    gate.leave(lane: 0)
    #expect(first.value == false)
  }

  /// Each look once wrapped who waits once more, until letting go of it overflowed the stack.
  @Test("tells who waits, however often somebody has knocked meanwhile")
  func isKnockedAt() {
    let gate = ChangeGate(laneCount: 2)
    let told = Told()
    #expect(gate.enter(lane: 0))
    gate.close { told.tell($0) }
    let entered = (0..<200_000).count { _ in gate.enter(lane: 1) }
    #expect(entered == 0 && told.value == nil)
    gate.leave(lane: 0)
    #expect(told.value == true)
  }

  @Test("lets no change run while it is closed, whatever the threads do")
  func holdsUnderLoad() {
    let gate = ChangeGate(laneCount: 2)
    let shared = Observed()
    let threads = (0..<2).map { lane in
      startThread(name: "changes-\(lane)") {
        while !shared.stop.load(ordering: .relaxed) {
          if !gate.enter(lane: lane) { continue }
          if shared.isFrozen.load(ordering: .sequentiallyConsistent) {
            shared.violations.wrappingAdd(1, ordering: .relaxed)
          }
          gate.leave(lane: lane)
        }
      }
    }
    for _ in 0..<2000 {
      gate.close { if $0 { shared.isFrozen.store(true, ordering: .sequentiallyConsistent) } }
      while !shared.isFrozen.load(ordering: .sequentiallyConsistent) { sched_yield() }
      sched_yield()
      shared.isFrozen.store(false, ordering: .sequentiallyConsistent)
      gate.open()
    }
    shared.stop.store(true, ordering: .relaxed)
    for thread in threads { pthread_join(thread, nil) }
    #expect(shared.violations.load(ordering: .relaxed) == 0)
  }
}

/// What the threads of a test share.
private final class Observed: Sendable {
  let isFrozen = Atomic<Bool>(false)
  let violations = Atomic<Int>(0)
  let stop = Atomic<Bool>(false)
}
