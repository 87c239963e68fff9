// File pages: the page cache, write-protection that notices writers, writeback, and dropping clean pages.

extension VirtualMemory {
  /// The page that caches a page of the file, if one does. Kernel: `filemap_get_folio()`.
  public func cachedPage(ofFilePage filePage: Int) -> Page? {
    frames.indices.first { frames[$0].filePage == filePage }.map { Page($0) }
  }

  /// Makes an entry of a file mapping present; a writer is noticed, and dirties the page.
  ///
  /// Kernel: `do_read_fault()`, `do_shared_fault()` and `page_mkwrite`, mm/memory.c, v6.6.
  func faultFile(_ place: Int, _ filePage: Int, write: Bool) throws(Errno) {
    if virtualPages[place].page == nil {
      setMapping(place, try cache(filePage), isWritable: false)
    }
    if write, let page = virtualPages[place].page {
      virtualPages[place].isWritable = true
      map.table.setDirty(page)
    }
  }

  /// Reads a page of the file into the cache unless it is there.
  ///
  /// - Throws: `.badAddress` beyond the end of the file, as SIGBUS would be; `.noMemory`.
  ///
  /// Kernel: `filemap_fault()`, mm/filemap.c, v6.6.
  private func cache(_ filePage: Int) throws(Errno) -> Page {
    if let page = cachedPage(ofFilePage: filePage) { return page }
    let start = filePage * pageSize
    if start >= fileBytes.count { throw .badAddress }
    let page = try allocate()
    frames[page.number].filePage = filePage
    unsafe map.table.memory(at: page, offset: 0, length: pageSize)
      .copyBytes(from: fileBytes[start..<start + pageSize])
    return page
  }

  /// Writes a page of the file to disk if it is dirty.
  ///
  /// The page is made clean and write-protected first, so that whoever writes later is noticed and dirties it
  /// again. Hardware is not noticed: a page under DMA is written as it is now, and whoever ends the DMA has to
  /// dirty it again.
  ///
  /// - Returns: whether anything was written.
  ///
  /// Kernel: `clear_page_dirty_for_io()` and `folio_mkclean()`, mm/page-writeback.c and mm/rmap.c, v6.6.
  @discardableResult
  public func writeBack(filePage: Int) -> Bool {
    guard let page = cachedPage(ofFilePage: filePage), map.table.isDirty(page) else { return false }
    for place in entries(mapping: page) { virtualPages[place].isWritable = false }
    map.table.clearDirty(page)
    let bytes = unsafe UnsafeRawBufferPointer(
      map.table.memory(at: page, offset: 0, length: pageSize))
    unsafe fileBytes.withUnsafeMutableBytes { file in
      let place = filePage * pageSize..<(filePage + 1) * pageSize
      unsafe UnsafeMutableRawBufferPointer(rebasing: file[place]).copyMemory(from: bytes)
    }
    return true
  }

  /// Drops a clean page of the file from memory. A page that is dirty, or held by anyone but its mappings and the
  /// cache, stays.
  ///
  /// - Returns: whether it is gone.
  ///
  /// Kernel: `shrink_folio_list()` and `__remove_mapping()`, mm/vmscan.c, v6.6.
  @discardableResult
  public func reclaim(filePage: Int) -> Bool {
    guard let page = cachedPage(ofFilePage: filePage), !map.table.isDirty(page),
      extraReferences(of: page) == 0
    else { return false }
    for place in entries(mapping: page) { dropMapping(place) }
    frames[page.number].filePage = nil
    return true
  }
}
