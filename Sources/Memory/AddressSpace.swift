// A user address space: which page stands behind which user address, and with what access.

/// The state of one user page.
public enum PageProtection: UInt8, Sendable {
  /// No page: every access faults for good.
  case unmapped
  /// Present, readable and writable.
  case readWrite
  /// Present and readable; a write is refused.
  case readOnly
  /// Not present; the first access makes it `readWrite`.
  case lazy
  /// Not present; the first read makes it `readOnly`, a write is refused.
  case lazyReadOnly
  /// Present and readable; the first write puts the copy in its place and makes it `readWrite`.
  case copyOnWrite
  /// Whoever made the space decides at each access; see `VirtualMemory`.
  case managed
}

/// One entry of a user page table.
public struct PageTableEntry: Sendable {
  /// The page behind the address.
  public var page: Page
  /// What a write puts in its place, under copy-on-write.
  public var copy: Page
  /// What may be done with it.
  public var protection: PageProtection
  /// Entries from here on, this one included, that are `readWrite` and stand for consecutive pages; 0 if unknown.
  ///
  /// Whoever takes access away from an entry must set it to 0 there and in the entries before it.
  var contiguous: UInt32 = 0

  /// Makes an entry.
  @inlinable public init(page: Page, protection: PageProtection, copy: Page? = nil) {
    self.page = page
    self.copy = copy ?? page
    self.protection = protection
  }
}

/// A contiguous range of user pages with one entry each.
@safe struct VirtualArea {
  let firstPage: UInt64
  let count: Int
  let entries: UnsafeMutablePointer<PageTableEntry>
  /// Answers for `managed` entries. Borrowed: the space keeps it. It stands here, not in the view, because views
  /// are copied with every context.
  let faults: Unmanaged<FaultHandler>?
}

/// A handle to an address space: what page lookups need of it. The `AddressSpace` must outlive it.
@safe public struct AddressSpaceView: @unchecked Sendable {
  // Guard of the unchecked Sendable: in a mount nothing faults, so entries do not change; elsewhere one
  // thread owns the space.
  let areas: UnsafeMutablePointer<VirtualArea>?
  let areaCount: Int

  /// An address space with nothing in it.
  public static var empty: AddressSpaceView {
    unsafe AddressSpaceView(areas: nil, areaCount: 0)
  }

  /// Visits entries from a virtual page on, until `body` says stop, an unmapped page comes, or `count` is reached.
  ///
  /// - Parameter body: gets an entry and how many entries from it on are wanted and exist; returns how many it
  ///   has dealt with, 0 to stop.
  @inline(__always)
  func forEachEntry(
    from virtualPage: UInt64, count: Int, _ body: (inout PageTableEntry, Int) -> Int
  ) {
    var page = virtualPage
    var left = count
    while left > 0, let area = area(containing: page) {
      let start = Int(page - area.firstPage)
      let here = min(left, area.count - start)
      var done = 0
      while done < here {
        // SAFETY: `here` was cut to the area's count.
        let dealt = unsafe body(&area.entries[start &+ done], here &- done)
        if dealt == 0 { return }
        done &+= dealt
      }
      page += UInt64(here)
      left -= here
    }
  }

  /// Asks the space's maker for the page behind a `managed` entry.
  ///
  /// - Returns: false if the page cannot be had with the access asked for, or the entry is of another kind.
  @inline(never)
  func resolve(
    _ entry: inout PageTableEntry, virtualPage: UInt64, flags: FollFlags
  ) -> Bool {
    guard entry.protection == .managed, let area = area(containing: virtualPage),
      let faults = unsafe area.faults
    else { return false }
    // SAFETY: the space outlives its views, and it keeps the handler.
    let page = unsafe faults.takeUnretainedValue().page(at: virtualPage, flags: flags)
    guard let page else { return false }
    entry.page = page
    return true
  }

  @inline(__always)
  private func area(containing page: UInt64) -> VirtualArea? {
    guard let areas = unsafe areas else { return nil }
    for index in 0..<areaCount {
      let area = unsafe areas[index]
      if page >= area.firstPage && page - area.firstPage < UInt64(area.count) {
        return area
      }
    }
    return nil
  }
}

/// Owns a user address space made of a few contiguous areas.
///
/// Kernel: `struct mm_struct` with its VMAs and page tables.
@safe public final class AddressSpace: @unchecked Sendable {
  // Guard of the unchecked Sendable: areas are fixed when made; entries as in `AddressSpaceView`.
  private let areas: UnsafeMutablePointer<VirtualArea>
  private let areaCount: Int
  private let faults: FaultHandler?

  /// Makes an address space.
  /// - Parameter ranges: first virtual page and the entries of each contiguous range; ranges do not overlap.
  public convenience init(_ ranges: [(firstPage: UInt64, entries: [PageTableEntry])]) {
    self.init(ranges, faults: nil)
  }

  /// Makes an address space of which a model of processes decides.
  /// - Parameters:
  ///   - firstPage: the first virtual page.
  ///   - count: how many there are.
  ///   - faults: asked at each access.
  convenience init(firstPage: UInt64, count: Int, faults: FaultHandler) {
    let entry = PageTableEntry(page: Page(0), protection: .managed)
    self.init([(firstPage, [PageTableEntry](repeating: entry, count: count))], faults: faults)
  }

  private init(
    _ ranges: [(firstPage: UInt64, entries: [PageTableEntry])], faults: FaultHandler?
  ) {
    self.faults = faults
    areaCount = ranges.count
    unsafe areas = .allocate(capacity: max(ranges.count, 1))
    for (index, range) in ranges.enumerated() {
      let entries = UnsafeMutablePointer<PageTableEntry>.allocate(
        capacity: max(range.entries.count, 1))
      for (position, entry) in range.entries.enumerated() {
        unsafe (entries + position).initialize(to: entry)
      }
      unsafe Self.findContiguous(entries, count: range.entries.count)
      unsafe (areas + index).initialize(
        to: VirtualArea(
          firstPage: range.firstPage, count: range.entries.count, entries: entries,
          faults: faults.map { unsafe Unmanaged.passUnretained($0) }))
    }
  }

  /// Notes for each entry how many consecutive pages it starts, so that lookups go run by run.
  @unsafe private static func findContiguous(
    _ entries: UnsafeMutablePointer<PageTableEntry>, count: Int
  ) {
    for index in (0..<count).reversed() {
      guard unsafe entries[index].protection == .readWrite else { continue }
      let follows =
        unsafe index + 1 < count
        && entries[index + 1].page == entries[index].page.advanced(by: 1)
      let rest: UInt32 = follows ? unsafe entries[index + 1].contiguous : 0
      unsafe entries[index].contiguous = rest + 1
    }
  }

  deinit {
    for index in 0..<areaCount { unsafe areas[index].entries.deallocate() }
    unsafe areas.deallocate()
  }

  /// The handle for lookups; the space must outlive it.
  public var view: AddressSpaceView {
    unsafe AddressSpaceView(areas: areas, areaCount: areaCount)
  }
}
