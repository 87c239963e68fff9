// A pipe: a ring of page parts to which an iterator appends.

import Memory

/// A part of a page in a pipe.
///
/// Kernel: `struct pipe_buffer`, include/linux/pipe_fs_i.h, v6.4.
struct PipeSlot {
  var page: Page
  var length: Int
}

/// What pipe iterators work on. Positions only grow; a slot is a position modulo the capacity.
@safe struct PipeState {
  let slots: UnsafeMutablePointer<PipeSlot>
  let capacity: Int
  let pages: PageTable
  var head: Int
  var tail: Int
  var supply: PageRun
  /// Pages of the supply that are in the pipe, from its first one on.
  var supplied: Int

  var used: Int { head - tail }

  /// The slot at a position. A pointer, so that a change is in place.
  @unsafe func slot(_ position: Int) -> UnsafeMutablePointer<PipeSlot> {
    precondition(position >= tail && position < head)
    return unsafe slots + position % capacity
  }

  /// Appends full pages and at last a part of one, and holds a reference on each.
  ///
  /// Kernel: `push_anon()`, lib/iov_iter.c, v6.4, for several pages at once.
  mutating func push(pageCount: Int, byteCount: Int) -> PageRun {
    precondition(pageCount <= capacity - used && pageCount <= supply.count - supplied)
    let run = PageRun(first: supply.first.advanced(by: supplied), count: pageCount)
    pages.take(run, mode: .get, era: .v8)
    var left = byteCount
    // A division a page would cost more than all the rest.
    var place = head % capacity
    for index in 0..<pageCount {
      let slot = PipeSlot(page: run.first.advanced(by: index), length: min(left, pageSize))
      // SAFETY: `place` is less than the capacity, as it was at first.
      unsafe (slots + place).initialize(to: slot)
      place = place &+ 1 == capacity ? 0 : place &+ 1
      left &-= pageSize
    }
    head += pageCount
    supplied += pageCount
    return run
  }

  /// Drops everything from a position on; the pages go back to the supply.
  ///
  /// Kernel: `pipe_discard_from()`, lib/iov_iter.c, v6.4.
  mutating func discard(from position: Int) {
    let keep = max(position, tail)
    if head <= keep { return }
    let count = head - keep
    supplied -= count
    pages.drop(
      PageRun(first: supply.first.advanced(by: supplied), count: count), mode: .get, era: .v8)
    head = keep
  }
}

/// Owns a pipe: a ring of fixed capacity that is filled from a supply of pages.
///
/// The pipe holds one reference on each page in it, until it is moved back over or drained. The supply is one
/// run, so that what is appended comes out in consecutive pages. One thread uses a pipe at a time.
///
/// Kernel: `struct pipe_inode_info`, include/linux/pipe_fs_i.h, v6.4.
///
/// Differs: pages come from a supply that the owner hands over, not from the page allocator, so that a
/// request's own pages can be used.
@safe public final class PipeBuffer {
  let state: UnsafeMutablePointer<PipeState>

  /// Makes an empty pipe.
  /// - Parameters:
  ///   - capacity: pages that can be in the pipe at once.
  ///   - pages: where references are counted.
  public init(capacity: Int, pages: PageTable) {
    precondition(capacity > 0)
    let slots = UnsafeMutablePointer<PipeSlot>.allocate(capacity: capacity)
    unsafe state = .allocate(capacity: 1)
    unsafe state.initialize(
      to: PipeState(
        slots: slots, capacity: capacity, pages: pages, head: 0, tail: 0,
        supply: PageRun(first: Page(0), count: 0), supplied: 0))
  }

  deinit {
    drain()
    unsafe state.pointee.slots.deallocate()
    unsafe state.deinitialize(count: 1)
    unsafe state.deallocate()
  }

  /// Hands pages over from which the pipe is filled; the pipe must be empty.
  public func supply(_ run: PageRun) {
    precondition(pageCount == 0, "a pipe in use was given another supply")
    unsafe state.pointee.supply = run
    unsafe state.pointee.supplied = 0
  }

  /// Pages in the pipe.
  public var pageCount: Int { unsafe state.pointee.used }

  /// Bytes in the pipe.
  public var byteCount: Int { (0..<pageCount).reduce(0) { $0 + buffer(at: $1).length } }

  /// The `index`-th part of the pipe, oldest first; its data starts at its page's start.
  public func buffer(at index: Int) -> (page: Page, length: Int) {
    let slot = unsafe state.pointee.slot(state.pointee.tail + index)
    return unsafe (slot.pointee.page, slot.pointee.length)
  }

  /// Takes everything out, and drops the pipe's references.
  public func drain() {
    unsafe state.pointee.discard(from: state.pointee.tail)
    unsafe state.pointee.tail = unsafe state.pointee.head
  }
}
