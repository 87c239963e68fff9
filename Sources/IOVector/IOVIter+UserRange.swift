// Where an iterator over user memory stands: the addresses that come next.

import Memory

/// A range of user addresses.
public struct UserRange: Equatable, Sendable {
  /// The first address.
  public let address: UInt64
  /// Bytes.
  public let byteCount: Int
}

extension IOVIter {
  /// The rest of the segment that the next extraction takes from: the first one that is not empty.
  ///
  /// - Returns: nil at the end, and for iterators that are not over user memory.
  ///
  /// Kernel: `first_iovec_segment()`, lib/iov_iter.c, v6.6.
  public var nextUserRange: UserRange? {
    guard isUserBacked, count > 0 else { return nil }
    if kind == .ubuf { return UserRange(address: start &+ UInt64(offset), byteCount: count) }
    var skip = offset
    for index in segmentIndex..<segmentCount {
      let segment = vector(index)
      if segment.length > skip {
        return UserRange(
          address: segment.base &+ UInt64(skip), byteCount: min(segment.length &- skip, count))
      }
      skip = 0
    }
    return nil
  }

  /// The rest of the segment that the iterator stands in, be it empty.
  ///
  /// - Returns: nil at the end of the segments, and for iterators that are not over user memory.
  ///
  /// Kernel: `iter_iov_addr()` and `iter_iov_len()`, include/linux/uio.h, v6.6.
  public var currentUserRange: UserRange? {
    guard isUserBacked else { return nil }
    if kind == .ubuf { return UserRange(address: start &+ UInt64(offset), byteCount: count) }
    guard segmentsLeft > 0 else { return nil }
    let segment = vector(segmentIndex)
    return UserRange(
      address: segment.base &+ UInt64(offset), byteCount: min(segment.length &- offset, count))
  }
}
