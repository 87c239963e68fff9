// What must hold at any time; tests call it after every step.

extension VirtualMemory {
  /// The first thing that is wrong with counts and marks, or nil.
  public func defect() -> String? {
    var mapped = [Int](repeating: 0, count: frames.count)
    for place in virtualPages.indices {
      let entry = virtualPages[place]
      guard let page = entry.page else { continue }
      mapped[page.number] += 1
      let frame = frames[page.number]
      if frame.isAnonymous && entry.isWritable && !frame.isExclusive {
        return "page \(page.number) is writable and not exclusive"
      }
      if entry.isWritable && page == Page(0) { return "the zero page is writable" }
    }
    for index in frames.indices {
      let frame = frames[index]
      if frame.mapCount != mapped[index] {
        return "page \(index) counts \(frame.mapCount) mappings of \(mapped[index])"
      }
      if frame.isAnonymous && frame.isExclusive && frame.mapCount > 1 {
        return "page \(index) is exclusive to \(frame.mapCount)"
      }
      if extraReferences(of: Page(index)) < 0 { return "page \(index) was released twice" }
    }
    return nil
  }
}
