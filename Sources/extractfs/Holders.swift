// Who keeps a filesystem in use: found in /proc and /sys, without asking the filesystem itself.

import FUSEServer
import Glibc

/// What keeps a mount busy, or a filesystem alive after its unmount.
enum Holders {
  /// More than these are not named.
  private static let mostNamed = 5

  /// Who keeps a mount from being unmounted, for the end of a sentence.
  static func ofMount(_ mount: MountEntry) -> String {
    named(processes(in: mount) + loopDevices(on: mount) + nestedMounts(on: mount))
      ?? "who uses it cannot be seen from here; root sees all"
  }

  /// Where a filesystem is mounted still, for the end of a sentence, or nil if nowhere that can be seen.
  static func ofFileSystem(_ mount: MountEntry) -> String? {
    var seen = Set<SystemPath>()
    var lines: [String] = []
    for entry in MountTable.entries() where entry.device == mount.device {
      seen.insert(entry.mountpoint)
      lines.append("mounted at \(entry.mountpoint.quoted)")
    }
    let own = SystemPath("/proc/self/ns/mnt").linkTarget
    var namespaces = Set<SystemPath>()
    for process in runningProcesses() {
      guard let space = SystemPath("/proc/\(process)/ns/mnt").linkTarget, space != own,
        namespaces.insert(space).inserted
      else { continue }
      for entry in MountTable.entries(of: process) where entry.device == mount.device {
        lines.append(
          "mounted at \(entry.mountpoint.quoted) in the mount namespace of \(description(process))")
      }
    }
    return named(lines)
  }

  private static func named(_ holders: [String]) -> String? {
    if holders.isEmpty { return nil }
    let more = holders.count - mostNamed
    return holders.prefix(mostNamed).joined(separator: ", ") + (more > 0 ? " and \(more) more" : "")
  }

  // MARK: Processes

  /// The processes that can be seen, oldest first.
  private static func runningProcesses() -> [String] {
    names(in: "/proc").compactMap { Int($0) }.sorted()
      .map(String.init)
  }

  private static func processes(in mount: MountEntry) -> [String] {
    runningProcesses().compactMap { process in
      guard let use = use(of: mount, by: process) else { return nil }
      return "\(description(process)) \(use)"
    }
  }

  /// What a process does with a mount, or nil.
  private static func use(of mount: MountEntry, by process: String) -> String? {
    let directory = "/proc/\(process)"
    if isOn(mount, link: "\(directory)/cwd") { return "stands in it" }
    if isOn(mount, link: "\(directory)/root") { return "has it as its root" }
    for name in names(in: "\(directory)/fdinfo") {
      let info = contents(of: SystemPath("\(directory)/fdinfo/\(name)")) ?? []
      let isThere = String(decoding: info, as: UTF8.self).split(separator: "\n").contains {
        $0.hasPrefix("mnt_id:")
          && $0.split(whereSeparator: \.isWhitespace).last.flatMap { Int($0) }
            == mount.identifier
      }
      if isThere {
        let target = SystemPath("\(directory)/fd/\(name)").linkTarget
        return "has \(target?.quoted ?? "a file") open"
      }
    }
    return maps(mount, process: process) ? "has a file of it mapped" : nil
  }

  private static func isOn(_ mount: MountEntry, link: String) -> Bool {
    guard let target = SystemPath(link).linkTarget, target.isAtOrBelow(mount.mountpoint)
    else { return false }
    // The root of all lies below nothing; a deeper mount has its own users.
    return !MountTable.entries().contains {
      $0.identifier != mount.identifier && $0.mountpoint.bytes.count > mount.mountpoint.bytes.count
        && $0.mountpoint.isAtOrBelow(mount.mountpoint) && target.isAtOrBelow($0.mountpoint)
    }
  }

  /// The table of mappings has the device in hexadecimal, as `00:2d`.
  private static func maps(_ mount: MountEntry, process: String) -> Bool {
    let numbers = mount.device.split(separator: ":").compactMap { Int($0) }
    guard numbers.count == 2, let table = contents(of: SystemPath("/proc/\(process)/maps"))
    else { return false }
    return table.split(separator: UInt8(ascii: "\n")).contains { line in
      let words = line.split(separator: UInt8(ascii: " "))
      guard words.count > 3 else { return false }
      return String(decoding: words[3], as: UTF8.self).split(separator: ":")
        .compactMap { Int($0, radix: 16) } == numbers
    }
  }

  /// A process's number and command, as `1234 (dd)`.
  static func description(_ process: String) -> String {
    let name = contents(of: SystemPath("/proc/\(process)/comm")) ?? []
    return "\(process) (\(ArgumentText.shown(name.filter { $0 != UInt8(ascii: "\n") })))"
  }

  // MARK: The kernel itself

  private static func loopDevices(on mount: MountEntry) -> [String] {
    let swaps = contents(of: SystemPath("/proc/swaps")) ?? []
    let swapNames = swaps.split(separator: UInt8(ascii: "\n")).dropFirst().map { line in
      SystemPath(MountTable.unescape(line.prefix { $0 != UInt8(ascii: " ") && $0 != 9 }))
    }
    let loops = names(in: "/sys/block").filter { $0.hasPrefix("loop") }.sorted().compactMap {
      name -> String? in
      let file = contents(of: SystemPath("/sys/block/\(name)/loop/backing_file")) ?? []
      let path = SystemPath(file.last == UInt8(ascii: "\n") ? Array(file.dropLast()) : file)
      if path.bytes.isEmpty || !path.isAtOrBelow(mount.mountpoint) { return nil }
      let isSwap = swapNames.contains(SystemPath("/dev/\(name)"))
      return "/dev/\(name) is on \(path.quoted)" + (isSwap ? " and is swapped on" : "")
    }
    return loops
      + swapNames.filter { $0.isAtOrBelow(mount.mountpoint) }.map { "\($0.quoted) is swapped on" }
  }

  private static func nestedMounts(on mount: MountEntry) -> [String] {
    MountTable.entries().filter { $0.parent == mount.identifier }.map {
      "\($0.mountpoint.quoted) is mounted on it"
    }
  }

  private static func names(in directory: String) -> [String] {
    guard let stream = unsafe opendir(directory) else { return [] }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }
}
