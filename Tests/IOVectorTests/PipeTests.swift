// The pipe kind, which no vector covers: it left the kernel in v6.5.

import IOVector
import Memory
import Testing

@Suite("A pipe")
struct PipeTests {
  // In this order they go: a pipe lets go of its pages at its end.
  private let pipe: PipeBuffer
  private let machine = Machine(pages: 32, hasMemory: true)

  init() {
    pipe = PipeBuffer(capacity: 4, pages: machine.map.table)
    pipe.supply(PageRun(first: Page(8), count: 6))
  }

  private func extract(
    _ iterator: inout IOVIter, _ bytes: Int, maxPages: Int = 16
  ) throws(Errno) -> (bytes: Int, offset: Int, pages: [Int]) {
    var list = PageList(runCapacity: 8)
    let (count, offset) = try iterator.extractPages(
      into: &list, maxBytes: bytes, maxPages: maxPages, in: machine.context)
    return (count, offset, list.numbers)
  }

  private var parts: [[Int]] {
    (0..<pipe.pageCount).map { [pipe.buffer(at: $0).page.number, pipe.buffer(at: $0).length] }
  }

  /// How many references the pipe holds on each page of its supply.
  private var held: [Int] { (8..<14).map { machine.counts[$0][0] - 1 } }

  @Test("grows by pages of its supply and holds a reference on each")
  func grows() throws {
    var iterator = unsafe IOVIter(pipe: pipe, count: 10_000)
    let result = try extract(&iterator, 10_000)
    #expect(result == (10_000, 0, [8, 9, 10]))
    #expect(parts == [[8, 4096], [9, 4096], [10, 1808]])
    #expect(held == [1, 1, 1, 0, 0, 0])
    #expect(iterator.count == 0)
    #expect(machine.counters.sum(.pagesListed, kind: 5) == 3)
    #expect(machine.counters.sum(.simGetAcquired) == 0)
    pipe.drain()
    #expect(held == [0, 0, 0, 0, 0, 0] && pipe.pageCount == 0)
  }

  @Test("goes on in the last page if that is not full")
  func goesOn() throws {
    var iterator = unsafe IOVIter(pipe: pipe, count: 9000)
    #expect(try extract(&iterator, 1000) == (1000, 0, [8]))
    #expect(iterator.npages(max: 100) == 4)
    #expect(iterator.alignment == UInt64(8000 | 1000))
    #expect(try extract(&iterator, 5000) == (5000, 1000, [8, 9]))
    #expect(parts == [[8, 4096], [9, 1904]])
    #expect(held == [1, 1, 0, 0, 0, 0])
    #expect(try extract(&iterator, 9000, maxPages: 1) == (2192, 1904, [9]))
    #expect(iterator.count == 808)
  }

  @Test("is full at its capacity, and at the end of its supply")
  func full() throws {
    var iterator = unsafe IOVIter(pipe: pipe, count: 1 << 20)
    #expect(try extract(&iterator, 1 << 20).bytes == 4 * 4096)
    #expect(throws: Errno.badAddress) { try extract(&iterator, 1) }
    pipe.drain()
    pipe.supply(PageRun(first: Page(20), count: 1))
    var second = unsafe IOVIter(pipe: pipe, count: 1 << 20)
    #expect(try extract(&second, 1 << 20) == (4096, 0, [20]))
    #expect(throws: Errno.badAddress) { try extract(&second, 1) }
  }

  @Test("wants room for at least one page")
  func noPages() {
    var iterator = unsafe IOVIter(pipe: pipe, count: 4096)
    #expect(throws: Errno.noMemory) { try extract(&iterator, 4096, maxPages: 0) }
    #expect(iterator.count == 4096 && pipe.pageCount == 0)
  }

  @Test("loses what is moved back over", arguments: [1, 1808, 1809, 5904, 5905, 9999, 10_000])
  func reverts(_ bytes: Int) throws {
    var iterator = unsafe IOVIter(pipe: pipe, count: 12_000)
    _ = try extract(&iterator, 10_000)
    iterator.revert(by: bytes)
    #expect(iterator.count == 2000 + bytes)
    #expect(pipe.byteCount == 10_000 - bytes)
    let pages = pageCount(covering: 10_000 - bytes)
    #expect(pipe.pageCount == pages)
    #expect(held.reduce(0, +) == pages)
    _ = try extract(&iterator, bytes)
    #expect(parts == [[8, 4096], [9, 4096], [10, 1808]])
  }

  @Test("is cut to what was used by advancing")
  func advances() throws {
    var filled = unsafe IOVIter(pipe: pipe, count: 10_000)
    var used = filled
    _ = try extract(&filled, 10_000)
    used.advance(by: 5000)
    #expect(parts == [[8, 4096], [9, 904]])
    #expect(used.count == 5000)
    #expect(held == [1, 1, 0, 0, 0, 0])
    #expect(try extract(&used, 100) == (100, 904, [9]))
  }

  @Test("is emptied by advancing by nothing from its start")
  func advancesByNothing() throws {
    var filled = unsafe IOVIter(pipe: pipe, count: 10_000)
    var used = filled
    _ = try extract(&filled, 10_000)
    used.advance(by: 0)
    #expect(pipe.pageCount == 0 && held.allSatisfy { $0 == 0 })
  }

  @Test("takes copies, also across its pages")
  func copies() {
    var iterator = unsafe IOVIter(pipe: pipe, count: 9000)
    let bytes = (0..<6000).map { UInt8(truncatingIfNeeded: $0 / 7) }
    unsafe #expect(iterator.copyTo(bytes.span.bytes, in: machine.context) == 6000)
    #expect(iterator.zero(5000, in: machine.context) == 3000)
    #expect(parts == [[8, 4096], [9, 4096], [10, 808]])
    let stored = unsafe Array(machine.map.table.memory(at: Page(8), offset: 0, length: 6000))
    #expect(stored == bytes)
    #expect(iterator.count == 0)
  }
}
