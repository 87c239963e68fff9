// Names of pages: an index into the page table.

/// Bytes in a page. Kernel: `PAGE_SIZE` on x86-64.
@inlinable public var pageSize: Int { 4096 }
/// log2 of `pageSize`. Kernel: `PAGE_SHIFT`.
@inlinable public var pageShift: Int { 12 }
/// What one pin adds to the reference count of a small folio. Kernel: `GUP_PIN_COUNTING_BIAS`.
@inlinable public var pinCountingBias: Int32 { 1024 }
/// The most one read or write may transfer, in bytes. Kernel: `MAX_RW_COUNT`.
@inlinable public var maxReadWriteBytes: Int { 0x7fff_f000 }
/// Where user addresses end. Kernel: `TASK_SIZE_MAX` on x86-64, 2^47 - 4096.
@inlinable public var userAddressLimit: UInt64 { 0x7fff_ffff_f000 }

/// `bytes` rounded up to whole pages, counted in pages.
@inlinable public func pageCount(covering bytes: Int) -> Int {
  (bytes &+ (pageSize &- 1)) >> pageShift
}

/// A page, named by its place in the page table; physical address `index * 4096`.
///
/// Consecutive indexes are physically contiguous. A page beyond the table can be named, but not counted.
///
/// Kernel: `struct page`, as its page frame number.
public struct Page: Equatable, Hashable, Comparable, BitwiseCopyable, Sendable {
  /// Place in the page table.
  public let index: UInt32

  /// Names a page.
  /// - Parameter index: place in the page table.
  @inlinable public init(_ index: UInt32) { self.index = index }
  /// Names a page.
  /// - Parameter index: place in the page table; at most 2^32 - 1.
  @inlinable public init(_ index: Int) { self.index = UInt32(truncatingIfNeeded: index) }

  /// The place as an `Int`.
  @inlinable public var number: Int { Int(index) }
  /// The page `count` further on.
  @inlinable public func advanced(by count: Int) -> Page { Page(number &+ count) }

  /// Orders pages by physical address.
  @inlinable public static func < (a: Page, b: Page) -> Bool { a.index < b.index }
}

/// Consecutive pages.
public struct PageRun: Equatable, Hashable, BitwiseCopyable, Sendable {
  /// The first page.
  public var first: Page
  /// How many.
  public var count: Int

  /// Names `count` pages from `first` on.
  @inlinable public init(first: Page, count: Int) {
    self.first = first
    self.count = count
  }

  /// The page after the last.
  @inlinable public var end: Page { first.advanced(by: count) }
}
