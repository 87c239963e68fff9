// Iterators over queues of folios.

import IOVector
import Memory
import Testing

@Suite("A queue of folios")
struct FolioQueueTests {
  /// Folios of four, two and one pages, no two of which lie next to one another.
  private static let folios = [(8, 4), (2, 2), (5, 1)].map { first, pages in
    BioVec(page: Page(first), offset: 0, length: UInt32(pages * 4096))
  }
  /// The pages in their order.
  private static let pages = [8, 9, 10, 11, 2, 3, 5]

  private func withQueue(
    offset: Int, count: Int, direction: Direction = .destination, _ body: (IOVIter) throws -> Void
  ) rethrows {
    try unsafe Self.folios.withUnsafeBufferPointer { table in
      let iterator = unsafe IOVIter(
        folios: table, offset: offset, count: count, direction: direction)
      try body(iterator)
    }
  }

  @Test("is listed across folios in one extraction, with nothing taken")
  func extraction() throws {
    let machine = Machine(pages: 16, era: .v6_12)
    let before = machine.counts
    try withQueue(offset: 5000, count: 20000) { iterator in
      var iterator = iterator
      #expect(!iterator.willPin && iterator.npages(max: 100) == 6)
      var list = PageList(runCapacity: 8)
      let (bytes, start) = try iterator.extractPages(
        into: &list, maxBytes: 14000, maxPages: 8, in: machine.context)
      #expect(bytes == 14000 && start == 904)
      #expect(list.numbers == [9, 10, 11, 2])
      #expect(iterator.count == 6000)
      list.removeAll()
      let rest = try iterator.extractPages(
        into: &list, maxBytes: .max, maxPages: 1, in: machine.context)
      #expect(rest.byteCount == 4096 - (904 + 14000) % 4096 && list.numbers == [2])
      #expect(machine.counts == before)
    }
  }

  @Test("gets a reference a page by the old path")
  func references() throws {
    let machine = Machine(pages: 16, era: .get)
    try withQueue(offset: 0, count: 7 * 4096) { iterator in
      var iterator = iterator
      var list = PageList(runCapacity: 8)
      _ = try iterator.getPages(into: &list, maxBytes: .max, maxPages: 8, in: machine.context)
      #expect(list.numbers == Self.pages)
      for page in Self.pages { #expect(machine.map.table.referenceCount(of: Page(page)) == 2) }
      machine.release(list, mode: .get)
      #expect(iterator.count == 0)
    }
  }

  @Test("is walked byte by byte as its folios lie, there and back", arguments: 1...40)
  func walk(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let start = Int.random(in: 0..<16384, using: &generator)
    let count = Int.random(in: 1...(28672 - start), using: &generator)
    withQueue(offset: start, count: count) { iterator in
      var iterator = iterator
      var place = 0
      for _ in 0..<20 {
        if Bool.random(using: &generator) {
          let step = Int.random(in: 0...count - place, using: &generator)
          iterator.advance(by: step)
          place += step
        } else {
          let step = Int.random(in: 0...place, using: &generator)
          iterator.revert(by: step)
          place -= step
        }
        #expect(iterator.count == count - place)
        let first = (start + place) & 4095
        let wanted = place == count ? 0 : (first + count - place + 4095) / 4096
        #expect(iterator.npages(max: 100) == wanted, "at \(place)")
      }
    }
  }

  @Test("has its bytes copied to and from")
  func copies() throws {
    let machine = Machine(pages: 16, era: .v6_12, hasMemory: true)
    let text = (0..<20000).map { UInt8(truncatingIfNeeded: $0 % 251) }
    withQueue(offset: 100, count: text.count) { iterator in
      var iterator = iterator
      let copied = unsafe text.withUnsafeBytes {
        unsafe iterator.copyTo(RawSpan(_unsafeBytes: $0), in: machine.context)
      }
      #expect(copied == text.count)
      #expect(iterator.count == 0)
    }
    withQueue(offset: 100, count: text.count, direction: .source) { iterator in
      var iterator = iterator
      let found = UnsafeMutableRawBufferPointer.allocate(byteCount: text.count, alignment: 8)
      defer { unsafe found.deallocate() }
      var span = unsafe MutableRawSpan(_unsafeBytes: found)
      #expect(iterator.copyFrom(&span, in: machine.context) == text.count)
      #expect(unsafe Array(found) == text)
    }
  }
}
