// The host kernel's own pin counters, to set the model's beside them.

import Foundation

/// The kernel's counts of pins taken and dropped by everybody on the machine.
///
/// Kernel: `nr_foll_pin_acquired` and `nr_foll_pin_released` of /proc/vmstat, mm/vmstat.c.
public struct KernelCounters: Sendable, Equatable {
  /// Pages pinned since boot.
  public var pinAcquired: Int
  /// Pages unpinned since boot.
  public var pinReleased: Int

  /// Reads the counters, or nil on a kernel that has none.
  ///
  /// Per-CPU figures are gathered first, which only root may ask for; without it they lag by some pages.
  public static func read() -> KernelCounters? {
    if let refresh = FileHandle(forWritingAtPath: "/proc/sys/vm/stat_refresh") {
      do { try refresh.write(contentsOf: Data("1\n".utf8)) } catch {}
    }
    guard let text = FileManager.default.contents(atPath: "/proc/vmstat") else { return nil }
    var counters = KernelCounters(pinAcquired: -1, pinReleased: -1)
    for line in String(decoding: text, as: UTF8.self).split(separator: "\n")
    where line.hasPrefix("nr_foll_pin_") {
      let words = line.split(separator: " ")
      guard words.count == 2, let value = Int(words[1]) else { continue }
      if words[0] == "nr_foll_pin_acquired" { counters.pinAcquired = value }
      if words[0] == "nr_foll_pin_released" { counters.pinReleased = value }
    }
    return counters.pinAcquired < 0 || counters.pinReleased < 0 ? nil : counters
  }
}
