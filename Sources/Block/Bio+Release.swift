// What happens to a bio's pages at its end: they are marked dirty if they were read into, and released.

import IOVector
import Memory

extension Bio {
  /// Releases every page that the bio's segments touch, as its flags say; nothing remains to be released.
  ///
  /// Each segment is one run of pages.
  /// - Parameter markDirty: whether the pages are marked dirty first; pages that are not held never are.
  ///
  /// Kernel: `bio_release_pages()` and `__bio_release_pages()`, block/bio.c, v6.6.
  public mutating func releasePages(markDirty: Bool) {
    let mode = flags.cleanupMode
    if mode.isEmpty { return }
    let context = self.context
    if markDirty && !context.bugs.contains(.dirtyTooLate) { setPagesDirty() }
    if context.bugs.isEmpty {
      for index in 0..<vectorCount {
        context.release(table[index].pageRun, mode: mode)
      }
    } else {
      misrelease(mode, context)
    }
    unsafe slot.pointee.flags.subtract([.pagePinned, .pageReffed])
  }

  /// Releases the pages as the bugs that are switched on would.
  private func misrelease(_ mode: FollFlags, _ context: MemoryContext) {
    for index in 0..<vectorCount {
      var run = table[index].pageRun
      if index == vectorCount - 1 && run.count > 0 {
        let last = PageRun(first: run.first.advanced(by: run.count - 1), count: 1)
        if context.bugs.contains(.doubleRelease) { context.release(last, mode: mode) }
        if context.bugs.contains(.releaseOneShort) { run.count -= 1 }
      }
      if context.bugs.contains(.zeroPageRef) {
        context.releaseAroundZeroPage(run, mode: mode)
      } else {
        context.release(run, mode: mode)
      }
    }
  }

  /// Marks the pages of all segments dirty, as the pool's granularity says.
  ///
  /// Kernel: `bio_set_pages_dirty()`, block/bio.c, v6.6.
  public func setPagesDirty() {
    let pages = unsafe slot.pointee.pool.pointee.context.pages
    let byFolio = unsafe slot.pointee.pool.pointee.dirtyGranularity == .folio
    for index in 0..<vectorCount {
      let run = table[index].pageRun
      if byFolio {
        pages.forEachFolio(of: run) { pages.setDirty($0) }
      } else {
        pages.setDirty(run)
      }
    }
  }

  /// Checks whether a page was cleaned since the bio was submitted; if not, releases the pages.
  ///
  /// - Returns: true if a page is clean: then the pages are still held, and the caller ends the bio in a place
  ///   where pages may be dirtied again, with `end`.
  ///
  /// Kernel: `bio_check_pages_dirty()`, block/bio.c, v6.6.
  public mutating func checkPagesDirty() -> Bool {
    if hasCleanPage { return true }
    releasePages(markDirty: false)
    return false
  }

  private var hasCleanPage: Bool {
    let pages = unsafe slot.pointee.pool.pointee.context.pages
    let byFolio = unsafe slot.pointee.pool.pointee.dirtyGranularity == .folio
    var found = false
    for index in 0..<vectorCount {
      let run = table[index].pageRun
      if byFolio {
        pages.forEachFolio(of: run) { if !pages.isDirty($0) { found = true } }
      } else {
        for place in 0..<run.count {
          let page = run.first.advanced(by: place)
          if pages.contains(page) && !pages.isCompound(page) && !pages.isDirty(page) {
            found = true
          }
        }
      }
    }
    return found
  }
}

extension PageTable {
  /// Marks pages dirty one by one; parts of large folios are left alone.
  @inline(__always)
  func setDirty(_ run: PageRun) {
    for index in 0..<run.count {
      let page = run.first.advanced(by: index)
      if contains(page) && !isCompound(page) { setDirty(page) }
    }
  }

  /// Calls `body` with the head of each folio that a run touches.
  @inline(__always)
  func forEachFolio(of run: PageRun, _ body: (Page) -> Void) {
    var page = run.first
    while page < run.end && contains(page) {
      let head = head(of: page)
      body(head)
      page = head.advanced(by: 1 << order(of: page))
    }
  }
}
