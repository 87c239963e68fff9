// Completed bios that wait to be taken back: a ring with a fixed bound.

import Memory

/// A first-in first-out queue of bio numbers.
public struct CompletionRing: ~Copyable {
  private let places: FixedTable<BioIndex>
  private var start = 0
  /// Bios that wait.
  public private(set) var count = 0

  /// Makes an empty ring.
  /// - Parameter capacity: the most bios that can wait.
  public init(capacity: Int) {
    places = FixedTable(count: capacity, repeating: BioIndex(rawValue: .max))
  }

  /// Adds a bio at the end.
  public mutating func append(_ index: BioIndex) {
    precondition(count < places.count, "more bios completed than can be in flight")
    var place = start &+ count
    if place >= places.count { place &-= places.count }
    places[place] = index
    count &+= 1
  }

  /// Takes the oldest, or nil.
  public mutating func popFirst() -> BioIndex? {
    if count == 0 { return nil }
    let index = places[start]
    start = start &+ 1 == places.count ? 0 : start &+ 1
    count &-= 1
    return index
  }
}
