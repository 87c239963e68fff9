// Kernel addresses: the linear map, and the vmalloc range where neighbours need not be neighbours in memory.

/// Translates kernel addresses to pages.
///
/// A linear address `a` is page `a / 4096`; addresses from 2^40 on are vmalloc and go through a table.
///
/// Kernel: `virt_to_page()`, `is_vmalloc_addr()`, `vmalloc_to_page()`.
@safe public struct KernelMap: @unchecked Sendable {
  // Guard of the unchecked Sendable: the table never changes after set-up.
  private let vmalloc: UnsafePointer<UInt32>?
  private let vmallocPageCount: Int

  /// Where vmalloc addresses begin.
  @inlinable public static var vmallocStart: UInt64 { 1 << 40 }

  /// A map without vmalloc range.
  public static var linear: KernelMap { unsafe KernelMap(vmalloc: nil, vmallocPageCount: 0) }

  @unsafe init(vmalloc: UnsafePointer<UInt32>?, vmallocPageCount: Int) {
    unsafe self.vmalloc = unsafe vmalloc
    self.vmallocPageCount = vmallocPageCount
  }

  /// The page behind a kernel address.
  /// - Parameter address: linear, or vmalloc within the table.
  public func page(at address: UInt64) -> Page {
    guard let page = mappedPage(at: address) else {
      preconditionFailure("a vmalloc address is not mapped")
    }
    return page
  }

  /// The page behind a kernel address, or nil for a vmalloc address outside the table.
  public func mappedPage(at address: UInt64) -> Page? {
    if address < Self.vmallocStart { return Page(Int(address >> 12)) }
    let index = (address &- Self.vmallocStart) >> 12
    guard let vmalloc = unsafe vmalloc, index < UInt64(vmallocPageCount) else { return nil }
    let page = unsafe vmalloc[Int(index)]
    return page == Self.unmapped ? nil : Page(page)
  }

  /// What stands in a vmalloc table for a page that is not mapped.
  @inlinable public static var unmapped: UInt32 { .max }

  /// Whether neighbouring addresses are neighbouring pages.
  @inlinable public func isLinear(_ address: UInt64) -> Bool { address < Self.vmallocStart }
}

/// Owns the vmalloc range of a `KernelMap`.
@safe public final class VmallocTable: @unchecked Sendable {
  // Guard of the unchecked Sendable: written in `init` only.
  private let storage: UnsafeMutablePointer<UInt32>
  private let count: Int

  /// Makes the table.
  /// - Parameter pages: the page behind each page of the vmalloc range, from its start on.
  public init(pages: [Page]) {
    count = pages.count
    unsafe storage = .allocate(capacity: max(pages.count, 1))
    for (index, page) in pages.enumerated() {
      unsafe (storage + index).initialize(to: page.index)
    }
  }

  deinit { unsafe storage.deallocate() }

  /// The map that uses this table; the table must outlive it.
  public var map: KernelMap {
    unsafe KernelMap(vmalloc: storage, vmallocPageCount: count)
  }
}
