// Access to single user pages by the processor, as copying needs it.

extension MemoryContext {
  /// The page behind a user address, faulted in with the access asked for; nothing is taken on it.
  ///
  /// - Parameters:
  ///   - address: user address.
  ///   - write: whether the page will be written to.
  /// - Returns: nil if the address is beyond the user limit, unmapped, or refuses the access.
  ///
  /// Kernel: `handle_mm_fault()` under `copy_to_user()` and `copy_from_user()`.
  public func userPage(at address: UInt64, write: Bool) -> Page? {
    if address >= userAddressLimit { return nil }
    var page: Page?
    user.forEachEntry(from: address >> 12, count: 1) { entry, _ in
      if entry.faultIn(write: write, mayFault: true)
        || user.resolve(&entry, virtualPage: address >> 12, flags: write ? .write : [])
      {
        page = entry.page
      }
      return 1
    }
    return page
  }
}
