// A small simulated machine for tests: pages, one user range, counters.

import IOVector
import Memory

/// Pages with a user address space that maps them.
final class Machine {
  let map: MemoryMap
  let space: AddressSpace
  let counters = CounterSet(count: 1)
  let context: MemoryContext

  /// The first user address.
  static let base: UInt64 = 0x10_0000

  /// Makes a machine.
  /// - Parameters:
  ///   - user: the page behind each user page from `base` on.
  init(
    pages: Int, folios: [(head: Page, order: Int)] = [], zero: Page? = nil, era: Era = .v8,
    hasMemory: Bool = false, user: [PageTableEntry] = []
  ) {
    map = MemoryMap(
      pageCount: pages, largeFolios: folios, zeroPage: zero, hasMemory: hasMemory)
    space = AddressSpace([(firstPage: Self.base >> 12, entries: user)])
    context = MemoryContext(
      pages: map.table, user: space.view, kernel: .linear, era: era,
      counters: counters.blocks[0])
  }

  /// Reference and pin counts of all pages.
  var counts: [[Int]] {
    (0..<map.table.count).map {
      [map.table.referenceCount(of: Page($0)), map.table.pinCount(of: Page($0))]
    }
  }

  /// Drops what an extraction took.
  func release(_ list: borrowing PageList, mode: FollFlags) {
    for index in 0..<list.runCount { context.release(list.run(at: index), mode: mode) }
  }
}

extension PageTableEntry {
  /// A present, writable page.
  static func writable(_ page: Int) -> PageTableEntry {
    PageTableEntry(page: Page(page), protection: .readWrite)
  }
}

extension PageList {
  /// All pages in order.
  var numbers: [Int] { (0..<pageCount).map { page(at: $0).number } }
}
