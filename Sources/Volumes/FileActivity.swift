// Which files have the most requests: a small table for each worker, written by it alone.

import Memory
import Synchronization

/// One file's share of the requests.
public struct FileShare: Sendable, Equatable {
  /// The inode.
  public var inode: UInt64
  /// Reads and writes that were answered.
  public var requestCount: Int
  /// Bytes that they moved.
  public var byteCount: Int

  /// Puts a share together.
  public init(inode: UInt64, requestCount: Int, byteCount: Int) {
    self.inode = inode
    self.requestCount = requestCount
    self.byteCount = byteCount
  }
}

/// The busiest files of one worker, found without a list of all: 64 places, each with a file and its votes.
///
/// A request on the file that has the place is a vote for it, one on another file that would have the same place is a
/// vote against; who has none left makes room for the other. So a file with most of its place's requests stays there,
/// however many others come by (the majority vote of Boyer and Moore, 1981, by place). What is counted begins when the
/// file got its place, and can be less than all.
public final class FileActivity: Sendable {
  private let words: FixedTable<Atomic<Int>>

  /// Places of a worker.
  public static var placeCount: Int { 64 }
  private static var wordsPerPlace: Int { 4 }

  /// Makes an empty table.
  public init() {
    words = FixedTable(count: Self.placeCount * Self.wordsPerPlace) { _ in Atomic(0) }
  }

  /// Counts a request; to be called by the table's own worker only.
  public func count(_ inode: UInt64, byteCount: Int) {
    if !Accounting.isOn { return }
    let number = Int(bitPattern: UInt(inode))
    let first = Self.place(of: inode) &* Self.wordsPerPlace
    let isIts = words[first].load(ordering: .relaxed) == number
    let votes = words[first &+ 1].load(ordering: .relaxed)
    if !isIts && votes > 0 { return words[first &+ 1].store(votes &- 1, ordering: .relaxed) }
    if !isIts {
      // A reader that finds the number changed behind the figures takes neither.
      words[first].store(0, ordering: .relaxed)
      atomicMemoryFence(ordering: .releasing)
      words[first &+ 2].store(0, ordering: .relaxed)
      words[first &+ 3].store(0, ordering: .relaxed)
      words[first].store(number, ordering: .releasing)
    }
    words[first &+ 1].store(isIts ? votes &+ 1 : 1, ordering: .relaxed)
    bump(first &+ 2, 1)
    bump(first &+ 3, byteCount)
  }

  /// The files that have a place now.
  public func shares() -> [FileShare] {
    (0..<Self.placeCount).compactMap { place in
      let first = place * Self.wordsPerPlace
      let number = words[first].load(ordering: .acquiring)
      let requests = words[first + 2].load(ordering: .relaxed)
      let bytes = words[first + 3].load(ordering: .relaxed)
      atomicMemoryFence(ordering: .acquiring)
      if number == 0 || words[first].load(ordering: .relaxed) != number { return nil }
      return FileShare(
        inode: UInt64(UInt(bitPattern: number)), requestCount: requests, byteCount: bytes)
    }
  }

  private func bump(_ index: Int, _ amount: Int) {
    let old = words[index].load(ordering: .relaxed)
    words[index].store(old &+ amount, ordering: .relaxed)
  }

  /// Neighbouring inodes get different places, and so do those a power of two apart.
  static func place(of inode: UInt64) -> Int {
    Int(truncatingIfNeeded: (inode &* 0x9E37_79B9_7F4A_7C15) >> 58)
  }
}

extension [FileActivity] {
  /// The busiest files of all workers together, by bytes, at most so many.
  func busiest(_ limit: Int) -> [FileShare] {
    var sums: [UInt64: FileShare] = [:]
    for share in flatMap({ $0.shares() }) {
      sums[share.inode, default: FileShare(inode: share.inode, requestCount: 0, byteCount: 0)]
        .requestCount += share.requestCount
      sums[share.inode]?.byteCount += share.byteCount
    }
    let order = sums.values.sorted {
      ($0.byteCount, $0.requestCount, $1.inode) > ($1.byteCount, $1.requestCount, $0.inode)
    }
    return [FileShare](order.prefix(limit))
  }
}
