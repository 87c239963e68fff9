// What extraction needs to know of its surroundings, and the lookup of user pages.

/// The surroundings of an I/O: the page table, the caller's address space, kernel addresses, the rules, the counters.
///
/// It is passed by value through every layer; all it holds are handles.
///
/// Kernel: `current->mm`, `mem_map` and the per-CPU event counters, which the kernel finds by itself.
public struct MemoryContext: Sendable {
  /// The page table.
  public let pages: PageTable
  /// The client's address space.
  public let user: AddressSpaceView
  /// Kernel addresses.
  public let kernel: KernelMap
  /// Whose rules are followed.
  public var era: Era
  /// Bugs that are switched on; none outside labs and tests. Beside the era, where it takes no room.
  public var bugs: ModelBugs = []
  /// The calling worker's counters.
  public let counters: CounterBlock

  /// Puts the surroundings together.
  public init(
    pages: PageTable, user: AddressSpaceView, kernel: KernelMap, era: Era,
    counters: CounterBlock
  ) {
    self.pages = pages
    self.user = user
    self.kernel = kernel
    self.era = era
    self.counters = counters
  }

  /// Looks up user pages, faults them in as needed, and takes a pin or a reference on each.
  ///
  /// - Parameters:
  ///   - address: user address; the page that holds it is the first.
  ///   - pageCount: how many pages are wanted, at least 1.
  ///   - flags: `.pin`, `.get` or neither (the pages are only listed), with `.write`, `.noFault`, `.pciP2PDMA`.
  ///   - list: the pages are appended here.
  /// - Returns: pages taken, at least 1; fewer than wanted if a later page cannot be had.
  /// - Throws: `.badAddress` if the first page cannot be had with the access asked for, or the range ends beyond
  ///   the user limit; `.remoteIO` if the first page is peer-to-peer memory and `.pciP2PDMA` is not set.
  ///
  /// Kernel: `pin_user_pages_fast()` and `get_user_pages_fast()`, mm/gup.c, v6.6.
  public func takeUserPages(
    at address: UInt64, pageCount: Int, flags: FollFlags, into list: inout PageList
  ) throws(Errno) -> Int {
    precondition(pageCount > 0)
    let start = address & ~UInt64(pageSize - 1)
    let (end, overflow) = start.addingReportingOverflow(UInt64(pageCount) << 12)
    if overflow || end > userAddressLimit { throw .badAddress }
    let lookup = present(from: start >> 12, pageCount: pageCount, flags: flags, into: &list)
    if lookup.found == 0 { throw lookup.stoppedByPeerToPeer ? .remoteIO : .badAddress }
    return lookup.found
  }

  /// Walks the page table and takes run after run of consecutive pages.
  private func present(
    from virtualPage: UInt64, pageCount: Int, flags: FollFlags, into list: inout PageList
  ) -> (found: Int, stoppedByPeerToPeer: Bool) {
    let write = flags.contains(.write)
    let mayFault = !flags.contains(.noFault)
    var stoppedByPeerToPeer = false
    var run = PageRun(first: Page(0), count: 0)
    var found = 0
    let checksPeerToPeer = !flags.contains(.pciP2PDMA) && pages.hasPeerToPeerPages
    user.forEachEntry(from: virtualPage, count: pageCount) { entry, available in
      var step = 1
      if entry.contiguous > 1 && !checksPeerToPeer {
        step = min(Int(entry.contiguous), available)
      } else {
        guard
          entry.faultIn(write: write, mayFault: mayFault)
            || user.resolve(&entry, virtualPage: virtualPage &+ UInt64(found), flags: flags)
        else { return 0 }
        if checksPeerToPeer && pages.isPeerToPeer(entry.page) {
          stoppedByPeerToPeer = true
          return 0
        }
      }
      if run.count > 0 && entry.page == run.end {
        run.count &+= step
      } else {
        grab(run, flags: flags, into: &list)
        run = PageRun(first: entry.page, count: step)
      }
      found &+= step
      return step
    }
    grab(run, flags: flags, into: &list)
    return (found, stoppedByPeerToPeer)
  }

  @inline(__always)
  private func grab(_ run: PageRun, flags: FollFlags, into list: inout PageList) {
    if run.count == 0 { return }
    let counted = pages.take(run, mode: flags, era: era)
    noteTaken(counted, mode: flags)
    if let zero = pages.zeroPage, zero >= run.first, zero < run.end {
      counters.add(.simZeroPageUses, 1)
      if bugs.contains(.zeroPageRef) && flags.contains(.pin) && !era.pinsZeroPage {
        noteTaken(pages.take(PageRun(first: zero, count: 1), mode: .pin, era: .v8), mode: .pin)
      }
    }
    list.append(run)
  }

  /// Takes a pin or a reference on pages that were found without an address space, and counts it.
  ///
  /// - Parameter mode: `.pin` or `.get`; nothing is taken otherwise.
  /// - Throws: `.badAddress` if the run leaves the page table.
  public func takeListed(_ run: PageRun, mode: FollFlags) throws(Errno) {
    let mode = mode.cleanupMode
    if mode.isEmpty { return }
    if run.first.number &+ run.count > pages.count { throw .badAddress }
    noteTaken(pages.take(run, mode: mode, era: era), mode: mode)
  }

  /// Counts pages on which something was taken.
  @inline(__always)
  public func noteTaken(_ pageCount: Int, mode: FollFlags) {
    if mode.contains(.pin) {
      counters.addPinned(pageCount)
    } else if mode.contains(.get) {
      counters.add(.simGetAcquired, pageCount)
    }
  }

  /// Drops what was taken on every page of a run, and counts it.
  ///
  /// A page that had nothing left to drop is a double release: it is counted, and named in the ledger.
  ///
  /// Kernel: `bio_release_page()`, block/blk.h, v8 series, patch 7, for a run of pages.
  public func release(_ run: PageRun, mode: FollFlags) {
    let mode = mode.cleanupMode
    if mode.isEmpty { return }
    let (counted, double) = pages.drop(run, mode: mode, era: era)
    if mode.contains(.pin) {
      counters.addUnpinned(counted)
    } else {
      counters.add(.simGetReleased, counted)
    }
    if double > 0 { counters.add(.simDoubleReleases, double) }
  }

  /// Releases a run but for the zero page: a bug that can be switched on.
  public func releaseAroundZeroPage(_ run: PageRun, mode: FollFlags) {
    guard let zero = pages.zeroPage, zero >= run.first, zero < run.end else {
      return release(run, mode: mode)
    }
    let before = zero.number - run.first.number
    release(PageRun(first: run.first, count: before), mode: mode)
    release(PageRun(first: zero.advanced(by: 1), count: run.count - before - 1), mode: mode)
  }
}

extension PageTableEntry {
  /// Makes the page present with the access asked for, as the fault handler would.
  ///
  /// - Returns: false if it cannot be had: an unmapped page, a refused write, or a fault where none is allowed.
  ///
  /// Kernel: `handle_mm_fault()`, mm/memory.c.
  @inline(__always)
  mutating func faultIn(write: Bool, mayFault: Bool) -> Bool {
    if protection == .readWrite { return true }
    return faultInSlowly(write: write, mayFault: mayFault)
  }

  private mutating func faultInSlowly(write: Bool, mayFault: Bool) -> Bool {
    switch protection {
    case .readWrite: return true
    case .unmapped, .managed: return false
    case .readOnly: return !write
    case .lazy:
      if mayFault { protection = .readWrite }
      return mayFault
    case .lazyReadOnly:
      if !mayFault || write { return false }
      protection = .readOnly
      return true
    case .copyOnWrite:
      if !write { return true }
      if !mayFault { return false }
      page = copy
      protection = .readWrite
      return true
    }
  }
}
