// Tables of a fixed length, changed in place: the one home of their pointers.

/// A table whose length never changes and whose elements never move. Every access is checked.
///
/// An element is changed where it lies (`table[index].field = value` copies nothing), and a table may be reached by
/// several threads: who may touch which element is for its owner to say.
@safe public struct FixedTable<Element: ~Copyable>: ~Copyable, @unchecked Sendable {
  // Guard of the unchecked Sendable: the pointer never changes; elements are guarded by the table's owner.
  @usableFromInline let base: UnsafeMutablePointer<Element>
  /// Elements.
  public let count: Int

  /// Makes a table.
  /// - Parameters:
  ///   - count: elements.
  ///   - makeElement: makes the element of a place.
  public init(count: Int, _ makeElement: (Int) -> Element) {
    precondition(count >= 0, "a table cannot have a negative length")
    self.count = count
    unsafe base = .allocate(capacity: max(count, 1))
    for index in 0..<count { unsafe (base + index).initialize(to: makeElement(index)) }
  }

  deinit {
    unsafe base.deinitialize(count: count)
    unsafe base.deallocate()
  }

  /// Where the element of a place lies, for as long as the table lives.
  ///
  /// For tables within tables: what hands the element on by a coroutine (`_read`) is miscompiled by Swift 6.3 without
  /// optimisation, which frees the coroutine's frame before a field of what it yields is read.
  @unsafe @inlinable @inline(__always)
  public func pointer(to index: Int) -> UnsafeMutablePointer<Element> {
    precondition(index >= 0 && index < count, "a place outside the table")
    return unsafe base + index
  }

  /// The element of a place.
  @inlinable public subscript(index: Int) -> Element {
    @inline(__always) unsafeAddress {
      precondition(index >= 0 && index < count, "a place outside the table")
      return unsafe UnsafePointer(base + index)
    }
    @inline(__always) nonmutating unsafeMutableAddress {
      precondition(index >= 0 && index < count, "a place outside the table")
      return unsafe base + index
    }
  }
}

extension FixedTable {
  /// The first elements, for those who look into the table for as long as it lives.
  @unsafe public func first(_ count: Int) -> UnsafeBufferPointer<Element> {
    precondition(count >= 0 && count <= self.count, "more than the table has")
    return unsafe UnsafeBufferPointer(start: base, count: count)
  }

  /// The bytes of an element, for as long as the table lives.
  @unsafe public func window(on index: Int) -> MemoryWindow {
    precondition(index >= 0 && index < count, "a place outside the table")
    return unsafe MemoryWindow(
      UnsafeMutableRawBufferPointer(start: base + index, count: MemoryLayout<Element>.size))
  }

  /// Makes a table of equal elements.
  public init(count: Int, repeating element: Element) { self.init(count: count) { _ in element } }
}
