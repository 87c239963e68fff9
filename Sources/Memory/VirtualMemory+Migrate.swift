// Migration: moving a page's content to another frame, and why a held page must stay where it is.

extension VirtualMemory {
  /// Which holders keep a page from being moved.
  public enum MigrationRule: Sendable {
    /// Any reference beyond mappings and cache, as the kernel counts.
    case everyReference
    /// Pins only: the race that some labs inject.
    case pinsOnly
  }

  /// Moves a page's content to another frame, and every mapping with it.
  ///
  /// - Parameters:
  ///   - page: mapped or in the page cache.
  ///   - movable: whether the new frame may be movable.
  ///   - rule: who can refuse.
  /// - Returns: the new page.
  /// - Throws: `.wouldBlock` if somebody holds the page, `.noMemory`.
  ///
  /// Kernel: `folio_migrate_mapping()` and `remove_migration_pte()`, mm/migrate.c, v6.6.
  @discardableResult
  public func migrate(
    _ page: Page, movable: Bool = true, rule: MigrationRule = .everyReference
  ) throws(Errno) -> Page {
    precondition(page != Page(0), "the zero page is nobody's to move")
    if isHeld(page, rule) && !bugs.contains(.migrateIgnoresPins) { throw .wouldBlock }
    let target = try allocate(movable: movable)
    copyBytes(from: page, to: target)
    let old = frames[page.number]
    frames[target.number].isAnonymous = old.isAnonymous
    frames[target.number].isExclusive = old.isExclusive
    frames[target.number].filePage = old.filePage
    if map.table.isDirty(page) { map.table.setDirty(target) }
    frames[page.number].filePage = nil
    for place in entries(mapping: page) {
      setMapping(place, target, isWritable: virtualPages[place].isWritable)
    }
    return target
  }

  private func isHeld(_ page: Page, _ rule: MigrationRule) -> Bool {
    rule == .everyReference ? extraReferences(of: page) != 0 : mayBePinned(page)
  }

  /// Makes sure that a page about to be pinned for long is not in a frame that may have to be emptied.
  ///
  /// Differs: the kernel pins first, then looks, unpins all, migrates, and starts again; nobody else is here.
  ///
  /// - Throws: `.wouldBlock` if the page would have to move, and somebody holds it.
  ///
  /// Kernel: `check_and_migrate_movable_pages()`, mm/gup.c, v6.6.
  func leaveMovableZone(_ page: Page) throws(Errno) {
    if frames[page.number].isMovable { try migrate(page, movable: false) }
  }

  /// Whether the page lies in a movable frame. Kernel: `is_zone_movable_page()`.
  public func isMovable(_ page: Page) -> Bool { frames[page.number].isMovable }

  /// Empties all movable frames and takes them out of the machine.
  ///
  /// - Returns: the pages that could not be moved; if there are any, everything stays in.
  ///
  /// Kernel: `offline_pages()` and `do_migrate_range()`, mm/memory_hotplug.c, v6.6.
  public func takeMovableFramesOffline() -> [Page] {
    let movable = frames.indices.filter { frames[$0].isMovable }.map { Page($0) }
    var stuck: [Page] = []
    for page in movable where !isFree(page) {
      do throws(Errno) {
        try migrate(page, movable: false)
      } catch {
        stuck.append(page)
      }
    }
    if stuck.isEmpty {
      for page in movable { frames[page.number].isOffline = true }
    }
    return stuck
  }
}
