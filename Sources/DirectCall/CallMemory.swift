// The caller's memory: a page table, an address space over it, and which bytes the processor may copy.

import IOVector
import Memory

/// A user page as a call finds it.
public struct MappedPage: Equatable, Sendable {
  /// What may be done with it.
  public enum Access: Sendable {
    /// Everything.
    case readWrite
    /// Reading.
    case readOnly
    /// Nothing.
    case none
  }

  /// The page; nil if none was ever there.
  public var page: Page?
  /// What an extraction may do.
  public var access: Access
  /// Whether the processor may copy although no extraction succeeds, as with secret memory.
  public var isSecret = false
  /// Whether nothing is there before the first access faults it in.
  public var isAbsent = false
  /// Whether another process has the page too, so that a pin for reading replaces it first.
  public var isShared = false
  /// Whether it is of a page cache that keeps large folios.
  public var isCached = false

  /// Makes a mapping.
  public init(page: Page?, access: Access) {
    self.page = page
    self.access = access
  }
}

/// A machine's pages and one process's addresses, made for one call and its successors.
public final class CallMemory {
  /// The page table.
  public let map: MemoryMap
  private let space: AddressSpace
  private let counterSet = CounterSet(count: 1)
  private let mapped: [UInt64: MappedPage]
  private var absent: Set<UInt64> = []
  private var shared: Set<UInt64> = []
  private let cached: Set<Page>
  /// What extraction needs.
  let context: MemoryContext

  /// Builds the memory.
  /// - Parameters:
  ///   - pageCount: pages of the machine, at least 1.
  ///   - folios: first page and order of each large folio.
  ///   - zeroPage: the shared zero page.
  ///   - mapped: user pages by virtual page number.
  ///   - era: whose rules are followed.
  public init(
    pageCount: Int, folios: [(head: Page, order: Int)] = [], zeroPage: Page? = nil,
    mapped: [UInt64: MappedPage], era: Era
  ) {
    map = MemoryMap(pageCount: pageCount, largeFolios: folios, zeroPage: zeroPage)
    self.mapped = mapped
    for (number, page) in mapped {
      if page.isAbsent { absent.insert(number) }
      if page.isShared { shared.insert(number) }
    }
    cached = Set(mapped.values.filter(\.isCached).compactMap(\.page))
    space = AddressSpace(Self.areas(mapped))
    context = MemoryContext(
      pages: map.table, user: space.view, kernel: .linear, era: era,
      counters: counterSet.blocks[0])
  }

  private static func areas(
    _ mapped: [UInt64: MappedPage]
  ) -> [(firstPage: UInt64, entries: [PageTableEntry])] {
    var areas: [(firstPage: UInt64, entries: [PageTableEntry])] = []
    for (number, user) in mapped.sorted(by: { $0.key < $1.key }) {
      guard let page = user.page, user.access != .none else { continue }
      let entry = PageTableEntry(
        page: page, protection: user.access == .readWrite ? .readWrite : .readOnly)
      if let last = areas.last, last.firstPage + UInt64(last.entries.count) == number {
        areas[areas.count - 1].entries.append(entry)
      } else {
        areas.append((number, [entry]))
      }
    }
    return areas
  }

  /// Pins taken and given back so far.
  var pins: (acquired: Int, released: Int) {
    (
      counterSet.blocks[0].value(of: .simPinAcquired),
      counterSet.blocks[0].value(of: .simPinReleased)
    )
  }

  /// What is held now, pins and references together: 0 after a call that leaks nothing.
  public var heldPages: Int {
    let block = counterSet.blocks[0]
    return block.value(of: .simPinAcquired) - block.value(of: .simPinReleased)
      + block.value(of: .simGetAcquired) - block.value(of: .simGetReleased)
  }

  /// How many of the bytes from an address on the processor can copy before it faults.
  ///
  /// Kernel: `copy_to_user()` and `copy_from_user()`.
  func copyableBytes(at address: UInt64, count: Int, isWrite: Bool) -> Int {
    var done = 0
    while done < count {
      let place = address &+ UInt64(done)
      guard place < userAddressLimit, let page = mapped[place >> 12] else { return done }
      let allowed =
        switch page.access {
        case .readWrite: true
        case .readOnly: !isWrite
        case .none: page.isSecret
        }
      if !allowed { return done }
      done += min(count - done, pageSize - Int(place & 4095))
    }
    return count
  }

  /// Whether some pages are secret.
  var hasSecrets: Bool { mapped.values.contains(where: \.isSecret) }

  /// Whether two pages are of one folio. Neighbours in a page cache with large folios are taken to be.
  func sameFolio(_ a: Page, _ b: Page) -> Bool {
    map.table.head(of: a) == map.table.head(of: b) || (cached.contains(a) && cached.contains(b))
  }

  /// Whether any page from an address on would have to be faulted in.
  func isAbsent(at address: UInt64, pageCount: Int) -> Bool {
    if absent.isEmpty { return false }
    return (0..<UInt64(pageCount)).contains { absent.contains(address >> 12 + $0) }
  }

  /// Faults all absent pages in.
  func faultIn() { absent = [] }

  /// Makes pages the caller's own before they are pinned for reading: the lookup without the lock has then pinned one
  /// already, and drops it.
  ///
  /// Kernel: `gup_must_unshare()`, mm/internal.h, v6.0.
  func unshare(at address: UInt64, pageCount: Int) {
    let first = address >> 12
    let found = (0..<UInt64(pageCount)).map { first + $0 }.filter { shared.contains($0) }
    if found.isEmpty { return }
    shared.subtract(found)
    counterSet.blocks[0].addPinned(1)
    counterSet.blocks[0].addUnpinned(1)
  }

  /// The page behind an address, whatever its access, as a registration or a pipe holds it.
  func page(at address: UInt64) -> Page? { mapped[address >> 12]?.page }
}
