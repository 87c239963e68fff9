// The mount's memory, registered with the kernel once, whatever the number of rings.

import Block
import Glibc
import Memory
import Ring
import Synchronization

/// Registers a page table's memory with one ring that does nothing else, and clones it to the others; where the kernel
/// cannot do that (before Linux 6.12), with each ring.
final class SharedBuffers: Sendable {
  /// A ring that only holds buffers.
  private final class Holder: @unchecked Sendable {
    // Guard of the unchecked Sendable: used under the lock of `state` only, and made for any thread.
    let ring: IORing
    init(_ ring: IORing) { self.ring = ring }
  }

  private enum State: Sendable {
    case untried
    case held(Holder)
    /// The kernel clones none: each ring has its own.
    case oneByOne
    case refused
  }

  private let state = Guarded<State>(.untried)
  private let noteRefusal: @Sendable (Errno) -> Void

  init(noteRefusal: @escaping @Sendable (Errno) -> Void) { self.noteRefusal = noteRefusal }

  /// Makes the memory the fixed buffers of a ring.
  /// - Returns: whether that is so now.
  func register(on ring: IORing, in context: MemoryContext) -> Bool {
    // The lock is for the first to come only, and held by whoever comes first with bios: no hot path.
    let lent = Lent(ring: ring)
    let outcome = state.withLock { state -> Outcome in
      Self.register(lent.ring, in: context, &state)
    }
    if outcome.pinsMore { context.counters.add(.fixedBufferPages, context.pages.populatedCount) }
    if let error = outcome.refusal { noteRefusal(error) }
    return outcome.isRegistered
  }

  /// The caller's ring, on its way through the lock.
  private struct Lent: @unchecked Sendable {
    // Guard of the unchecked Sendable: the lock's body runs on the caller's thread.
    let ring: IORing
  }

  private struct Outcome: Sendable {
    var isRegistered = false
    var pinsMore = false
    /// Why not; told by the first only.
    var refusal: Errno?
  }

  private static func register(
    _ ring: IORing, in context: MemoryContext, _ state: inout State
  ) -> Outcome {
    let pages = context.pages
    let memory = unsafe pages.memory(
      at: Page(0), offset: 0, length: pages.populatedCount * pageSize)
    do throws(Errno) {
      switch state {
      case .refused: return Outcome()
      case .held(let holder):
        try ring.cloneBuffers(of: holder.ring)
        return Outcome(isRegistered: true)
      case .oneByOne:
        unsafe try ring.register(buffer: memory)
        return Outcome(isRegistered: true, pinsMore: true)
      case .untried:
        let holder = try Holder(IORing(entries: 8, isWide: false, use: .anyThread))
        unsafe try holder.ring.register(buffer: memory)
        state = .held(holder)
        do throws(Errno) {
          try ring.cloneBuffers(of: holder.ring)
        } catch {
          holder.ring.unregisterBuffers()
          state = .oneByOne
          unsafe try ring.register(buffer: memory)
        }
        return Outcome(isRegistered: true, pinsMore: true)
      }
    } catch {
      state = .refused
      return Outcome(refusal: error)
    }
  }
}
