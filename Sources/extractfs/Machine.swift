// What the defaults are sized from.

import Foundation

/// The machine as the kernel describes it.
enum Machine {
  /// CPUs that could be there, as the kernel counts them: FUSE over io_uring has a queue for each.
  static var possibleCPUCount: Int {
    let online = ProcessInfo.processInfo.activeProcessorCount
    guard let text = contents("/sys/devices/system/cpu/possible") else { return online }
    // As `0-3,8-11`.
    let ranges = text.split(whereSeparator: { ",\n".contains($0) }).map { range in
      range.split(separator: "-").compactMap { Int($0) }
    }
    let count = ranges.reduce(0) { sum, bounds in
      guard let first = bounds.first, let last = bounds.last else { return sum }
      return sum + last - first + 1
    }
    return max(online, count)
  }

  /// Whether the kernel has FUSE over io_uring and it is switched on.
  static var offersFuseRing: Bool {
    contents("/sys/module/fuse/parameters/enable_uring")?.hasPrefix("Y") ?? false
  }

  /// The largest FUSE request that the kernel takes, in bytes: 1 MiB, or what root has set (Linux 6.13).
  static var maxFuseRequestBytes: Int {
    let text = contents("/proc/sys/fs/fuse/max_pages_limit") ?? ""
    return (Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 256) * 4096
  }

  private static func contents(_ path: String) -> String? {
    guard let data = FileManager.default.contents(atPath: path) else { return nil }
    return String(decoding: data, as: UTF8.self)
  }
}
