// Completed bios that wait to be taken back: a ring with a fixed bound.

import Block

/// A first-in first-out queue of bio numbers.
@safe struct CompletionRing: ~Copyable {
  private let places: UnsafeMutablePointer<BioIndex>
  private let capacity: Int
  private var start = 0
  private(set) var count = 0

  /// Makes an empty ring.
  init(capacity: Int) {
    self.capacity = capacity
    unsafe places = .allocate(capacity: capacity)
  }

  deinit { unsafe places.deallocate() }

  /// Adds a bio at the end.
  mutating func append(_ index: BioIndex) {
    precondition(count < capacity, "more bios completed than can be in flight")
    unsafe (places + (start &+ count) % capacity).initialize(to: index)
    count &+= 1
  }

  /// Takes the oldest, or nil.
  mutating func popFirst() -> BioIndex? {
    if count == 0 { return nil }
    let index = unsafe places[start]
    start = (start &+ 1) % capacity
    count &-= 1
    return index
  }
}
