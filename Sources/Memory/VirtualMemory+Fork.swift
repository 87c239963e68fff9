// fork(): the child gets the same pages, write-protected in both, but for those that hardware may be touching.

extension VirtualMemory {
  /// Makes a child with the parent's memory.
  ///
  /// - Throws: `.wouldBlock` if there are as many processes as can be, `.noMemory` if a pinned page could not be
  ///   copied: then there is no child.
  ///
  /// Kernel: `copy_page_range()`, mm/memory.c, v6.6.
  public func fork(_ parent: ProcessID) throws(Errno) -> ProcessID {
    let child = try spawn()
    for index in 0..<processPageCount {
      do throws(Errno) {
        try copyEntry(from: place(parent, index), to: place(child, index), parent)
      } catch {
        exit(child)
        throw error
      }
    }
    return child
  }

  /// Kernel: `copy_present_pte()`, mm/memory.c, v6.6.
  private func copyEntry(
    from source: Int, to target: Int, _ parent: ProcessID
  ) throws(Errno) {
    let entry = virtualPages[source]
    virtualPages[target] = VirtualPage(backing: entry.backing, allowsWrites: entry.allowsWrites)
    guard let page = entry.page else { return }
    if frames[page.number].isAnonymous {
      if frames[page.number].isExclusive && needsEarlyCopy(page, parent) {
        return try copyEarly(page, to: target)
      }
      // From here on neither owns the page: the first to write gets a copy, or, left alone with it, takes it over.
      frames[page.number].isExclusive = false
      virtualPages[source].isWritable = false
    }
    setMapping(target, page, isWritable: virtualPages[source].isWritable)
  }

  /// Whether the child must get a copy now, because a later one would move the parent away from its pinned page.
  ///
  /// Kernel: `page_needs_cow_for_dma()`, include/linux/mm.h, v6.6.
  private func needsEarlyCopy(_ page: Page, _ parent: ProcessID) -> Bool {
    hasPinned[parent.index] && mayBePinned(page) && !bugs.contains(.forkIgnoresPins)
  }

  /// The parent keeps its page, writable; the child gets a copy of its own.
  ///
  /// Kernel: `copy_present_page()`, mm/memory.c, v6.6.
  private func copyEarly(_ page: Page, to target: Int) throws(Errno) {
    let copy = try allocate()
    copyBytes(from: page, to: copy)
    mapOwn(target, copy, writable: virtualPages[target].allowsWrites)
  }
}
