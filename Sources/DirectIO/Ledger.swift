// The ledger: who holds what now. One line per request slot, written by its worker, read by anyone.

import IOVector
import Memory
import Synchronization

/// One request that holds pages, as the `pins` file shows it.
public struct LedgerEntry: Sendable {
  /// The FUSE request's number.
  public var unique: UInt64
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
}

/// A fixed table of lines, each a seqlock: its worker writes without waiting, a reader that meets a write looks again.
@safe public final class Ledger: @unchecked Sendable {
  // Guard of the unchecked Sendable: every word is an Atomic; a line has one writer.
  private let words: UnsafeMutablePointer<Atomic<Int>>
  /// Lines: request slots of all workers.
  public let lineCount: Int

  private static let wordsPerLine = 8

  /// Makes an empty ledger.
  public init(lineCount: Int) {
    self.lineCount = lineCount
    let count = lineCount * Self.wordsPerLine
    unsafe words = .allocate(capacity: count)
    for index in 0..<count { unsafe (words + index).initialize(to: Atomic(0)) }
  }

  deinit {
    unsafe words.deinitialize(count: lineCount * Self.wordsPerLine)
    unsafe words.deallocate()
  }

  /// Enters a request into its line. Called by the line's worker only.
  func enter(_ entry: LedgerEntry, line: Int) {
    if !Accounting.isOn { return }
    precondition(line < lineCount)
    let cells = unsafe words + line * Self.wordsPerLine
    unsafe cells[0].store(0, ordering: .relaxed)
    atomicMemoryFence(ordering: .releasing)
    unsafe cells[1].store(Int(bitPattern: UInt(entry.inode)), ordering: .relaxed)
    unsafe cells[2].store(entry.offset, ordering: .relaxed)
    unsafe cells[3].store(entry.length, ordering: .relaxed)
    let packed = Int(entry.kind.rawValue) | Int(entry.mode.rawValue) << 8
    unsafe cells[4].store(packed, ordering: .relaxed)
    unsafe cells[5].store(entry.pages, ordering: .relaxed)
    unsafe cells[6].store(entry.startNanoseconds, ordering: .relaxed)
    unsafe cells[0].store(Int(bitPattern: UInt(entry.unique)), ordering: .releasing)
  }

  /// Clears a line. Called by the line's worker only.
  func clear(line: Int) {
    if !Accounting.isOn { return }
    precondition(line < lineCount)
    unsafe words[line * Self.wordsPerLine].store(0, ordering: .relaxed)
  }

  /// The requests that hold pages now, oldest first.
  public func entries() -> [LedgerEntry] {
    (0..<lineCount).compactMap(entry).sorted { $0.startNanoseconds < $1.startNanoseconds }
  }

  /// A line read consistently, or nil if it is empty or keeps changing.
  private func entry(line: Int) -> LedgerEntry? {
    let cells = unsafe words + line * Self.wordsPerLine
    for _ in 0..<8 {
      let unique = unsafe cells[0].load(ordering: .acquiring)
      if unique == 0 { return nil }
      let packed = unsafe cells[4].load(ordering: .relaxed)
      let entry = unsafe LedgerEntry(
        unique: UInt64(UInt(bitPattern: unique)),
        inode: UInt64(UInt(bitPattern: cells[1].load(ordering: .relaxed))),
        offset: cells[2].load(ordering: .relaxed), length: cells[3].load(ordering: .relaxed),
        kind: IOVIter.Kind(rawValue: UInt8(packed & 0xff)) ?? .ubuf,
        mode: FollFlags(rawValue: UInt32(packed >> 8)), pages: cells[5].load(ordering: .relaxed),
        startNanoseconds: cells[6].load(ordering: .relaxed))
      atomicMemoryFence(ordering: .acquiring)
      if unsafe cells[0].load(ordering: .relaxed) == unique { return entry }
    }
    return nil
  }
}
