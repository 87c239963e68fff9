// Keeps read-modify-write of a partial block apart from every other write, so that no update is lost.

import Memory
import Synchronization

/// One file's gate. Whole-block writes share it; a write with a partial block, and whatever zeroes or discards, has it
/// alone. Nobody blocks: who cannot enter is parked, and woken when the way is free.
///
/// Shared entry and exit are one atomic add each; only parking takes the lock. A parked exclusive request
/// keeps newcomers out, so it is never starved.
///
/// Kernel: the inode lock, which ext4 takes exclusively for unaligned direct writes.
public final class WriteGate: Sendable {
  /// A request that waits for the gate.
  public struct Waiter: Sendable {
    /// The worker that owns it.
    public let worker: Int
    /// The request's slot.
    public let slot: Slot
    /// Whether it needs the gate alone.
    public let isExclusive: Bool

    /// Names a request.
    public init(worker: Int, slot: Slot, isExclusive: Bool) {
      self.worker = worker
      self.slot = slot
      self.isExclusive = isExclusive
    }
  }

  /// Low bits: shared holders. Above them: exclusively held, and somebody is parked.
  private let state = Atomic<Int>(0)
  /// A slot waits in one gate at most, and there once: never more than there are slots.
  private let parked = Guarded<[Waiter]>([])
  private let age = Atomic<Int>(0)
  private let wake: @Sendable (Waiter) -> Void

  private static let exclusive = 1 << 40
  private static let contended = 1 << 41

  /// Makes an open gate.
  /// - Parameter wake: called for each waiter that may try again, from the thread that left.
  public init(wake: @escaping @Sendable (Waiter) -> Void) { self.wake = wake }

  /// How often the file's extents have changed. Who asks where a range lies reads this first: a request that enters
  /// the gate at another age was told of blocks that may be somebody else's, or no longer unwritten.
  public var mappingAge: Int { age.load(ordering: .acquiring) }

  /// Says that the file's extents have changed. To be called before the change's request leaves the gate.
  public func noteMappingChange() { age.wrappingAdd(1, ordering: .releasing) }

  /// Tries to enter; parks the waiter if the way is not free.
  /// - Returns: whether the gate was entered.
  public func enter(_ waiter: Waiter) -> Bool {
    if tryEnter(exclusive: waiter.isExclusive, overtaking: false) { return true }
    return parked.withLock { queue in
      state.bitwiseOr(Self.contended, ordering: .sequentiallyConsistent)
      // The holder may have left before the mark was seen: try once more under the lock.
      if queue.isEmpty && tryEnter(exclusive: waiter.isExclusive, overtaking: true) {
        state.bitwiseAnd(~Self.contended, ordering: .sequentiallyConsistent)
        return true
      }
      queue.append(waiter)
      return false
    }
  }

  /// Leaves the gate and lets in who can enter now.
  public func leave(exclusive: Bool) {
    let amount = exclusive ? Self.exclusive : 1
    let left = state.wrappingSubtract(amount, ordering: .sequentiallyConsistent).newValue
    if left & Self.contended != 0 { admit() }
  }

  private func tryEnter(exclusive: Bool, overtaking: Bool) -> Bool {
    var seen = state.load(ordering: .relaxed)
    while true {
      if !overtaking && seen & Self.contended != 0 { return false }
      let holders = seen & ~Self.contended
      if exclusive ? holders != 0 : holders >= Self.exclusive { return false }
      let (done, original) = state.weakCompareExchange(
        expected: seen, desired: seen + (exclusive ? Self.exclusive : 1),
        ordering: .sequentiallyConsistent)
      if done { return true }
      seen = original
    }
  }

  /// Enters parked requests in their order, on their behalf, and wakes their workers.
  private func admit() {
    let admitted: [Waiter] = parked.withLock { queue in
      var count = 0
      while count < queue.count,
        tryEnter(exclusive: queue[count].isExclusive, overtaking: true)
      {
        count += 1
      }
      let admitted = Array(queue.prefix(count))
      queue.removeFirst(count)
      if queue.isEmpty { state.bitwiseAnd(~Self.contended, ordering: .sequentiallyConsistent) }
      return admitted
    }
    for waiter in admitted { wake(waiter) }
  }
}
