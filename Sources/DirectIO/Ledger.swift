// The ledger: who holds what now. One line per request slot, written by its worker, read by anyone.

import IOVector
import Memory
import Synchronization

/// One request that holds pages, as the `pins` file shows it.
public struct LedgerEntry: Sendable {
  /// The FUSE request's number.
  public var unique: RequestNumber
  /// The inode that is read or written.
  public var inode: UInt64
  /// Byte offset in the file.
  public var offset: Int
  /// Bytes.
  public var length: Int
  /// The iterator's kind.
  public var kind: IOVIter.Kind
  /// What was taken on the pages: `.pin`, `.get`, or nothing.
  public var mode: FollFlags
  /// Pages held.
  public var pages: Int
  /// When the request arrived, on CLOCK_MONOTONIC, in nanoseconds.
  public var startNanoseconds: Int
  /// The thread that asked, or 0 where nobody did.
  public var thread: Int32 = 0
}

/// A fixed table of lines, each a seqlock: its worker writes without waiting, a reader that meets a write looks again.
public final class Ledger: Sendable {
  private let words: FixedTable<Atomic<Int>>
  /// Lines: request slots of all workers.
  public let lineCount: Int
  /// Holds that have ended, and those that kept pages from being moved.
  public let history = HoldHistory()

  private static let wordsPerLine = 8

  /// Makes an empty ledger.
  public init(lineCount: Int) {
    self.lineCount = lineCount
    words = FixedTable(count: lineCount * Self.wordsPerLine) { _ in Atomic(0) }
  }

  /// Enters a request into its line. Called by the line's worker only.
  func enter(_ entry: LedgerEntry, line: LedgerLine) {
    if !Accounting.isOn { return }
    let first = line.number &* Self.wordsPerLine
    words[first].store(0, ordering: .relaxed)
    atomicMemoryFence(ordering: .releasing)
    words[first &+ 1].store(Int(bitPattern: UInt(entry.inode)), ordering: .relaxed)
    words[first &+ 2].store(entry.offset, ordering: .relaxed)
    words[first &+ 3].store(entry.length, ordering: .relaxed)
    let packed =
      Int(entry.kind.rawValue) | Int(entry.mode.rawValue & 0xff) << 8 | Int(entry.thread) << 32
    words[first &+ 4].store(packed, ordering: .relaxed)
    words[first &+ 5].store(entry.pages, ordering: .relaxed)
    words[first &+ 6].store(entry.startNanoseconds, ordering: .relaxed)
    words[first].store(Int(bitPattern: UInt(entry.unique.rawValue)), ordering: .releasing)
  }

  /// Clears a line, and keeps what it said if the hold was a long one. Called by the line's worker only.
  /// - Parameter now: the end of the hold, on CLOCK_MONOTONIC, in nanoseconds.
  func clear(line: LedgerLine, at now: Int) {
    if !Accounting.isOn { return }
    let held = now &- words[line.number &* Self.wordsPerLine &+ 6].load(ordering: .relaxed)
    if history.wants(heldNanoseconds: held), let entry = entry(line: line.number) {
      history.add(entry, endNanoseconds: now)
    }
    words[line.number &* Self.wordsPerLine].store(0, ordering: .relaxed)
  }

  /// The requests that hold pages now, oldest first.
  public func entries() -> [LedgerEntry] {
    (0..<lineCount).compactMap(entry).sorted { $0.startNanoseconds < $1.startNanoseconds }
  }

  /// A line read consistently, or nil if it is empty or keeps changing.
  private func entry(line: Int) -> LedgerEntry? {
    let first = line * Self.wordsPerLine
    for _ in 0..<8 {
      let unique = words[first].load(ordering: .acquiring)
      if unique == 0 { return nil }
      let packed = words[first &+ 4].load(ordering: .relaxed)
      let entry = LedgerEntry(
        unique: RequestNumber(UInt64(UInt(bitPattern: unique))),
        inode: UInt64(UInt(bitPattern: words[first &+ 1].load(ordering: .relaxed))),
        offset: words[first &+ 2].load(ordering: .relaxed),
        length: words[first &+ 3].load(ordering: .relaxed),
        kind: IOVIter.Kind(rawValue: UInt8(packed & 0xff)) ?? .ubuf,
        mode: FollFlags(rawValue: UInt32(packed >> 8 & 0xff)),
        pages: words[first &+ 5].load(ordering: .relaxed),
        startNanoseconds: words[first &+ 6].load(ordering: .relaxed),
        thread: Int32(truncatingIfNeeded: packed >> 32))
      atomicMemoryFence(ordering: .acquiring)
      if words[first].load(ordering: .relaxed) == unique { return entry }
    }
    return nil
  }
}
