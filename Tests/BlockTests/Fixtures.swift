// Machines, pools and iterators for tests of bios.

import Block
import IOVector
import Memory

/// Pages with a user address space that maps them, and a pool of bios.
final class Rig {
  let map: MemoryMap
  let space: AddressSpace
  let counters = CounterSet(count: 1)
  let context: MemoryContext
  let pool: BioPool
  private let initial: [[Int]]

  /// The first user address.
  static let base: UInt64 = 0x10_0000

  /// Makes a rig.
  /// - Parameters:
  ///   - user: the page behind each user page from `base` on; pages in order if nil.
  init(
    pages: Int = 64, folios: [(head: Page, order: Int)] = [], era: Era = .v8, slots: Int = 8,
    user: [Int]? = nil
  ) {
    map = MemoryMap(pageCount: pages, largeFolios: folios, hasMemory: true)
    let entries = (user ?? Array(0..<pages)).map {
      PageTableEntry(page: Page($0), protection: .readWrite)
    }
    space = AddressSpace([(firstPage: Self.base >> 12, entries: entries)])
    context = MemoryContext(
      pages: map.table, user: space.view, kernel: .linear, era: era,
      counters: counters.blocks[0])
    pool = BioPool(slotCount: slots, context: context)
    initial = Self.counts(map.table)
  }

  private static func counts(_ table: PageTable) -> [[Int]] {
    (0..<table.count).map {
      [table.referenceCount(of: Page($0)), table.pinCount(of: Page($0))]
    }
  }

  /// Reference and pin counts of all pages.
  var counts: [[Int]] { Self.counts(map.table) }

  /// Whether nothing is held, nothing was dropped twice, and every bio has ended.
  var isBalanced: Bool {
    counts == initial && pool.outstandingCount == 0 && counters.sum(.simDoubleReleases) == 0
      && counters.sum(.simPinAcquired) == counters.sum(.simPinReleased)
      && counters.sum(.simGetAcquired) == counters.sum(.simGetReleased)
  }

  /// An iterator over user memory.
  func user(
    _ offset: Int, _ count: Int, _ direction: Direction = .destination
  ) -> IOVIter {
    IOVIter(userBuffer: Self.base + UInt64(offset), count: count, direction: direction)
  }

  /// Pages that are dirty.
  var dirty: [Int] { (0..<map.table.count).filter { map.table.isDirty(Page($0)) } }
}

extension Bio {
  /// The bio's own segments as numbers.
  var list: [[Int]] {
    (0..<vectorCount).map {
      let segment = vector(at: $0)
      return [segment.page.number, Int(segment.offset), Int(segment.length)]
    }
  }
}

/// A table of segments at a fixed place.
@safe final class SegmentTable<Segment: BitwiseCopyable> {
  private let storage: UnsafeMutableBufferPointer<Segment>

  init(_ segments: [Segment]) {
    unsafe storage = .allocate(capacity: segments.count)
    _ = unsafe storage.initialize(from: segments)
  }

  deinit { unsafe storage.deallocate() }

  /// The segments, while this lives.
  @unsafe var buffer: UnsafeBufferPointer<Segment> { unsafe UnsafeBufferPointer(storage) }
}
