// What the benchmark works on: 2 MiB of pages, seen from every side from which an iterator can see them.

import IOVector
import Memory
import Synchronization

/// Pages, an address space and a page cache over them, shared by all threads of the benchmark.
@safe final class CoreMachine: @unchecked Sendable {
  // Guard of the unchecked Sendable: everything is fixed after `init` but counts, which are Atomics.
  static let pageCount = 512
  static let userAddress: UInt64 = 1 << 30

  let map: MemoryMap
  let space: AddressSpace
  let cache: XArrayTable
  private let words: UnsafeMutablePointer<Atomic<Int32>>

  init(_ layout: CoreLayout) {
    let pages = Self.pageCount
    let order = 9
    map = MemoryMap(
      pageCount: pages + 1, largeFolios: layout == .folio ? [(Page(0), order)] : [],
      zeroPage: Page(pages))
    space = AddressSpace([
      (
        Self.userAddress >> 12,
        (0..<pages).map { PageTableEntry(page: Page($0), protection: .readWrite) }
      )
    ])
    switch layout {
    case .small:
      cache = XArrayTable((0..<pages).map { XArrayEntry(index: UInt64($0), head: Page($0)) })
    case .folio:
      cache = XArrayTable([XArrayEntry(index: 0, head: Page(0), order: UInt8(order))])
    }
    unsafe words = .allocate(capacity: 256)
    for index in 0..<256 { unsafe (words + index).initialize(to: Atomic(0)) }
  }

  deinit {
    unsafe words.deinitialize(count: 256)
    unsafe words.deallocate()
  }

  /// Whether no page has more than the reference it was born with, and none a pin.
  var isClean: Bool {
    (0..<map.table.count).allSatisfy {
      map.table.referenceCount(of: Page($0)) == 1 && map.table.pinCount(of: Page($0)) == 0
    }
  }

  /// The yardstick: 256 adds as extraction makes them on small pages, `lock xadd` on neighbouring words.
  @inline(never)
  func addAtomically() {
    for index in 0..<256 { unsafe words[index].wrappingAdd(1, ordering: .relaxed) }
  }
}
