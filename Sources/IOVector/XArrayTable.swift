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

/// Folios that follow one another in the file and in memory: what a cursor walks over.
struct XArrayStretch {
  let index: UInt64
  let first: Page
  var pageCount: UInt32

  /// Whether an entry goes on where the stretch ends.
  func isContinued(by entry: XArrayEntry) -> Bool {
    let (end, overflow) = pageCount.addingReportingOverflow(UInt32(entry.pageCount))
    return !overflow && end < UInt32.max && index &+ UInt64(pageCount) == entry.index
      && UInt64(first.index) + UInt64(pageCount) == UInt64(entry.head.index)
  }
}

/// Owns the sorted entries of a page cache; `xarray` iterators look into it.
///
/// Kernel: `struct xarray` of `struct address_space`, include/linux/xarray.h, v6.6.
///
/// Differs: entries that follow one another in the file and in memory are kept as one stretch, so that looking
/// at 256 neighbouring pages costs as much as looking at one.
@safe public final class XArrayTable: @unchecked Sendable {
  // Guard of the unchecked Sendable: written in `init` only.
  let stretches: UnsafeMutablePointer<XArrayStretch>
  /// Stretches in the table.
  let count: Int

  /// Makes the table.
  /// - Parameter entries: in any order; their ranges do not overlap.
  public init(_ entries: [XArrayEntry]) {
    precondition(Self.isValid(entries), "entries of a page cache overlap")
    var joined: [XArrayStretch] = []
    for entry in entries.sorted(by: { $0.index < $1.index }) {
      if let last = joined.last, last.isContinued(by: entry) {
        joined[joined.count - 1].pageCount += UInt32(entry.pageCount)
      } else {
        joined.append(
          XArrayStretch(
            index: entry.index, first: entry.head, pageCount: UInt32(entry.pageCount)))
      }
    }
    count = joined.count
    unsafe stretches = .allocate(capacity: max(count, 1))
    for (position, stretch) in joined.enumerated() {
      unsafe (stretches + position).initialize(to: stretch)
    }
  }

  deinit { unsafe stretches.deallocate() }

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

/// A position in a sorted table of stretches.
@safe struct XArrayCursor {
  private let stretches: UnsafePointer<XArrayStretch>?
  private let count: Int
  private var place: Int
  private var index: UInt64

  /// Looks an index up.
  ///
  /// Kernel: `xas_load()`, lib/xarray.c, v6.6.
  @unsafe init(stretches: UnsafePointer<XArrayStretch>?, count: Int, at index: UInt64) {
    unsafe self.stretches = unsafe stretches
    self.count = count
    self.index = index
    place = 0
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if let stretch = stretch(at: middle),
        stretch.index &+ UInt64(stretch.pageCount) <= index
      {
        low = middle + 1
      } else {
        high = middle
      }
    }
    place = low
  }

  private func stretch(at place: Int) -> XArrayStretch? {
    guard let stretches = unsafe stretches, place < count else { return nil }
    return unsafe stretches[place]
  }

  /// The pages from the present index to the end of its stretch, at most `limit`; none at a hole.
  ///
  /// Kernel: `xas_next()`, include/linux/xarray.h, v6.6, over a whole stretch at a time.
  mutating func nextRun(limit: Int) -> PageRun? {
    guard let stretch = stretch(at: place), index >= stretch.index else { return nil }
    let skip = Int(index - stretch.index)
    let left = Int(stretch.pageCount) - skip
    let run = PageRun(first: stretch.first.advanced(by: skip), count: min(left, limit))
    index += UInt64(run.count)
    if run.count == left { place += 1 }
    return run
  }
}

extension IOVIter {
  /// The page cache at the present position.
  var xarrayCursor: XArrayCursor {
    unsafe XArrayCursor(
      stretches: table?.assumingMemoryBound(to: XArrayStretch.self), count: segmentCount,
      at: (start &+ UInt64(offset)) >> 12)
  }
}
