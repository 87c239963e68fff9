// The most pages that all workers had pinned at one moment.

import Memory
import Synchronization
import Testing

@Suite("The maximum of pinned pages")
struct PinnedMaximumTests {
  @Test("is that of one moment, not of each worker's best")
  func alternating() {
    let counters = CounterSet(count: 2)
    let (one, other) = (counters.blocks[0], counters.blocks[1])
    for _ in 0..<3 {
      one.addPinned(5)
      one.addUnpinned(5)
      other.addPinned(7)
      other.addUnpinned(7)
    }
    #expect(counters.sum(.simPinnedMaximum) == 7)
    // Both below what they had before, and together more.
    one.addPinned(4)
    other.addPinned(6)
    other.addUnpinned(6)
    one.addUnpinned(4)
    #expect(counters.sum(.simPinnedMaximum) == 10)
    #expect(counters.sum(.simPinAcquired) == 46 && counters.sum(.simPinReleased) == 46)
  }

  @Test("never exceeds what threads can have held together")
  func threads() async {
    let counters = CounterSet(count: 4)
    await withTaskGroup(of: Void.self) { group in
      for block in counters.blocks {
        group.addTask {
          for _ in 0..<20_000 {
            block.addPinned(3)
            block.addUnpinned(3)
          }
        }
      }
    }
    #expect((3...12).contains(counters.sum(.simPinnedMaximum)))
  }
}
