// The switch that compiles the accounting out, only to measure what it costs.

/// Whether this build keeps account: always, but for one that is made to be compared with.
///
/// With the compilation condition `EXTRACTFS_UNCOUNTED` (`swift build -Xswiftc -DEXTRACTFS_UNCOUNTED`) nothing is
/// counted, no reference or pin is taken on any page, and the ledger stays empty, so that
/// `mount-scripts/bench --contestants extractfs,uncounted` shows what all this costs. Such a build moves the same
/// bytes, but its `stats` and `pins` say nothing, and tests of the accounting fail in it. The one counter left is
/// `requestsInflight`, which freezing waits for; the clock is read for latencies as before.
public enum Accounting {
  /// A literal, so that the check for it leaves no instruction.
  @inlinable public static var isOn: Bool {
    #if EXTRACTFS_UNCOUNTED
      return false
    #else
      return true
    #endif
  }
}
