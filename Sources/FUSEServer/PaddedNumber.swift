// A number of one thread's that others read often, on cache lines of its own.

import Synchronization

/// An atomic number that shares its cache lines with nothing else: two of them, since they are fetched in pairs.
struct PaddedNumber: ~Copyable {
  /// The number.
  let value = Atomic<Int>(0)
  private let padding: (Int, Int, Int, Int, Int, Int, Int, Int, Int, Int, Int, Int, Int, Int, Int) =
    (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}
