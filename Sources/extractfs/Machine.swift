// What the defaults are sized from.

import CSystem
import Glibc

/// The machine as the kernel describes it.
enum Machine {
  /// The CPUs that this process may run on, by number.
  static var allowedCPUs: [Int] {
    let allowed = (0..<Int(EXTRACTFS_CPU_LIMIT)).filter {
      extractfs_may_run_on_cpu(UInt32($0)) != 0
    }
    return allowed.isEmpty ? [0] : allowed
  }

  /// CPUs that could be there, as the kernel counts them: FUSE over io_uring has a queue for each.
  static var possibleCPUCount: Int {
    let online = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    guard let text = text(of: "/sys/devices/system/cpu/possible") else { return online }
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
    text(of: "/sys/module/fuse/parameters/enable_uring")?.hasPrefix("Y") ?? false
  }

  /// The largest FUSE request that the kernel takes, in bytes: 1 MiB, or what root has set (Linux 6.13).
  static var maxFuseRequestBytes: Int {
    (number(in: "/proc/sys/fs/fuse/max_pages_limit") ?? 256) * 4096
  }

  /// Bytes that this process could have: what the machine has left, what its control groups allow, what its limits say.
  static var availableBytes: Int {
    ([machineBytes, Inheritance.addressSpaceLimit].compactMap(\.self) + groupBytes).min() ?? .max
  }

  /// `MemAvailable` of /proc/meminfo.
  private static var machineBytes: Int? {
    let line = text(of: "/proc/meminfo")?.split(separator: "\n").first {
      $0.hasPrefix("MemAvailable:")
    }
    return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 << 10 }
  }

  /// What each control group on the way to the root still allows.
  private static var groupBytes: [Int] {
    guard let table = text(of: "/proc/self/cgroup") else { return [] }
    return table.split(separator: "\n").flatMap { line -> [Int] in
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { return [] }
      if fields[0] == "0" {
        return groupBytes("/sys/fs/cgroup", fields[2], "memory.max", "memory.current")
      }
      if fields[1].split(separator: ",").contains("memory") {
        return groupBytes(
          "/sys/fs/cgroup/memory", fields[2], "memory.limit_in_bytes", "memory.usage_in_bytes")
      }
      return []
    }
  }

  private static func groupBytes(
    _ root: String, _ group: Substring, _ limit: String, _ usage: String
  ) -> [Int] {
    var names = group.split(separator: "/")
    var rooms: [Int] = []
    while true {
      let directory = ([root[...]] + names).joined(separator: "/")
      if let limit = number(in: "\(directory)/\(limit)") {
        rooms.append(max(0, limit - (number(in: "\(directory)/\(usage)") ?? 0)))
      }
      if names.popLast() == nil { return rooms }
    }
  }

  private static func number(in path: String) -> Int? {
    text(of: path)?.split(whereSeparator: \.isWhitespace).first.flatMap { Int($0) }
  }

  private static func text(of path: String) -> String? {
    contents(of: SystemPath(path)).map { String(decoding: $0, as: UTF8.self) }
  }
}
