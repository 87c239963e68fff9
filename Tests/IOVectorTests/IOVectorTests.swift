// What extraction takes, by kind, policy and era.

import IOVector
import Memory
import Testing

@Suite("An extraction")
struct ExtractionTests {
  private static func user(_ count: Int) -> [PageTableEntry] { (0..<count).map { .writable($0) } }

  @Test("lists a contiguous buffer as one run")
  func oneRun() throws {
    let machine = Machine(pages: 256, user: Self.user(256))
    var list = PageList(runCapacity: 4)
    var iterator = IOVIter(userBuffer: Machine.base, count: 1 << 20, direction: .destination)
    let (bytes, offset) = try iterator.extractPages(
      into: &list, maxBytes: .max, maxPages: 256, in: machine.context)
    #expect(bytes == 1 << 20 && offset == 0)
    #expect(list.runCount == 1 && list.pageCount == 256)
    #expect(machine.counters.sum(.simPinAcquired) == 256)
    #expect(machine.counters.sum(.pinAcquired, kind: 0) == 256)
    machine.release(list, mode: .pin)
    #expect(machine.counts.allSatisfy { $0 == [1, 0] })
  }

  @Test("asks the kind for the mode, or the policy", arguments: CleanupPolicy.allCases)
  func policy(_ policy: CleanupPolicy) throws {
    for kind in [IOVIter.Kind.ubuf, .iovec, .kvec, .bvec, .xarray, .pipe] {
      let machine = Machine(pages: 32, user: Self.user(16))
      let fixture = KindFixture(kind, bytes: 8192, pages: machine.map.table)
      var iterator = fixture.iterator
      let mode = policy.mode(for: iterator)
      if policy == .auto { #expect(mode == (iterator.isUserBacked ? .pin : [])) }
      let before = machine.counts
      var list = PageList(runCapacity: 8)
      let (bytes, _) = try iterator.extractPages(
        into: &list, maxBytes: .max, maxPages: 16, policy: policy, in: machine.context)
      #expect(bytes == 8192 && list.pageCount == 2)
      let taken = mode.contains(.pin) ? 1024 : mode.contains(.get) ? 1 : 0
      let piped = kind == .pipe ? 1 : 0
      for page in list.numbers {
        #expect(machine.counts[page][0] == before[page][0] + taken + piped)
      }
      let counters = machine.counters
      let place = Int(kind.rawValue)
      #expect(counters.sum(.pinAcquired, kind: place) == (mode.contains(.pin) ? 2 : 0))
      #expect(counters.sum(.getAcquired, kind: place) == (mode.contains(.get) ? 2 : 0))
      #expect(counters.sum(.pagesListed, kind: place) == (mode.isEmpty ? 2 : 0))
      #expect(counters.sum(.simPagesListed) == (mode.isEmpty ? 2 : 0))
      machine.release(list, mode: mode)
      fixture.pipe.drain()
      #expect(machine.counts == before)
    }
  }

  @Test(
    "pins the zero page in the era v8, and never counts it once merged", arguments: Era.allCases)
  func zeroPage(_ era: Era) throws {
    let machine = Machine(pages: 8, zero: Page(1), era: era, user: Self.user(4))
    var list = PageList(runCapacity: 8)
    var iterator = IOVIter(userBuffer: Machine.base, count: 16384, direction: .source)
    _ = try iterator.extractPages(into: &list, maxBytes: .max, maxPages: 8, in: machine.context)
    #expect(list.numbers == [0, 1, 2, 3])
    let isCounted = era.rules.contains(.countsZeroPage)
    #expect(machine.counts[1] == [isCounted ? 1025 : 1, 0])
    #expect(machine.counters.sum(.simPinAcquired) == (isCounted ? 4 : 3))
    #expect(machine.counters.sum(.pinAcquired, kind: 0) == (isCounted ? 4 : 3))
    #expect(machine.counters.sum(.simZeroPageUses) == 1)
    machine.release(list, mode: .pin)
    #expect(machine.counts.allSatisfy { $0 == [1, 0] })
  }

  @Test("forced upon pages outside the page table is refused")
  func outside() {
    let machine = Machine(pages: 4)
    let table = [BioVec(page: Page(3), offset: 0, length: 8192)]
    let copy = UnsafeMutableBufferPointer<BioVec>.allocate(capacity: 1)
    defer { unsafe copy.deallocate() }
    _ = unsafe copy.initialize(from: table)
    var list = PageList(runCapacity: 4)
    var iterator = unsafe IOVIter(
      bioVectors: UnsafeBufferPointer(copy), count: 8192, direction: .source)
    #expect(throws: Errno.badAddress) {
      try iterator.extractPages(
        into: &list, maxBytes: .max, maxPages: 4, policy: .pin, in: machine.context)
    }
    #expect(iterator.count == 8192 && list.pageCount == 0)
    #expect(machine.counts.allSatisfy { $0 == [1, 0] })
  }

  @Test("under the legacy path refuses kernel addresses")
  func legacyKernel() {
    let machine = Machine(pages: 16)
    let fixture = KindFixture(.kvec, bytes: 4096, pages: machine.map.table)
    var iterator = fixture.iterator
    var list = PageList(runCapacity: 4)
    #expect(throws: Errno.badAddress) {
      try iterator.getPages(into: &list, maxBytes: 4096, maxPages: 4, in: machine.context)
    }
  }

  @Test("of user memory equals a walk page by page", arguments: 1...40)
  func shadow(_ seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let protections: [PageProtection] = [
      .readWrite, .readWrite, .readWrite, .readOnly, .lazy, .unmapped, .copyOnWrite,
    ]
    var entries = (0..<24).map { index in
      let page = Bool.random(using: &generator) ? index : Int.random(in: 0..<32, using: &generator)
      return PageTableEntry(
        page: Page(page), protection: protections.randomElement(using: &generator) ?? .readWrite,
        copy: Page(Int.random(in: 32..<40, using: &generator)))
    }
    let machine = Machine(
      pages: 40, folios: [(Page(8), 3), (Page(20), 2)], zero: Page(5), era: .merged, user: entries)
    var expected = machine.counts
    for _ in 0..<40 {
      let direction: Direction = Bool.random(using: &generator) ? .destination : .source
      let start = Int.random(in: 0..<24 * pageSize, using: &generator)
      let count = Int.random(in: 1...8 * pageSize, using: &generator)
      var iterator = IOVIter(
        userBuffer: Machine.base + UInt64(start), count: count, direction: direction)
      var list = PageList(runCapacity: 32)
      let most = Int.random(in: 1...9, using: &generator)
      let wanted = Shadow.walk(&entries, start, count, most, isWrite: direction == .destination)
      do throws(Errno) {
        let (bytes, _) = try iterator.extractPages(
          into: &list, maxBytes: .max, maxPages: most, in: machine.context)
        #expect(bytes == min(count, wanted.count * pageSize - start % pageSize), "seed \(seed)")
      } catch {
        #expect(error == .badAddress && wanted.isEmpty, "seed \(seed)")
      }
      #expect(list.numbers == wanted, "seed \(seed)")
      Shadow.pin(&expected, wanted, 1)
      #expect(machine.counts == expected, "seed \(seed)")
      if Bool.random(using: &generator) {
        machine.release(list, mode: .pin)
        Shadow.pin(&expected, wanted, -1)
        #expect(machine.counts == expected, "seed \(seed)")
      }
    }
  }
}

/// The same rules again, one page at a time.
private enum Shadow {
  static func walk(
    _ entries: inout [PageTableEntry], _ start: Int, _ count: Int, _ most: Int, isWrite: Bool
  ) -> [Int] {
    var pages: [Int] = []
    for index in start / pageSize...(start + count - 1) / pageSize where pages.count < most {
      if index >= entries.count { break }
      switch (entries[index].protection, isWrite) {
      case (.unmapped, _), (.readOnly, true): return pages
      case (.lazy, _): entries[index].protection = .readWrite
      case (.copyOnWrite, true):
        entries[index] = .writable(entries[index].copy.number)
      default: break
      }
      pages.append(entries[index].page.number)
    }
    return pages
  }

  static func pin(_ counts: inout [[Int]], _ pages: [Int], _ sign: Int) {
    for page in pages where page != 5 {
      if (8..<16).contains(page) || (20..<24).contains(page) {
        let head = page < 16 ? 8 : 20
        counts[head][0] += sign
        counts[head][1] += sign
      } else {
        counts[page][0] += 1024 * sign
      }
    }
  }
}
