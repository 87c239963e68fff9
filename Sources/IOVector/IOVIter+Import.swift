// Taking in what a process passed to a system call: lengths are clamped, ranges are checked.

import Memory

extension IOVIter {
  /// The most segments that one call may pass. Kernel: `UIO_MAXIOV`.
  @inlinable public static var maxUserVectors: Int { 1024 }

  /// Takes in one user buffer, clamped to what one call may transfer.
  ///
  /// - Parameter length: bytes; a negative value is a length with its sign bit set, and is clamped too.
  /// - Throws: `.badAddress` if the clamped range reaches beyond the user limit.
  ///
  /// Kernel: `import_ubuf()`, lib/iov_iter.c, v6.6.
  public static func importUserBuffer(
    _ base: UInt64, length: Int, direction: Direction
  ) throws(Errno) -> IOVIter {
    let clamped = length < 0 ? maxReadWriteBytes : min(length, maxReadWriteBytes)
    guard isUserRange(base, length: clamped) else { throw .badAddress }
    return IOVIter(userBuffer: base, count: clamped, direction: direction)
  }

  /// Takes in a table of user buffers: lengths in it are cut so that the total stays within what one
  /// call may transfer. The caller keeps the table alive.
  ///
  /// One segment makes a `ubuf` iterator.
  /// - Throws: `.invalidArgument` for more than 1,024 segments or a negative length, `.badAddress` if a range
  ///   reaches beyond the user limit.
  ///
  /// Kernel: `import_iovec()`, lib/iov_iter.c, v6.6.
  @unsafe public static func importUserVectors(
    _ table: UnsafeMutableBufferPointer<IOVec>, direction: Direction
  ) throws(Errno) -> IOVIter {
    if table.count > maxUserVectors { throw .invalidArgument }
    for index in 0..<table.count where unsafe table[index].length < 0 { throw .invalidArgument }
    if table.count == 1 {
      return try unsafe importUserBuffer(
        table[0].base, length: table[0].length, direction: direction)
    }
    var total = 0
    for index in 0..<table.count {
      let vector = unsafe table[index]
      // The range is tested as passed, before its length is cut.
      guard isUserRange(vector.base, length: vector.length) else { throw .badAddress }
      let kept = min(vector.length, maxReadWriteBytes - total)
      unsafe table[index].length = kept
      total += kept
    }
    return unsafe IOVIter(
      userVectors: UnsafeBufferPointer(table), count: total, direction: direction)
  }

  /// Kernel: `access_ok()`, against the x86-64 limit.
  private static func isUserRange(_ base: UInt64, length: Int) -> Bool {
    let size = UInt64(length)
    return size <= userAddressLimit && base <= userAddressLimit - size
  }
}
