// The page table ("mem_map"): for every page its folio, its counts and its flags.

import Synchronization

/// A handle to the page table: counts, folios and flags of every page, and the pages' bytes.
///
/// It is a few pointers into memory that a `MemoryMap` owns, so passing it costs nothing; the map must
/// outlive it. Counts are atomic: two workers may count the same folio.
///
/// Kernel: `mem_map` and `struct folio`'s `_refcount` and `_pincount`.
@safe public struct PageTable: @unchecked Sendable {
  // Guard of the unchecked Sendable: counts and flags are Atomics; heads and orders never change after set-up.
  @usableFromInline let references: UnsafeMutablePointer<Atomic<Int32>>
  @usableFromInline let pins: UnsafeMutablePointer<Atomic<Int32>>
  @usableFromInline let flags: UnsafeMutablePointer<Atomic<UInt8>>
  @usableFromInline let heads: UnsafeMutablePointer<UInt32>
  @usableFromInline let orders: UnsafeMutablePointer<UInt8>
  @usableFromInline let bytes: UnsafeMutableRawPointer?
  /// Pages in the table.
  public let count: Int
  /// Pages at the front that always have memory, as request buffers do; the others get it when first touched.
  public let populatedCount: Int
  /// Whether any folio is larger than a page.
  public let hasLargeFolios: Bool
  /// The shared zero page, if the table has one.
  public let zeroPage: Page?

  @inlinable static var dirtyBit: UInt8 { 1 }
  @inlinable static var peerToPeerBit: UInt8 { 2 }

  /// Whether the page has an entry; pages beyond the table can only be named.
  @inlinable public func contains(_ page: Page) -> Bool { page.number < count }

  /// The head of the page's folio, which bears its counts. Kernel: `page_folio()`.
  @inlinable public func head(of page: Page) -> Page {
    precondition(page.number < count)
    return hasLargeFolios ? Page(unsafe heads[page.number]) : page
  }

  /// log2 of the pages of the page's folio. Kernel: `folio_order()`.
  @inlinable public func order(of page: Page) -> Int {
    hasLargeFolios ? Int(unsafe orders[head(of: page).number]) : 0
  }

  /// Whether the page is a part of a folio of several pages. Kernel: `PageCompound()`.
  @inlinable public func isCompound(_ page: Page) -> Bool {
    hasLargeFolios && order(of: page) > 0
  }

  /// The reference count of a folio.
  /// - Parameter head: a folio's first page.
  public func referenceCount(of head: Page) -> Int {
    precondition(head.number < count)
    return Int(unsafe references[head.number].load(ordering: .relaxed))
  }

  /// The pin count of a large folio; 0 for a small one, whose pins stand in the reference count.
  /// - Parameter head: a folio's first page.
  public func pinCount(of head: Page) -> Int {
    precondition(head.number < count)
    return Int(unsafe pins[head.number].load(ordering: .relaxed))
  }

  /// Sets the reference count of a folio; for set-up only.
  public func setReferenceCount(of head: Page, to value: Int) {
    precondition(head.number < count)
    unsafe references[head.number].store(Int32(value), ordering: .relaxed)
  }

  /// Whether the page may be under DMA: exact for large folios, a guess upwards for small ones.
  ///
  /// Kernel: `folio_maybe_dma_pinned()`, include/linux/mm.h.
  public func mayBeDMAPinned(_ page: Page) -> Bool {
    let head = head(of: page)
    if isCompound(page) { return pinCount(of: head) > 0 }
    return referenceCount(of: head) >= Int(pinCountingBias)
  }

  /// Whether this is the shared zero page. Kernel: `is_zero_page()`.
  @inlinable public func isZeroPage(_ page: Page) -> Bool { page == zeroPage }

  /// Whether the page is peer-to-peer memory. Kernel: `is_pci_p2pdma_page()`.
  @inlinable public func isPeerToPeer(_ page: Page) -> Bool {
    if page.number >= count { return false }
    return unsafe flags[page.number].load(ordering: .relaxed) & Self.peerToPeerBit != 0
  }

  /// Whether any page of the table is peer-to-peer memory. The flags behind the last page hold the answer.
  @inlinable public var hasPeerToPeerPages: Bool {
    unsafe flags[count].load(ordering: .relaxed) & Self.peerToPeerBit != 0
  }

  /// Whether the pages have bytes.
  @inlinable public var hasMemory: Bool { unsafe bytes != nil }

  /// Marks a page as peer-to-peer memory; for set-up only.
  public func markPeerToPeer(_ page: Page) {
    precondition(page.number < count)
    unsafe flags[count].bitwiseOr(Self.peerToPeerBit, ordering: .relaxed)
    unsafe flags[page.number].bitwiseOr(Self.peerToPeerBit, ordering: .relaxed)
  }

  /// Whether the page was dirtied. Kernel: `PageDirty()`.
  @inlinable public func isDirty(_ page: Page) -> Bool {
    precondition(page.number < count)
    return unsafe flags[page.number].load(ordering: .relaxed) & Self.dirtyBit != 0
  }

  /// Marks the page dirty. Kernel: `set_page_dirty_lock()`.
  @inlinable public func setDirty(_ page: Page) {
    if !isDirty(page) {
      unsafe flags[page.number].bitwiseOr(Self.dirtyBit, ordering: .relaxed)
    }
  }

  /// Marks the page clean, as writeback does. Kernel: `clear_page_dirty_for_io()`.
  @inlinable public func clearDirty(_ page: Page) {
    if isDirty(page) {
      unsafe flags[page.number].bitwiseAnd(~Self.dirtyBit, ordering: .relaxed)
    }
  }

  /// The bytes from a page on.
  ///
  /// - Parameter length: bytes; the range must lie within the table, and the table must have memory.
  @unsafe @inlinable
  public func memory(at page: Page, offset: Int, length: Int) -> UnsafeMutableRawBufferPointer {
    let start = page.number &* pageSize &+ offset
    precondition(offset >= 0 && length >= 0 && start &+ length <= count &* pageSize)
    guard let bytes = unsafe bytes else { preconditionFailure("this page table has no memory") }
    return unsafe UnsafeMutableRawBufferPointer(start: bytes + start, count: length)
  }
}

/// Owns a page table and, where asked, the memory of its pages.
public final class MemoryMap: Sendable {
  /// The handle that all others use.
  public let table: PageTable
  private let arena: Arena?
  private let ownedBytes: Int

  /// Makes a table in which every page is a small folio with one reference, clean and unpinned.
  /// - Parameters:
  ///   - pageCount: entries, at least 1.
  ///   - largeFolios: first page and order of each folio that has several pages.
  ///   - zeroPage: the page that plays the shared zero page.
  ///   - hasMemory: whether the pages get zeroed bytes of their own.
  public convenience init(
    pageCount: Int, largeFolios: [(head: Page, order: Int)] = [], zeroPage: Page? = nil,
    hasMemory: Bool = false
  ) {
    var bytes: UnsafeMutableRawPointer?
    if hasMemory {
      unsafe bytes = .allocate(byteCount: pageCount * pageSize, alignment: pageSize)
      unsafe bytes!.initializeMemory(as: UInt8.self, repeating: 0, count: pageCount * pageSize)
    }
    unsafe self.init(
      pageCount: pageCount, largeFolios: largeFolios, zeroPage: zeroPage, bytes: bytes,
      arena: nil, ownedBytes: hasMemory ? pageCount * pageSize : 0)
  }

  /// Makes a table over an arena: large folios where the machine gave huge pages.
  /// - Parameters:
  ///   - arena: memory that the map keeps alive.
  ///   - zeroPage: the page of the arena that plays the shared zero page.
  public convenience init(arena: Arena, zeroPage: Page?) {
    let order = 9
    let folios = arena.hugePageIndexes.map { (head: Page($0 << order), order: order) }
    unsafe self.init(
      pageCount: arena.byteCount / pageSize, largeFolios: folios, zeroPage: zeroPage,
      bytes: arena.base, arena: arena, ownedBytes: 0)
  }

  @unsafe private init(
    pageCount: Int, largeFolios: [(head: Page, order: Int)], zeroPage: Page?,
    bytes: UnsafeMutableRawPointer?, arena: Arena?, ownedBytes: Int
  ) {
    precondition(pageCount > 0)
    let references = UnsafeMutablePointer<Atomic<Int32>>.allocate(capacity: pageCount)
    let pins = UnsafeMutablePointer<Atomic<Int32>>.allocate(capacity: pageCount)
    let flags = UnsafeMutablePointer<Atomic<UInt8>>.allocate(capacity: pageCount + 1)
    let heads = UnsafeMutablePointer<UInt32>.allocate(capacity: pageCount)
    let orders = UnsafeMutablePointer<UInt8>.allocate(capacity: pageCount)
    for index in 0..<pageCount {
      unsafe (references + index).initialize(to: Atomic(1))
      unsafe (pins + index).initialize(to: Atomic(0))
      unsafe (flags + index).initialize(to: Atomic(0))
      unsafe (heads + index).initialize(to: UInt32(index))
      unsafe (orders + index).initialize(to: 0)
    }
    unsafe (flags + pageCount).initialize(to: Atomic(0))
    for folio in largeFolios {
      let size = 1 << folio.order
      precondition(folio.head.number + size <= pageCount, "a folio reaches beyond the page table")
      unsafe orders[folio.head.number] = UInt8(folio.order)
      for index in folio.head.number..<folio.head.number + size {
        unsafe heads[index] = folio.head.index
      }
    }
    unsafe table = PageTable(
      references: references, pins: pins, flags: flags, heads: heads, orders: orders,
      bytes: bytes, count: pageCount,
      populatedCount: arena.map { $0.populatedByteCount / pageSize } ?? pageCount,
      hasLargeFolios: !largeFolios.isEmpty, zeroPage: zeroPage)
    self.arena = arena
    self.ownedBytes = ownedBytes
  }

  deinit {
    unsafe table.references.deinitialize(count: table.count)
    unsafe table.references.deallocate()
    unsafe table.pins.deinitialize(count: table.count)
    unsafe table.pins.deallocate()
    unsafe table.flags.deinitialize(count: table.count + 1)
    unsafe table.flags.deallocate()
    unsafe table.heads.deallocate()
    unsafe table.orders.deallocate()
    if ownedBytes > 0 { unsafe table.bytes?.deallocate() }
  }
}
