// The memory that a vector describes: pages, a user page table, a vmalloc range.

import Memory

/// A simulated machine for one vector, and what changed in its counters.
final class World {
  let map: MemoryMap
  private let space: AddressSpace
  private let vmalloc: VmallocTable
  private let counterSet = CounterSet(count: 1)
  let context: MemoryContext
  private let initial: [[Int]]
  private var seen: [[Int]]
  /// The most runs that one extraction can give for user and vmalloc memory.
  let scatteredPages: Int

  /// The most pages that a vector may describe.
  static let maxPages = 1 << 12
  /// The most user or vmalloc pages that it may map.
  static let maxMappings = 1 << 16

  /// Builds the machine.
  /// - Parameters:
  ///   - input: a vector's `input`, with `mem`, `pt` and `vmap`.
  ///   - era: whose rules are followed.
  ///   - hasMemory: whether the pages have bytes.
  init(_ input: JSON, era: Era = .merged, hasMemory: Bool = false) throws(VectorError) {
    let mem = try input.optional("mem") ?? .object(["pages": .int(1)])
    let pageCount = try mem.int(field: "pages", 1...Self.maxPages)
    let last = pageCount - 1
    let zero = try mem.optional("zero")?.int("zero", 0...last)
    map = MemoryMap(
      pageCount: pageCount, largeFolios: try Self.folios(mem, pageCount: pageCount),
      zeroPage: zero.map { Page($0) }, hasMemory: hasMemory)
    for page in try mem.arrayIfPresent("p2p") {
      map.table.markPeerToPeer(Page(try page.int("p2p", 0...last)))
    }
    if case .object(let refs) = try mem.optional("refs") ?? .null {
      for (name, count) in refs {
        guard let page = Int(name), page >= 0, page < pageCount else {
          throw VectorError(text: "refs: no page \(name)")
        }
        let value = try count.int("refs", Int(Int32.min / 2)...Int(Int32.max / 2))
        map.table.setReferenceCount(of: Page(page), to: value)
      }
    }
    let entries = try Self.userEntries(input, pageCount: pageCount)
    space = AddressSpace(Self.areas(entries))
    let vmallocPages = try Self.vmallocPages(input)
    vmalloc = VmallocTable(pages: vmallocPages)
    scatteredPages = entries.count + vmallocPages.count
    context = MemoryContext(
      pages: map.table, user: space.view, kernel: vmalloc.map, era: era,
      counters: counterSet.blocks[0])
    initial = Self.counts(map.table)
    seen = initial
  }

  private static func folios(
    _ mem: JSON, pageCount: Int
  ) throws(VectorError) -> [(head: Page, order: Int)] {
    var folios: [(head: Page, order: Int)] = []
    var taken = Array(repeating: false, count: pageCount)
    for folio in try mem.arrayIfPresent("folios") {
      let pair = try folio.array("folio", count: 2...2)
      let head = try pair[0].int("folio head", 0...pageCount - 1)
      let order = try pair[1].int("folio order", 0...16)
      let end = head + 1 << order
      if end > pageCount { throw VectorError(text: "folio \(head) is beyond the pages") }
      for page in head..<end {
        if taken[page] { throw VectorError(text: "page \(page) is in two folios") }
        taken[page] = true
      }
      folios.append((Page(head), order))
    }
    return folios
  }

  private static func userEntries(
    _ input: JSON, pageCount: Int
  ) throws(VectorError) -> [UInt64: PageTableEntry] {
    var entries: [UInt64: PageTableEntry] = [:]
    for run in try input.arrayIfPresent("pt") {
      let parts = try run.array("pt", count: 4...5)
      let first = try parts[0].int("virtual page", 0...1 << 36)
      let page = try parts[1].int("page", 0...pageCount - 1)
      let count = try parts[2].int("count", 0...pageCount - page)
      let name = try parts[3].string("perm")
      guard let protection = Self.protection(name), (name == "cow") == (parts.count == 5) else {
        throw VectorError(text: "unknown page table entry \(run.text)")
      }
      let copy = parts.count == 5 ? try parts[4].int("to", 0...pageCount - max(count, 1)) : page
      for index in 0..<count {
        entries[UInt64(first + index)] = PageTableEntry(
          page: Page(page + index), protection: protection, copy: Page(copy + index))
      }
      if entries.count > maxMappings { throw VectorError(text: "too many user pages") }
    }
    return entries
  }

  private static func protection(_ name: String) -> PageProtection? {
    switch name {
    case "rw": .readWrite
    case "ro": .readOnly
    case "lazy": .lazy
    case "lazyro": .lazyReadOnly
    case "cow": .copyOnWrite
    default: nil
    }
  }

  private static func areas(
    _ entries: [UInt64: PageTableEntry]
  ) -> [(firstPage: UInt64, entries: [PageTableEntry])] {
    var areas: [(firstPage: UInt64, entries: [PageTableEntry])] = []
    for (virtual, entry) in entries.sorted(by: { $0.key < $1.key }) {
      if let last = areas.last, last.firstPage + UInt64(last.entries.count) == virtual {
        areas[areas.count - 1].entries.append(entry)
      } else {
        areas.append((virtual, [entry]))
      }
    }
    return areas
  }

  private static func vmallocPages(_ input: JSON) throws(VectorError) -> [Page] {
    var pages: [Page] = []
    for run in try input.arrayIfPresent("vmap") {
      let parts = try run.array("vmap", count: 3...3)
      let first = try parts[0].int("vmalloc page", 0...maxMappings)
      let page = try parts[1].int("page", 0...1 << 31)
      let count = try parts[2].int("count", 0...maxMappings)
      while pages.count < first + count { pages.append(Page(KernelMap.unmapped)) }
      for index in 0..<count { pages[first + index] = Page(page + index) }
    }
    return pages
  }

  private static func counts(_ table: PageTable) -> [[Int]] {
    (0..<table.count).map {
      [table.referenceCount(of: Page($0)), table.pinCount(of: Page($0))]
    }
  }

  /// The counters that changed since the last call, with their new values.
  func changes() -> JSON {
    let now = Self.counts(map.table)
    defer { seen = now }
    return Self.difference(from: seen, to: now)
  }

  /// The counters that differ from the initial ones.
  var leaked: JSON { Self.difference(from: initial, to: Self.counts(map.table)) }

  private static func difference(from old: [[Int]], to new: [[Int]]) -> JSON {
    var fields: [String: JSON] = [:]
    for page in new.indices where new[page] != old[page] { fields[String(page)] = .ints(new[page]) }
    return .object(fields)
  }

  /// The pages that are dirty, in order.
  var dirtyPages: JSON {
    .ints((0..<map.table.count).filter { map.table.isDirty(Page($0)) })
  }
}
