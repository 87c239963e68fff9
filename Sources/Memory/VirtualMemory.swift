// The memory of a small machine with processes: what fork(), copy-on-write, writeback and migration do to pages.

/// Names a process of a `VirtualMemory`.
public struct ProcessID: Equatable, Hashable, Sendable {
  /// Place in the table of processes.
  public let index: Int

  /// Names a process by its place, whether it exists or not.
  public init(index: Int) { self.index = index }
}

/// One virtual page of a process: what it is made of, and what stands behind it now.
///
/// Kernel: `struct vm_area_struct` and a page table entry in one.
struct VirtualPage {
  enum Backing: Equatable {
    /// Nothing is mapped.
    case none
    /// Private anonymous memory.
    case anonymous
    /// A page of the file, shared.
    case file(Int)
  }
  var backing = Backing.none
  /// What the mapping allows. Kernel: `VM_WRITE`.
  var allowsWrites = false
  /// The page, if one is present.
  var page: Page?
  /// Whether the processor may write. Kernel: `pte_write()`.
  var isWritable = false
}

/// What a page frame is used for.
struct Frame {
  /// Page table entries that point here. Kernel: `page_mapcount()`.
  var mapCount = 0
  /// Whether it is private memory of processes. Kernel: `PageAnon()`.
  var isAnonymous = false
  /// Whether its one mapping may be written without a copy. Kernel: `PageAnonExclusive()`.
  var isExclusive = false
  /// Which page of the file it caches. Kernel: `folio->index`.
  var filePage: Int?
  /// Whether it can be taken out of the machine. Kernel: `ZONE_MOVABLE`.
  var isMovable = false
  /// Whether it has been taken out. Kernel: `PageOffline()`.
  var isOffline = false
}

/// A machine's page frames, its processes and one file; exact where pins, references and copy-on-write meet.
///
/// Extraction over a process's `view` faults pages in here, as the kernel's does through its fault handler, and
/// takes pins and references in the same `PageTable` as everywhere else. One thread owns it all.
///
/// Differs: the kernel counts a mapping and the page cache in the page's reference count. Here they are counted
/// apart, and 1 in the page table stands for "nothing held beyond them"; `referenceCount(of:)` gives the sum.
/// There is no swap, no huge page, no reverse map but a search through all processes.
///
/// Kernel: mm/memory.c, mm/gup.c, mm/migrate.c, v6.6.
public final class VirtualMemory {
  /// The page table, with bytes; page 0 is the zero page.
  public let map: MemoryMap
  /// The first user address of every process.
  public let base: UInt64
  /// Virtual pages of each process.
  public let processPageCount: Int
  /// Bugs that are switched on.
  public var bugs: ModelBugs
  /// The file's content on disk, page after page.
  public internal(set) var fileBytes: [UInt8]

  var frames: [Frame]
  var virtualPages: [VirtualPage]
  var isAlive: [Bool]
  /// Whether a process has ever pinned anything. Kernel: `MMF_HAS_PINNED`.
  var hasPinned: [Bool]
  private var spaces: [AddressSpace] = []

  /// Makes a machine without processes.
  /// - Parameters:
  ///   - frameCount: page frames, the zero page included.
  ///   - movableFrameCount: how many of the last frames are movable.
  ///   - processLimit: the most processes at once.
  ///   - processPageCount: virtual pages of each.
  ///   - filePageCount: pages of the file.
  ///   - bugs: what is to go wrong.
  public init(
    frameCount: Int, movableFrameCount: Int = 0, processLimit: Int = 4, processPageCount: Int,
    filePageCount: Int = 0, bugs: ModelBugs = []
  ) {
    map = MemoryMap(pageCount: frameCount, zeroPage: Page(0), hasMemory: true)
    base = 0x10_0000
    self.processPageCount = processPageCount
    self.bugs = bugs
    fileBytes = [UInt8](repeating: 0, count: filePageCount * pageSize)
    frames = [Frame](repeating: Frame(), count: frameCount)
    for index in (frameCount - movableFrameCount)..<frameCount { frames[index].isMovable = true }
    virtualPages = [VirtualPage](
      repeating: VirtualPage(), count: processLimit * processPageCount)
    isAlive = [Bool](repeating: false, count: processLimit)
    hasPinned = [Bool](repeating: false, count: processLimit)
    let first = base >> 12
    spaces = (0..<processLimit).map {
      AddressSpace(
        firstPage: first, count: processPageCount,
        faults: FaultHandler(memory: self, process: ProcessID(index: $0)))
    }
  }

  // MARK: Frames

  /// The reference count as the kernel would show it: mappings, page cache, references, and 1024 for each pin.
  ///
  /// Kernel: `folio_ref_count()`.
  public func referenceCount(of page: Page) -> Int {
    let frame = frames[page.number]
    return frame.mapCount + (frame.filePage == nil ? 0 : 1) + extraReferences(of: page)
  }

  /// What is held on a page beyond its mappings and the page cache.
  public func extraReferences(of page: Page) -> Int {
    map.table.referenceCount(of: page) - 1
  }

  /// Whether hardware may be writing to the page. Kernel: `folio_maybe_dma_pinned()`.
  public func mayBePinned(_ page: Page) -> Bool { map.table.mayBeDMAPinned(page) }

  /// Frames that nobody uses or holds.
  public var freeFrameCount: Int {
    (1..<frames.count).reduce(0) { $0 + (isFree(Page($1)) ? 1 : 0) }
  }

  /// Whether nobody uses or holds the frame, so that it may become anybody's.
  func isFree(_ page: Page) -> Bool {
    page != Page(0) && !frames[page.number].isOffline && referenceCount(of: page) <= 0
  }

  /// Takes the first free frame, its bytes as its last owner left them.
  ///
  /// - Parameter movable: whether a movable frame is welcome, or is even wanted first.
  /// - Throws: `.noMemory` if none is free.
  ///
  /// Kernel: `alloc_page()` under `GFP_HIGHUSER_MOVABLE`, or without the zone for long-term pins.
  func allocate(movable: Bool = true) throws(Errno) -> Page {
    let free = (1..<frames.count).first {
      (movable || !frames[$0].isMovable) && isFree(Page($0))
    }
    guard let free else { throw .noMemory }
    frames[free] = Frame(isMovable: frames[free].isMovable)
    map.table.setReferenceCount(of: Page(free), to: 1)
    map.table.clearDirty(Page(free))
    return Page(free)
  }

  // MARK: Processes

  /// Makes a process with nothing mapped.
  /// - Throws: `.wouldBlock` if there are as many as can be.
  public func spawn() throws(Errno) -> ProcessID {
    guard let free = isAlive.firstIndex(of: false) else { throw .wouldBlock }
    isAlive[free] = true
    hasPinned[free] = false
    return ProcessID(index: free)
  }

  /// Ends a process: everything it has mapped goes; what is pinned stays where it is until unpinned.
  ///
  /// Kernel: `exit_mmap()`, mm/mmap.c, v6.6.
  public func exit(_ process: ProcessID) {
    unmap(process, pages: 0..<processPageCount)
    isAlive[process.index] = false
  }

  /// Whether the process exists.
  public func isAlive(_ process: ProcessID) -> Bool { isAlive[process.index] }

  /// The process's address space, for a `MemoryContext`; valid as long as the machine.
  public func view(of process: ProcessID) -> AddressSpaceView { spaces[process.index].view }

  /// The user address of a virtual page.
  public func address(ofPage index: Int) -> UInt64 { base + UInt64(index * pageSize) }

  /// The page behind a virtual page now, or nil; nothing is faulted in.
  public func page(of process: ProcessID, at index: Int) -> Page? {
    virtualPages[place(process, index)].page
  }

  func place(_ process: ProcessID, _ index: Int) -> Int {
    precondition(index >= 0 && index < processPageCount)
    return process.index * processPageCount + index
  }

  // MARK: Mapping

  /// Maps private anonymous memory, which is all zeroes until written. Kernel: `mmap(MAP_PRIVATE|MAP_ANONYMOUS)`.
  /// - Parameter pages: virtual pages; what was there goes.
  public func mapAnonymous(_ process: ProcessID, pages: Range<Int>, isReadOnly: Bool = false) {
    unmap(process, pages: pages)
    for index in pages {
      virtualPages[place(process, index)] = VirtualPage(
        backing: .anonymous, allowsWrites: !isReadOnly)
    }
  }

  /// Maps pages of the file, shared with all others that map them. Kernel: `mmap(MAP_SHARED)`.
  /// - Parameters:
  ///   - pages: virtual pages; what was there goes.
  ///   - filePage: the file's page behind the first of them.
  public func mapFile(_ process: ProcessID, pages: Range<Int>, filePage: Int) {
    unmap(process, pages: pages)
    for (distance, index) in pages.enumerated() {
      virtualPages[place(process, index)] = VirtualPage(
        backing: .file(filePage + distance), allowsWrites: true)
    }
  }

  /// Takes pages out of a process.
  ///
  /// Kernel: `zap_pte_range()`, mm/memory.c, v6.6.
  public func unmap(_ process: ProcessID, pages: Range<Int>) {
    for index in pages {
      dropMapping(place(process, index))
      virtualPages[place(process, index)] = VirtualPage()
    }
  }

  /// Takes the page out of an entry; the mapping stays, and the next access faults.
  func dropMapping(_ place: Int) {
    guard let page = virtualPages[place].page else { return }
    frames[page.number].mapCount -= 1
    virtualPages[place].page = nil
    virtualPages[place].isWritable = false
  }

  /// Puts a page into an entry.
  func setMapping(_ place: Int, _ page: Page, isWritable: Bool) {
    frames[page.number].mapCount += 1
    dropMapping(place)
    virtualPages[place].page = page
    virtualPages[place].isWritable = isWritable
  }

  /// Entries that point to a page. Kernel: `rmap_walk()`.
  func entries(mapping page: Page) -> [Int] {
    virtualPages.indices.filter { virtualPages[$0].page == page }
  }

  // MARK: Bytes

  /// Copies a page's bytes, as the processor does for copy-on-write and migration.
  func copyBytes(from source: Page, to target: Page) {
    unsafe map.table.memory(at: target, offset: 0, length: pageSize).copyMemory(
      from: UnsafeRawBufferPointer(map.table.memory(at: source, offset: 0, length: pageSize)))
  }

  /// Fills a page with zeroes. Kernel: `clear_user_highpage()`.
  func clearBytes(of page: Page) {
    unsafe map.table.memory(at: page, offset: 0, length: pageSize)
      .initializeMemory(as: UInt8.self, repeating: 0)
  }
}
