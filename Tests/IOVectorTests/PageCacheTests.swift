// Extraction from a page cache whose folios follow one another, or do not.

import IOVector
import Memory
import Testing

@Suite("A page cache")
struct PageCacheTests {
  @Test("lists the page that each index has, up to the first hole", arguments: 0..<64)
  func randomEntries(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    var entries: [XArrayEntry] = []
    var pageOfIndex: [Int?] = []
    var page = 0
    for _ in 0..<12 {
      // Often the next folio follows in memory, sometimes it does not, and sometimes there is a hole.
      if Int.random(in: 0..<4, using: &generator) == 0 {
        page = Int.random(in: 0..<8, using: &generator) * 32
      }
      if Int.random(in: 0..<6, using: &generator) == 0 {
        pageOfIndex.append(contentsOf: [nil, nil])
      }
      let order = Int.random(in: 0..<3, using: &generator)
      entries.append(
        XArrayEntry(index: UInt64(pageOfIndex.count), head: Page(page), order: UInt8(order)))
      pageOfIndex += (page..<page + 1 << order).map { $0 }
      page += 1 << order
    }
    let cache = XArrayTable(entries.shuffled(using: &generator))
    let machine = Machine(pages: 512)
    for start in pageOfIndex.indices {
      let wanted = pageOfIndex.count - start
      var iterator = unsafe IOVIter(
        xarray: cache, position: UInt64(start * pageSize), count: wanted * pageSize,
        direction: .destination)
      var list = PageList(runCapacity: 64)
      let (bytes, _) = try iterator.extractPages(
        into: &list, maxBytes: .max, maxPages: 64, in: machine.context)
      let expected = pageOfIndex[start...].prefix { $0 != nil }.compactMap { $0 }
      #expect(list.numbers == expected && bytes == expected.count * pageSize, "seed \(seed)")
    }
  }

  @Test("gives what can be counted, where its pages leave the page table")
  func beyondTable() throws {
    let machine = Machine(pages: 8)
    let before = machine.counts
    let cache = XArrayTable((0..<8).map { XArrayEntry(index: $0, head: Page(Int($0) + 5)) })
    var iterator = unsafe IOVIter(
      xarray: cache, position: 0, count: 8 * pageSize, direction: .destination)
    var list = PageList(runCapacity: 8)
    let (bytes, _) = try iterator.extractPages(
      into: &list, maxBytes: .max, maxPages: 8, policy: .pin, in: machine.context)
    #expect(bytes == 3 * pageSize && list.numbers == [5, 6, 7])
    machine.release(list, mode: .pin)
    #expect(machine.counts == before)
    #expect(throws: Errno.badAddress) {
      _ = try iterator.extractPages(
        into: &list, maxBytes: .max, maxPages: 8, policy: .pin, in: machine.context)
    }
  }
}
