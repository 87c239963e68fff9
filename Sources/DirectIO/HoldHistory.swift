// Holds afterwards: the longest ones, and those that kept pages from being moved.

import Memory
import Synchronization

/// A hold that has ended.
public struct EndedHold: Sendable {
  /// What the ledger said of it.
  public var entry: LedgerEntry
  /// When it ended, on CLOCK_MONOTONIC, in nanoseconds.
  public var endNanoseconds: Int
  /// How long pages were held.
  public var heldNanoseconds: Int { endNanoseconds - entry.startNanoseconds }
}

/// A request whose pages could not be moved, and when it let go.
///
/// Kernel: Android's page_pinner tells the same of long pins: what was detected, and who released it; mm/page_pinner.c
/// of its 5.10 to 5.15 kernels.
public struct BlockedMigration: Sendable {
  /// Who held the pages.
  public var entry: LedgerEntry
  /// When the attempt failed, on CLOCK_MONOTONIC, in nanoseconds.
  public var detectedNanoseconds: Int
  /// When the request let go, or 0 while it has not.
  public var releasedNanoseconds = 0
}

/// A bounded memory of holds.
///
/// Asked at the end of each: two relaxed loads, and a lock only where there is something to keep.
public final class HoldHistory: Sendable {
  /// Holds that are kept, and blocked migrations.
  public static var limit: Int { 32 }

  private let longest = Guarded<[EndedHold]>([])
  private let blocked = Guarded<[BlockedMigration]>([])
  /// The shortest hold that would be kept, in nanoseconds.
  private let threshold = Atomic<Int>(0)
  private let hasUnreleased = Atomic<Bool>(false)

  /// Whether a hold of that length is to be added.
  func wants(heldNanoseconds: Int) -> Bool {
    heldNanoseconds > threshold.load(ordering: .relaxed)
      || hasUnreleased.load(ordering: .relaxed)
  }

  /// A hold has ended.
  func add(_ entry: LedgerEntry, endNanoseconds: Int) {
    let hold = EndedHold(entry: entry, endNanoseconds: endNanoseconds)
    longest.withLock { list in
      if list.count == Self.limit, let last = list.last,
        last.heldNanoseconds >= hold.heldNanoseconds
      {
        return
      }
      let place = list.firstIndex { $0.heldNanoseconds < hold.heldNanoseconds } ?? list.count
      list.insert(hold, at: place)
      if list.count > Self.limit { list.removeLast() }
      let shortest = list.count == Self.limit ? list.last?.heldNanoseconds : 0
      threshold.store(shortest ?? 0, ordering: .relaxed)
    }
    if hasUnreleased.load(ordering: .relaxed) { release(entry.unique, at: endNanoseconds) }
  }

  /// Tries to move the pages of everyone in a list, as compaction would: what is pinned or referenced cannot be.
  /// - Returns: those who are in the way.
  ///
  /// Kernel: `folio_migrate_mapping()`, mm/migrate.c, v6.6, which compares the count with what it expects.
  public func migrate(_ entries: [LedgerEntry], at now: Int) -> [LedgerEntry] {
    let holders = entries.filter { !$0.mode.cleanupMode.isEmpty && $0.pages > 0 }
    if holders.isEmpty { return [] }
    blocked.withLock { list in
      list += holders.map { BlockedMigration(entry: $0, detectedNanoseconds: now) }
      if list.count > Self.limit { list.removeFirst(list.count - Self.limit) }
    }
    hasUnreleased.store(true, ordering: .sequentiallyConsistent)
    return holders
  }

  /// Those who are no longer among the holders have let go by now: for one that ended while it was written down.
  public func reconcile(with entries: [LedgerEntry], at now: Int) {
    if !hasUnreleased.load(ordering: .relaxed) { return }
    let held = Set(entries.map(\.unique))
    blocked.withLock { list in
      for index in list.indices
      where list[index].releasedNanoseconds == 0 && !held.contains(list[index].entry.unique) {
        list[index].releasedNanoseconds = now
      }
      note(list)
    }
  }

  private func release(_ unique: RequestNumber, at now: Int) {
    blocked.withLock { list in
      for index in list.indices
      where list[index].releasedNanoseconds == 0 && list[index].entry.unique == unique {
        list[index].releasedNanoseconds = now
      }
      note(list)
    }
  }

  private func note(_ list: [BlockedMigration]) {
    hasUnreleased.store(
      list.contains { $0.releasedNanoseconds == 0 }, ordering: .sequentiallyConsistent)
  }

  /// The longest holds, longest first.
  public var longestHolds: [EndedHold] { longest.withLock { $0 } }
  /// Who kept pages from being moved, oldest first.
  public var blockedMigrations: [BlockedMigration] { blocked.withLock { $0 } }
}
