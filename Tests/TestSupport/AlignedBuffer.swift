// Memory that direct I/O accepts: aligned to a page, owned by one thread.

import Glibc
import Memory

/// Bytes that begin on a page boundary, as O_DIRECT wants them.
@safe public final class AlignedBuffer {
  /// The size in bytes.
  public let count: Int

  /// Freed by `deinit`; never leaves this file but through the bounded accessors below.
  private let base: UnsafeMutableRawPointer

  /// Allocates `count` zero bytes on a page boundary.
  public init(count: Int) {
    self.count = count
    unsafe base = .allocate(byteCount: max(count, 1), alignment: 4096)
    unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: count)
  }

  deinit {
    unsafe base.deallocate()
  }

  /// The bytes in a range, for a system call. The range is checked.
  func withBytes<Result>(
    _ range: Range<Int>, _ body: (UnsafeMutableRawBufferPointer) -> Result
  ) -> Result {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "range outside the buffer")
    return unsafe body(.init(start: base + range.lowerBound, count: range.count))
  }

  /// Sets the first `count` bytes from a seeded sequence.
  public func fill(count: Int, using generator: inout SeededGenerator) {
    var local = generator
    unsafe withBytes(0..<count) { bytes in
      var offset = 0
      while offset + 8 <= bytes.count {
        unsafe bytes.storeBytes(of: local.next(), toByteOffset: offset, as: UInt64.self)
        offset += 8
      }
      while offset < bytes.count {
        unsafe bytes[offset] = UInt8(truncatingIfNeeded: local.next())
        offset += 1
      }
    }
    generator = local
  }

  /// Sets every byte to a value.
  public func fill(with value: UInt8) {
    unsafe withBytes(0..<count) { bytes in
      _ = unsafe bytes.initializeMemory(as: UInt8.self, repeating: value)
    }
  }

  /// The byte at an offset.
  public subscript(offset: Int) -> UInt8 {
    get { unsafe withBytes(offset..<offset + 1) { unsafe $0[0] } }
    set { unsafe withBytes(offset..<offset + 1) { unsafe $0[0] = newValue } }
  }

  /// Puts the first `count` bytes of another buffer at an offset of this one.
  public func replace(at offset: Int, with other: AlignedBuffer, count: Int) {
    unsafe withBytes(offset..<offset + count) { mine in
      unsafe other.withBytes(0..<count) { unsafe mine.copyMemory(from: .init($0)) }
    }
  }

  /// Whether the bytes at an offset are the first `count` bytes of another buffer.
  public func holds(_ other: AlignedBuffer, at offset: Int, count: Int) -> Bool {
    unsafe withBytes(offset..<offset + count) { mine in
      unsafe other.withBytes(0..<count) { theirs in
        guard let first = mine.baseAddress, let second = theirs.baseAddress else { return true }
        return unsafe memcmp(first, second, count) == 0
      }
    }
  }

  /// Where the first `count` bytes of two buffers begin to differ, or nil if they are equal.
  public func firstDifference(from other: AlignedBuffer, count: Int) -> Int? {
    let same = unsafe withBytes(0..<count) { mine in
      unsafe other.withBytes(0..<count) { theirs in
        guard let first = mine.baseAddress, let second = theirs.baseAddress
        else { return true }
        return unsafe memcmp(first, second, count) == 0
      }
    }
    return same ? nil : (0..<count).first { self[$0] != other[$0] }
  }
}
