// Faults: what a processor's access, or an extraction's, makes of a virtual page.

/// Stands between an address space and the machine that it belongs to.
///
/// Kernel: `handle_mm_fault()` as `faultin_page()` calls it, mm/gup.c, v6.6.
final class FaultHandler {
  private unowned let memory: VirtualMemory
  private let process: ProcessID

  init(memory: VirtualMemory, process: ProcessID) {
    self.memory = memory
    self.process = process
  }

  /// The page behind a virtual page, with the access that the flags ask for, or nil.
  func page(at virtualPage: UInt64, flags: FollFlags) -> Page? {
    let index = Int(virtualPage - memory.base >> 12)
    do throws(Errno) {
      return try memory.follow(process, page: index, flags: flags)
    } catch {
      return nil
    }
  }
}

extension VirtualMemory {
  /// Finds the page for an extraction, faulting it in, breaking its sharing or moving it as the flags demand.
  ///
  /// Only the page is made ready here; the caller takes the pin or the reference. Nothing can come between.
  ///
  /// - Throws: `.badAddress` without a mapping that allows the access, `.noMemory` if there is no frame,
  ///   `.wouldBlock` if a long-term pin is asked for and the page cannot leave its movable frame.
  ///
  /// Kernel: `follow_page_pte()` and `faultin_page()`, mm/gup.c, v6.6.
  func follow(_ process: ProcessID, page index: Int, flags: FollFlags) throws(Errno) -> Page {
    let place = place(process, index)
    let write = flags.contains(.write)
    let entry = virtualPages[place]
    if entry.page == nil || (write && !entry.isWritable) {
      if flags.contains(.noFault) { throw .badAddress }
      try fault(place, write: write)
    }
    if mustUnshare(place, flags: flags) {
      if flags.contains(.noFault) { throw .badAddress }
      try unshare(place)
    }
    if flags.contains(.longTerm), let page = virtualPages[place].page {
      try leaveMovableZone(page)
    }
    if flags.contains(.pin) { hasPinned[process.index] = true }
    guard let page = virtualPages[place].page else { throw .badAddress }
    return page
  }

  /// Whether a pin for reading would sit on a page that copy-on-write may still replace.
  ///
  /// Pins for writing found the page writable, and so exclusive. Page cache is nobody's own; the zero page
  /// only matters to those who pin for long, and want to see what is written later.
  ///
  /// Kernel: `gup_must_unshare()`, mm/internal.h, v6.6.
  private func mustUnshare(_ place: Int, flags: FollFlags) -> Bool {
    if flags.contains(.write) || !flags.contains(.pin) { return false }
    if bugs.contains(.pinWithoutUnshare) { return false }
    guard let page = virtualPages[place].page else { return false }
    if frames[page.number].isAnonymous { return !frames[page.number].isExclusive }
    return flags.contains(.longTerm) && virtualPages[place].backing == .anonymous
  }

  /// Makes an entry present, and writable if asked for.
  ///
  /// - Throws: `.badAddress`, `.noMemory`.
  ///
  /// Kernel: `handle_pte_fault()`, mm/memory.c, v6.6.
  func fault(_ place: Int, write: Bool) throws(Errno) {
    let entry = virtualPages[place]
    if write && !entry.allowsWrites { throw .badAddress }
    switch entry.backing {
    case .none: throw .badAddress
    case .file(let filePage): try faultFile(place, filePage, write: write)
    case .anonymous:
      if entry.page == nil {
        try faultAnonymous(place, write: write)
      } else if write && !entry.isWritable {
        try breakSharing(place, writable: true)
      }
    }
  }

  /// First touch: a read gets the zero page, a write a page of zeroes of its own.
  ///
  /// Kernel: `do_anonymous_page()`, mm/memory.c, v6.6.
  private func faultAnonymous(_ place: Int, write: Bool) throws(Errno) {
    if !write { return setMapping(place, Page(0), isWritable: false) }
    let page = try allocate()
    clearBytes(of: page)
    mapOwn(place, page, writable: true)
  }

  /// A pin for reading gets a page that is this process's alone; it stays write-protected.
  ///
  /// Kernel: `do_wp_page()` under `FAULT_FLAG_UNSHARE`, mm/memory.c, v6.6.
  private func unshare(_ place: Int) throws(Errno) {
    try breakSharing(place, writable: false)
  }

  /// Makes a present page the process's own: by taking it over if nobody else has it, else by a copy.
  ///
  /// Kernel: `do_wp_page()`, mm/memory.c, v6.6.
  private func breakSharing(_ place: Int, writable: Bool) throws(Errno) {
    guard let page = virtualPages[place].page else { return }
    if frames[page.number].isAnonymous && (frames[page.number].isExclusive || mayReuse(page)) {
      frames[page.number].isExclusive = true
      virtualPages[place].isWritable = writable
      return
    }
    try copyForWriter(place, page, writable: writable)
  }

  /// Whether this mapping is all that holds the page. A pin or a reference of anybody forbids it: the holder
  /// would go on using a page that the processor writes to under another name.
  ///
  /// Kernel: `wp_can_reuse_anon_folio()`, mm/memory.c, v6.6.
  private func mayReuse(_ page: Page) -> Bool {
    referenceCount(of: page) == 1 || bugs.contains(.reuseIgnoresSharing)
  }

  /// Kernel: `wp_page_copy()`, mm/memory.c, v6.6.
  private func copyForWriter(_ place: Int, _ page: Page, writable: Bool) throws(Errno) {
    let copy = try allocate()
    copyBytes(from: page, to: copy)
    mapOwn(place, copy, writable: writable)
  }

  /// Maps a fresh page that nobody else has. Kernel: `folio_add_new_anon_rmap()`, mm/rmap.c, v6.6.
  func mapOwn(_ place: Int, _ page: Page, writable: Bool) {
    frames[page.number].isAnonymous = true
    frames[page.number].isExclusive = true
    setMapping(place, page, isWritable: writable)
  }
}

extension VirtualMemory {
  /// Writes bytes as the process's own instructions would.
  /// - Throws: `.badAddress`, `.noMemory`; pages before the one that failed are written.
  public func write(
    _ process: ProcessID, at address: UInt64, _ bytes: some Collection<UInt8>
  ) throws(Errno) {
    var offset = Int(address - base)
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = min(rest.count, pageSize - offset % pageSize)
      let page = try follow(process, page: offset / pageSize, flags: .write)
      unsafe map.table.memory(at: page, offset: offset % pageSize, length: count)
        .copyBytes(from: rest.prefix(count))
      rest = rest.dropFirst(count)
      offset += count
    }
  }

  /// Reads bytes as the process's own instructions would.
  /// - Throws: `.badAddress`.
  public func read(
    _ process: ProcessID, at address: UInt64, count: Int
  ) throws(Errno) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    var offset = Int(address - base)
    while bytes.count < count {
      let piece = min(count - bytes.count, pageSize - offset % pageSize)
      let page = try follow(process, page: offset / pageSize, flags: [])
      unsafe bytes.append(
        contentsOf: map.table.memory(at: page, offset: offset % pageSize, length: piece))
      offset += piece
    }
    return bytes
  }
}
