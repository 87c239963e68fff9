// A page cache: which folio stands at which index of a file.

import Memory

/// One folio in a page cache.
public struct XArrayEntry: Equatable, Hashable, Sendable {
  /// The first index that the folio covers, in pages; a multiple of its size.
  public var index: UInt64
  /// The folio's first page.
  public var head: Page
  /// log2 of the folio's pages.
  public var order: UInt8

  /// Makes an entry.
  @inlinable public init(index: UInt64, head: Page, order: UInt8 = 0) {
    self.index = index
    self.head = head
    self.order = order
  }

  /// The pages that the folio has.
  @inlinable public var pageCount: Int { 1 << Int(order) }
}

/// Owns the sorted entries of a page cache; `xarray` iterators look into it.
///
/// Kernel: `struct xarray` of `struct address_space`, include/linux/xarray.h, v6.6.
@safe public final class XArrayTable: @unchecked Sendable {
  // Guard of the unchecked Sendable: written in `init` only.
  let entries: UnsafeMutablePointer<XArrayEntry>
  /// Entries in the table.
  public let count: Int

  /// Makes the table.
  /// - Parameter entries: in any order; their ranges do not overlap.
  public init(_ entries: [XArrayEntry]) {
    precondition(Self.isValid(entries), "entries of a page cache overlap")
    count = entries.count
    unsafe self.entries = .allocate(capacity: max(entries.count, 1))
    for (position, entry) in entries.sorted(by: { $0.index < $1.index }).enumerated() {
      unsafe (self.entries + position).initialize(to: entry)
    }
  }

  deinit { unsafe entries.deallocate() }

  /// Whether orders are possible and no two entries cover one index.
  public static func isValid(_ entries: [XArrayEntry]) -> Bool {
    let sorted = entries.sorted { $0.index < $1.index }
    var next: UInt64 = 0
    for entry in sorted {
      if entry.order > 20 || entry.index < next { return false }
      let (end, overflow) = entry.index.addingReportingOverflow(UInt64(entry.pageCount))
      if overflow { return false }
      next = end
    }
    return true
  }
}

/// A position in a sorted table of entries.
@safe struct XArrayCursor {
  private let entries: UnsafePointer<XArrayEntry>?
  private let count: Int
  private var place: Int
  private var index: UInt64

  /// Looks an index up.
  ///
  /// Kernel: `xas_load()`, lib/xarray.c, v6.6.
  @unsafe init(entries: UnsafePointer<XArrayEntry>?, count: Int, at index: UInt64) {
    unsafe self.entries = unsafe entries
    self.count = count
    self.index = index
    place = 0
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if let entry = entry(at: middle), entry.index &+ UInt64(entry.pageCount) <= index {
        low = middle + 1
      } else {
        high = middle
      }
    }
    place = low
  }

  private func entry(at place: Int) -> XArrayEntry? {
    guard let entries = unsafe entries, place < count else { return nil }
    return unsafe entries[place]
  }

  /// The pages from the present index to the end of its folio, at most `limit`; none at a hole.
  ///
  /// Kernel: `xas_next()`, include/linux/xarray.h, v6.6, over one folio at a time.
  mutating func nextRun(limit: Int) -> PageRun? {
    guard let entry = entry(at: place), index >= entry.index else { return nil }
    let skip = Int(index - entry.index)
    let run = PageRun(
      first: entry.head.advanced(by: skip), count: min(entry.pageCount - skip, limit))
    index += UInt64(run.count)
    if skip + run.count == entry.pageCount { place += 1 }
    return run
  }
}

extension IOVIter {
  /// The page cache at the present position.
  var xarrayCursor: XArrayCursor {
    unsafe XArrayCursor(
      entries: table?.assumingMemoryBound(to: XArrayEntry.self), count: segmentCount,
      at: (start &+ UInt64(offset)) >> 12)
  }
}
