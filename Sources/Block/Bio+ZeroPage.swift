// Padding with the shared zero page.

import IOVector
import Memory

extension Bio {
  /// Adds bytes of the shared zero page to an empty bio.
  ///
  /// The page is everybody's and never goes away, so nothing is taken on it and the bio has nothing to release.
  /// Only before the series a reference was taken, and dropped at the bio's end: with enough of them under way the
  /// count of this one page could climb without bound.
  /// - Parameter length: bytes, at most a page.
  ///
  /// Kernel: `iomap_dio_zero()`, fs/iomap/direct-io.c, v6.4; v8 series, patch 4.
  public mutating func addZeroes(_ length: Int) {
    let context = self.context
    precondition(
      vectorCount == 0 && flags.isSubset(of: .request) && length > 0 && length <= pageSize)
    guard let zero = context.pages.zeroPage else {
      preconditionFailure("this page table has no zero page")
    }
    appendVector(BioVec(page: zero, offset: 0, length: UInt32(length)))
    context.counters.add(.simZeroPageUses, 1)
    if !era.referencesUserPages { return }
    context.noteTaken(
      context.pages.take(PageRun(first: zero, count: 1), mode: .get, era: era), mode: .get)
    unsafe slot.pointee.flags.insert(.pageReffed)
  }
}
