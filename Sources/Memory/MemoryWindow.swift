// Memory that somebody else keeps alive, looked at through a checked length: the one home of such pointers.

import Glibc

/// A stretch of memory, for as long as its owner keeps it. Every access is checked against its length, and none needs an
/// alignment. Who may touch it when is for its owner to say.
@frozen @safe public struct MemoryWindow: @unchecked Sendable {
  // Guard of the unchecked Sendable: it is a place and a length; the memory is guarded by its owner.
  @usableFromInline let start: UnsafeMutableRawPointer?
  /// Bytes.
  public let count: Int

  /// Looks at `bytes`, which must outlive the window.
  @unsafe @inlinable public init(_ bytes: UnsafeMutableRawBufferPointer) {
    unsafe start = bytes.baseAddress
    count = bytes.count
  }

  /// Looks at nothing.
  @inlinable public init() {
    unsafe start = nil
    count = 0
  }

  /// The memory itself, for C.
  @unsafe @inlinable public var bytes: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(start: start, count: count)
  }

  /// The address as a number, for kernel interfaces that want one.
  @inlinable public var address: UInt { unsafe UInt(bitPattern: start) }

  @inlinable @inline(__always)
  @unsafe func place(_ offset: Int, _ length: Int) -> UnsafeMutableRawPointer {
    guard let start = unsafe start, offset >= 0, length >= 0, length <= count,
      offset <= count &- length
    else { preconditionFailure("a place outside the window") }
    return unsafe start + offset
  }

  /// The value whose bytes begin at `offset`.
  @inlinable @inline(__always)
  public func load<Value: BitwiseCopyable>(_ type: Value.Type, at offset: Int = 0) -> Value {
    unsafe place(offset, MemoryLayout<Value>.size).loadUnaligned(as: Value.self)
  }

  /// Puts a value's bytes at `offset`.
  @inlinable @inline(__always)
  public func store<Value: BitwiseCopyable>(_ value: Value, at offset: Int = 0) {
    unsafe place(offset, MemoryLayout<Value>.size).storeBytes(of: value, as: Value.self)
  }

  /// A part of it.
  @inlinable public subscript(range: Range<Int>) -> MemoryWindow {
    if range.isEmpty { return MemoryWindow() }
    return unsafe MemoryWindow(
      UnsafeMutableRawBufferPointer(
        start: place(range.lowerBound, range.count), count: range.count))
  }

  /// Copies bytes in, which may overlap their new place.
  @inlinable public func copy(_ source: MemoryWindow, to offset: Int = 0) {
    if source.count == 0 { return }
    unsafe memmove(place(offset, source.count), source.place(0, source.count), source.count)
  }

  /// Copies bytes in.
  public func copy(_ source: [UInt8], to offset: Int = 0) {
    if source.isEmpty { return }
    unsafe place(offset, source.count).copyMemory(from: source, byteCount: source.count)
  }

  /// Makes every byte 0.
  public func clear() { unsafe _ = bytes.initializeMemory(as: UInt8.self, repeating: 0) }

  /// A copy that outlives the window.
  public var contents: [UInt8] { unsafe Array(bytes) }
}

extension MemoryWindow {
  /// Runs `body` with a window on the bytes of a value.
  @inlinable public static func on<Value: BitwiseCopyable, Result, Failure: Error>(
    _ value: inout Value, _ body: (MemoryWindow) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try unsafe Swift.withUnsafeMutableBytes(of: &value) { bytes throws(Failure) in
      try unsafe body(MemoryWindow(bytes))
    }
  }

  /// Runs `body` with a window on the elements of an array.
  @inlinable public static func on<Result, Failure: Error>(
    _ array: inout [UInt8], _ body: (MemoryWindow) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    // The standard library's own rethrows any error untyped.
    var outcome: Swift.Result<Result, Failure>?
    unsafe array.withUnsafeMutableBytes { bytes in
      do throws(Failure) { outcome = .success(try unsafe body(MemoryWindow(bytes))) } catch {
        outcome = .failure(error)
      }
    }
    guard let outcome else { preconditionFailure("an array was not opened") }
    return try outcome.get()
  }
}
