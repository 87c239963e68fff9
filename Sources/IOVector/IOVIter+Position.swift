// Moving an iterator: forwards, back, to a saved place, and cutting what is left.

import Memory

extension IOVIter {
  /// Moves on.
  ///
  /// On segment tables the position comes to rest at the start of the next non-empty segment, never at the
  /// end of one.
  /// - Parameter byteCount: bytes, not negative; clamped to `count`.
  ///
  /// Kernel: `iov_iter_advance()`, lib/iov_iter.c, v6.6.
  public mutating func advance(by byteCount: Int) {
    precondition(byteCount >= 0)
    let size = min(byteCount, count)
    switch kind {
    case .ubuf, .xarray:
      offset &+= size
      count &-= size
    case .iovec, .kvec, .bvec, .folioq: advanceSegments(size)
    case .pipe: advancePipe(size)
    case .discard: count &-= size
    }
  }

  @inline(__always)
  private mutating func advanceSegments(_ size: Int) {
    if count == 0 { return }
    count &-= size
    var left = size &+ offset
    while segmentsLeft > 0 {
      let length = segmentLength(segmentIndex)
      if left < length { break }
      left &-= length
      segmentsLeft &-= 1
    }
    offset = left
  }

  /// Moves back by bytes that were advanced over before.
  ///
  /// - Parameter byteCount: bytes; nothing happens beyond 0x7ffff000, as in the kernel, which warns.
  ///
  /// Kernel: `iov_iter_revert()`, lib/iov_iter.c, v6.6.
  public mutating func revert(by byteCount: Int) {
    precondition(byteCount >= 0)
    if byteCount == 0 || byteCount > maxReadWriteBytes { return }
    count &+= byteCount
    switch kind {
    case .discard: return
    case .pipe: return revertPipe(byteCount)
    default: break
    }
    if byteCount <= offset {
      offset &-= byteCount
      return
    }
    precondition(kind != .ubuf && kind != .xarray, "an iterator was moved before its start")
    revertSegments(byteCount &- offset)
  }

  private mutating func revertSegments(_ byteCount: Int) {
    var left = byteCount
    while true {
      precondition(segmentIndex > 0, "an iterator was moved before its start")
      segmentsLeft &+= 1
      let length = segmentLength(segmentIndex)
      if left <= length {
        offset = length &- left
        return
      }
      left &-= length
    }
  }

  /// The most bytes by which the iterator can be moved back.
  public var revertibleBytes: Int {
    switch kind {
    case .ubuf, .xarray: offset
    case .iovec, .kvec, .bvec, .folioq:
      (0..<segmentIndex).reduce(offset) { $0 &+ segmentLength($1) }
    case .pipe, .discard: Int.max
    }
  }

  /// Cuts what is left to at most so many bytes; the position stays.
  ///
  /// Kernel: `iov_iter_truncate()`, include/linux/uio.h, v6.6.
  public mutating func truncate(to byteCount: Int) {
    precondition(byteCount >= 0)
    count = min(count, byteCount)
  }

  /// Sets the bytes left again after a truncation; the position stays.
  ///
  /// Kernel: `iov_iter_reexpand()`, include/linux/uio.h, v6.6.
  public mutating func reexpand(to byteCount: Int) {
    precondition(byteCount >= 0)
    count = byteCount
  }

  /// A place to come back to.
  ///
  /// Kernel: `struct iov_iter_state`, include/linux/uio.h, v6.6.
  public struct SavedState: Equatable, Sendable {
    let offset: Int
    let count: Int
    let segmentsLeft: Int
  }

  /// The present place. Kernel: `iov_iter_save_state()`, include/linux/uio.h, v6.6.
  public func saveState() -> SavedState {
    SavedState(offset: offset, count: count, segmentsLeft: segmentsLeft)
  }

  /// Comes back to a place of the same iterator; does nothing on `xarray`, `pipe` and `discard`.
  ///
  /// Kernel: `iov_iter_restore()`, lib/iov_iter.c, v6.6.
  public mutating func restore(_ state: SavedState) {
    switch kind {
    case .ubuf, .iovec, .kvec, .bvec, .folioq:
      precondition(state.segmentsLeft <= max(segmentCount, 1))
      offset = state.offset
      count = state.count
      segmentsLeft = state.segmentsLeft
    case .xarray, .pipe, .discard: break
    }
  }
}
