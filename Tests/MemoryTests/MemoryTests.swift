// Pages, folios, counts and address spaces.

import Memory
import Testing

/// Keeps an owner for the rest of the process: handles like `PageTable` do not.
private func keep<Owner: AnyObject>(_ owner: Owner) -> Owner {
  unsafe _ = Unmanaged.passRetained(owner)
  return owner
}

/// A context over a small table, with a block of counters of its own.
private struct Fixture {
  let map: MemoryMap
  let space: AddressSpace
  let counters = keep(CounterSet(count: 1))

  init(
    pages: Int = 16, folios: [(head: Page, order: Int)] = [], zero: Page? = nil,
    entries: [PageTableEntry] = []
  ) {
    map = keep(MemoryMap(pageCount: pages, largeFolios: folios, zeroPage: zero))
    space = keep(AddressSpace([(firstPage: 0, entries: entries)]))
  }

  func context(_ era: Era = .v8) -> MemoryContext {
    MemoryContext(
      pages: map.table, user: space.view, kernel: .linear, era: era, counters: counters.blocks[0])
  }
}

@Suite("A page's counts")
struct CountTests {
  @Test("A pin on a small folio is 1024 on its reference count")
  func smallPin() {
    let table = keep(MemoryMap(pageCount: 4)).table
    table.take(PageRun(first: Page(1), count: 2), mode: .pin, era: .v8)
    #expect(table.referenceCount(of: Page(1)) == 1025)
    #expect(table.referenceCount(of: Page(2)) == 1025)
    #expect(table.pinCount(of: Page(1)) == 0)
    #expect(table.mayBeDMAPinned(Page(1)))
    #expect(!table.mayBeDMAPinned(Page(0)))
  }

  @Test("A pin on a large folio is one reference and one pin count per page on the head")
  func largePin() {
    let table = keep(MemoryMap(pageCount: 16, largeFolios: [(head: Page(4), order: 3)])).table
    table.take(PageRun(first: Page(2), count: 7), mode: .pin, era: .v8)
    #expect(table.referenceCount(of: Page(2)) == 1025)
    #expect(table.referenceCount(of: Page(3)) == 1025)
    #expect(table.referenceCount(of: Page(4)) == 6)
    #expect(table.pinCount(of: Page(4)) == 5)
  }

  @Test("What is taken in a mode is dropped in that mode", arguments: [FollFlags.pin, .get])
  func roundTrip(mode: FollFlags) {
    let table = keep(MemoryMap(pageCount: 16, largeFolios: [(head: Page(8), order: 2)])).table
    let run = PageRun(first: Page(5), count: 6)
    table.take(run, mode: mode, era: .v8)
    #expect(table.drop(run, mode: mode, era: .v8).doubleReleases == 0)
    for page in 0..<9 { #expect(table.referenceCount(of: Page(page)) == 1) }
    #expect(table.pinCount(of: Page(8)) == 0)
  }

  @Test("A second release is noticed", arguments: [FollFlags.pin, .get])
  func doubleRelease(mode: FollFlags) {
    let fixture = Fixture()
    let context = fixture.context()
    let run = PageRun(first: Page(3), count: 2)
    context.pages.take(run, mode: mode, era: .v8)
    context.release(run, mode: mode)
    #expect(fixture.counters.sum(.simDoubleReleases) == 0)
    context.release(run, mode: mode)
    #expect(fixture.counters.sum(.simDoubleReleases) == 2)
  }

  @Test("The zero page is pinned under v8, and never counted as merged")
  func zeroPage() {
    let table = keep(MemoryMap(pageCount: 4, zeroPage: Page(1))).table
    let run = PageRun(first: Page(0), count: 3)
    #expect(table.take(run, mode: .pin, era: .merged) == 2)
    #expect(table.referenceCount(of: Page(1)) == 1)
    #expect(table.take(run, mode: .pin, era: .v8) == 3)
    #expect(table.referenceCount(of: Page(1)) == 1025)
    #expect(table.take(run, mode: .get, era: .merged) == 3)
    #expect(table.referenceCount(of: Page(1)) == 1026)
  }

  @Test("The v8 helpers put, unpin or do nothing, as the mode says")
  func putUnpin() {
    let table = keep(MemoryMap(pageCount: 2)).table
    table.take(PageRun(first: Page(0), count: 1), mode: .pin, era: .v8)
    #expect(table.pagePutUnpin(Page(0), mode: [], era: .v8))
    #expect(table.referenceCount(of: Page(0)) == 1025)
    #expect(table.folioPutUnpin(Page(0), mode: .pin, era: .v8))
    #expect(table.referenceCount(of: Page(0)) == 1)
    table.take(PageRun(first: Page(0), count: 1), mode: .get, era: .v8)
    #expect(table.pagePutUnpin(Page(0), mode: .get, era: .v8))
    #expect(table.referenceCount(of: Page(0)) == 1)
  }
}

@Suite("Lookup flags")
struct FlagTests {
  @Test("Numbers are those of the v8 series")
  func numbering() {
    // No gap is left: each flag is the next bit.
    let flags: [FollFlags] = [
      .pin, .get, .write, .touch, .dump, .force, .noWait, .noFault, .hardwarePoison, .tried,
      .remote, .anonymous, .longTerm, .splitPMD, .fastOnly, .pciP2PDMA, .interruptible,
    ]
    for (bit, flag) in flags.enumerated() { #expect(flag.rawValue == 1 << bit) }
  }
}

@Suite("A user address space")
struct AddressSpaceTests {
  @Test("Taking pages stops at the first that cannot be had")
  func partial() throws {
    let fixture = Fixture(entries: [
      PageTableEntry(page: Page(7), protection: .readWrite),
      PageTableEntry(page: Page(8), protection: .lazy),
      PageTableEntry(page: Page(2), protection: .readOnly),
    ])
    var list = PageList(runCapacity: 8)
    let context = fixture.context()
    let found = try context.takeUserPages(
      at: 100, pageCount: 3, flags: [.pin, .write], into: &list)
    #expect(found == 2)
    #expect(list.runCount == 1)
    #expect(list.run(at: 0) == PageRun(first: Page(7), count: 2))
    #expect(fixture.map.table.referenceCount(of: Page(2)) == 1)
    #expect(throws: Errno.badAddress) {
      _ = try context.takeUserPages(at: 8192, pageCount: 1, flags: [.pin, .write], into: &list)
    }
    #expect(fixture.counters.sum(.simPinAcquired) == 2)
  }

  @Test("A write breaks copy-on-write, a read does not")
  func copyOnWrite() throws {
    let fixture = Fixture(entries: [
      PageTableEntry(page: Page(3), protection: .copyOnWrite, copy: Page(9))
    ])
    var list = PageList(runCapacity: 8)
    let context = fixture.context()
    _ = try context.takeUserPages(at: 0, pageCount: 1, flags: [.pin], into: &list)
    _ = try context.takeUserPages(at: 0, pageCount: 1, flags: [.pin, .write], into: &list)
    #expect(list.page(at: 0) == Page(3))
    #expect(list.page(at: 1) == Page(9))
  }

  @Test("A range beyond the user limit is refused whole")
  func limit() {
    let fixture = Fixture()
    var list = PageList(runCapacity: 8)
    #expect(throws: Errno.badAddress) {
      _ = try fixture.context().takeUserPages(
        at: userAddressLimit - 4096, pageCount: 2, flags: [.pin], into: &list)
    }
    #expect(list.pageCount == 0)
  }
}

@Suite("A distribution's buckets")
struct BucketTests {
  @Test("Every value lies at or below its bucket's bound and above the one before")
  func bounds() {
    for value in [1, 2, 3, 4, 5, 6, 7, 8, 9, 511, 512, 513, 4096, 1 << 20, (1 << 40) + 12345] {
      let bucket = CounterBlock.bucket(of: value)
      #expect(CounterBlock.upperBound(ofBucket: bucket) >= value)
      if bucket > 0 { #expect(CounterBlock.upperBound(ofBucket: bucket - 1) < value) }
    }
    #expect(CounterBlock.bucket(of: 0) == 0)
  }

  @Test("A power of two from 1 to 2^40 is its bucket's bound", arguments: 0...40)
  func powers(exponent: Int) {
    let value = 1 << exponent
    #expect(CounterBlock.upperBound(ofBucket: CounterBlock.bucket(of: value)) == value)
  }

  @Test("A distribution keeps its values' number and sum, apart from the others'")
  func sums() {
    let counters = CounterSet(count: 2)
    for distribution in Distribution.allCases {
      counters.blocks[0].record(10 + distribution.rawValue, in: distribution)
      counters.blocks[1].record(4096, in: distribution)
    }
    for distribution in Distribution.allCases {
      let samples = counters.samples(of: distribution)
      #expect(samples.reduce(0, +) == 2)
      #expect(samples[CounterBlock.bucket(of: 4096)] == 1)
      #expect(counters.total(of: distribution) == 4106 + distribution.rawValue)
    }
  }
}
