// The numbers that requests go by, each a type of its own.

/// A request slot of the mount: a buffer, a state, and a line of the ledger. In one engine's hands at a time.
public struct Slot: Equatable, Hashable, Sendable, ExpressibleByIntegerLiteral {
  /// Place in the mount's tables.
  public let number: Int

  /// Names a slot.
  @inlinable public init(_ number: Int) { self.number = number }
  /// Names a slot.
  @inlinable public init(integerLiteral number: Int) { self.number = number }
}

/// What the kernel calls a request; never reused while it is under way.
///
/// Kernel: `unique` of `struct fuse_in_header`, include/uapi/linux/fuse.h.
public struct RequestNumber: Equatable, Hashable, Sendable, ExpressibleByIntegerLiteral,
  CustomStringConvertible
{
  /// The number.
  public let rawValue: UInt64

  /// Wraps a number.
  @inlinable public init(_ rawValue: UInt64) { self.rawValue = rawValue }
  /// Wraps a number.
  @inlinable public init(integerLiteral rawValue: UInt64) { self.rawValue = rawValue }

  /// The digits.
  public var description: String { String(rawValue) }
}

/// A line of the ledger; each slot has one.
public struct LedgerLine: Equatable, Hashable, Sendable {
  /// Place in the ledger.
  let number: Int

  /// The line of a slot.
  init(of slot: Slot) { number = slot.number }
}

/// Slots in the order in which they came, linked through their states: a queue needs no memory of its own, and can
/// never hold more than there are slots. A slot stands in one queue at a time.
struct SlotQueue {
  private var first = -1
  private var last = -1

  var isEmpty: Bool { first < 0 }

  mutating func append(_ slot: Slot, in table: RequestTable) {
    table[slot].next = -1
    if first < 0 { first = slot.number } else { table[Slot(last)].next = slot.number }
    last = slot.number
  }

  /// The oldest, which stays, or nil.
  var front: Slot? { first < 0 ? nil : Slot(first) }

  mutating func popFirst(in table: RequestTable) -> Slot? {
    if first < 0 { return nil }
    let slot = Slot(first)
    first = table[slot].next
    return slot
  }
}
