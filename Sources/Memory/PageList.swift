// What an extraction hands back: pages in order, kept as runs of consecutive ones.

/// A list of pages with a fixed bound, in the order of the buffer, stored as runs.
///
/// Buffers are mostly physically contiguous, so a list of 256 pages is mostly one run, and everything
/// that is done per page (counting, merging, releasing) can be done per run.
///
/// Differs: the kernel fills an array of page pointers; `page(at:)` gives the same view.
@safe public struct PageList: ~Copyable {
  private let storage: UnsafeMutablePointer<PageRun>
  private let capacity: Int
  /// Runs in use.
  public private(set) var runCount: Int
  /// Pages in all runs together.
  public private(set) var pageCount: Int

  /// Makes an empty list.
  /// - Parameter runCapacity: the most runs that can be held; as many pages always fit.
  public init(runCapacity: Int) {
    precondition(runCapacity > 0)
    unsafe storage = .allocate(capacity: runCapacity)
    unsafe storage.initialize(repeating: PageRun(first: Page(0), count: 0), count: runCapacity)
    capacity = runCapacity
    runCount = 0
    pageCount = 0
  }

  deinit { unsafe storage.deallocate() }

  /// Empties the list; the pages themselves are untouched.
  public mutating func removeAll() {
    runCount = 0
    pageCount = 0
  }

  /// Adds pages at the end; they join the last run when they follow it.
  /// - Parameter run: at least one page.
  public mutating func append(_ run: PageRun) {
    if run.count == 0 { return }
    pageCount &+= run.count
    if runCount > 0 {
      let last = unsafe storage[runCount &- 1]
      if last.end == run.first {
        unsafe storage[runCount &- 1].count = last.count &+ run.count
        return
      }
    }
    precondition(runCount < capacity, "a page list overflowed its bound")
    // SAFETY: the line above keeps the index within the allocation.
    unsafe storage[runCount] = run
    runCount &+= 1
  }

  /// Adds one page at the end.
  public mutating func append(_ page: Page) { append(PageRun(first: page, count: 1)) }

  /// The `index`-th run.
  public func run(at index: Int) -> PageRun {
    precondition(index >= 0 && index < runCount)
    return unsafe storage[index]
  }

  /// The `index`-th page; linear in the number of runs.
  public func page(at index: Int) -> Page {
    precondition(index >= 0 && index < pageCount)
    var left = index
    for position in 0..<runCount {
      let run = unsafe storage[position]
      if left < run.count { return run.first.advanced(by: left) }
      left -= run.count
    }
    preconditionFailure("a page list's counts disagree")
  }
}
