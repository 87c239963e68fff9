// Taking and dropping references and pins. A run of pages in one large folio is one atomic add.

import Synchronization

extension PageTable {
  /// Takes one pin or one reference on every page of a run.
  ///
  /// A pin is +1024 on a small folio's reference count; on a large folio +1 reference and +1 pin count on the
  /// head. A reference is +1 on the head's reference count.
  ///
  /// - Parameters:
  ///   - run: pages within the table.
  ///   - mode: `.pin` or `.get`; nothing is taken otherwise.
  ///   - era: whether the zero page is counted under pins.
  /// - Returns: how many pages were counted: all but uncounted zero pages.
  ///
  /// Kernel: `try_grab_folio()`, mm/gup.c, v6.6.
  @discardableResult
  public func take(_ run: PageRun, mode: FollFlags, era: Era) -> Int {
    count(run, mode: mode, era: era, sign: 1).counted
  }

  /// Drops what `take` took, on every page of a run.
  ///
  /// - Returns: how many pages were counted, and how many of them had nothing left to drop.
  ///
  /// Kernel: `gup_put_folio()`, mm/gup.c, v6.6.
  @discardableResult
  public func drop(
    _ run: PageRun, mode: FollFlags, era: Era
  ) -> (counted: Int, doubleReleases: Int) {
    count(run, mode: mode, era: era, sign: -1)
  }

  /// Drops a pin or a reference on a folio, or nothing, as the mode says.
  ///
  /// Kernel: `folio_put_unpin()`, mm/gup.c, v8 series, patch 3.
  @discardableResult
  public func folioPutUnpin(_ folio: Page, mode: FollFlags, era: Era) -> Bool {
    pagePutUnpin(head(of: folio), mode: mode, era: era)
  }

  /// Drops a pin or a reference on a page's folio, or nothing, as the mode says.
  ///
  /// - Returns: false if there was nothing to drop: a double release.
  ///
  /// Kernel: `page_put_unpin()`, mm/gup.c, v8 series, patch 3.
  @discardableResult
  public func pagePutUnpin(_ page: Page, mode: FollFlags, era: Era) -> Bool {
    drop(PageRun(first: page, count: 1), mode: mode, era: era).doubleReleases == 0
  }

  private func count(
    _ run: PageRun, mode: FollFlags, era: Era, sign: Int32
  ) -> (counted: Int, doubleReleases: Int) {
    if !Accounting.isOn { return (run.count, 0) }
    precondition(run.count >= 0 && run.first.number &+ run.count <= count)
    if mode.cleanupMode.isEmpty { return (0, 0) }
    if mode.contains(.pin), !era.pinsZeroPage, let zero = zeroPage,
      zero >= run.first, zero < run.end
    {
      return countAroundZeroPage(run, zero: zero, mode: mode, era: era, sign: sign)
    }
    let double =
      hasLargeFolios
      ? countFolios(run, mode: mode, sign: sign) : countSmall(run, mode: mode, sign: sign)
    return (run.count, double)
  }

  /// The zero page is returned, but never counted under pins: the run falls into the parts around it.
  private func countAroundZeroPage(
    _ run: PageRun, zero: Page, mode: FollFlags, era: Era, sign: Int32
  ) -> (counted: Int, doubleReleases: Int) {
    let before = zero.number - run.first.number
    let front = count(
      PageRun(first: run.first, count: before), mode: mode, era: era, sign: sign)
    let back = count(
      PageRun(first: zero.advanced(by: 1), count: run.count - before - 1), mode: mode, era: era,
      sign: sign)
    return (front.counted + back.counted, front.doubleReleases + back.doubleReleases)
  }

  /// One relaxed add per page: `lock xadd` on consecutive words, about 2 ns each.
  @inline(__always)
  private func countSmall(_ run: PageRun, mode: FollFlags, sign: Int32) -> Int {
    let amount = mode.contains(.pin) ? pinCountingBias : 1
    var double = 0
    // SAFETY: the caller checked the run against the table's bounds.
    let cells = unsafe references + run.first.number
    if sign > 0 {
      for index in 0..<run.count {
        unsafe cells[index].wrappingAdd(amount, ordering: .relaxed)
      }
    } else {
      for index in 0..<run.count {
        let left = unsafe cells[index].wrappingSubtract(amount, ordering: .relaxed).newValue
        if left < 1 { double &+= 1 }
      }
    }
    return double
  }

  /// One add per folio for the part of the run that lies in it.
  private func countFolios(_ run: PageRun, mode: FollFlags, sign: Int32) -> Int {
    var page = run.first
    var left = run.count
    var double = 0
    while left > 0 {
      let head = head(of: page)
      let order = unsafe Int(orders[head.number])
      if order == 0 {
        double &+= countSmall(PageRun(first: page, count: 1), mode: mode, sign: sign)
        page = page.advanced(by: 1)
        left &-= 1
        continue
      }
      let pages = min(left, head.number &+ (1 << order) &- page.number)
      let amount = sign &* Int32(pages)
      let refs = unsafe references[head.number].wrappingAdd(amount, ordering: .relaxed).newValue
      if sign < 0 && refs < 1 { double &+= pages }
      if mode.contains(.pin) {
        let pinned = unsafe pins[head.number].wrappingAdd(amount, ordering: .relaxed).newValue
        if pinned < 0 && refs >= 1 { double &+= pages }
      }
      page = page.advanced(by: pages)
      left &-= pages
    }
    return double
  }
}
