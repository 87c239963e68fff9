// The paths of a mount's open files, as /proc has them: the mount itself is asked nothing.

import Glibc

/// Finds paths for inodes.
///
/// Who has a file open shows its path in /proc/PID/fd and its inode in /proc/PID/fdinfo (Linux 5.14). Of other users'
/// processes only root sees these. A file that nobody has open any more keeps the name it had.
struct OpenFileNames {
  private let mountpoint: SystemPath
  private var known: [Int: String] = [:]
  private var nextSearch = Deadline(seconds: 0)

  /// Seconds between two searches, descriptors looked at in one, and names kept.
  private static let pause = 2.0
  private static let descriptorLimit = 20_000
  private static let nameLimit = 1024

  init(below mountpoint: SystemPath) { self.mountpoint = mountpoint }

  /// The paths of inodes, below the mountpoint, as far as they can be found.
  mutating func paths(of inodes: Set<Int>) -> [Int: String] {
    if !inodes.allSatisfy({ known[$0] != nil }) && nextSearch.remainingMilliseconds == 0 {
      search()
      nextSearch = Deadline(seconds: Self.pause)
    }
    return known.filter { inodes.contains($0.key) }
  }

  private mutating func search() {
    if known.count > Self.nameLimit { known = [:] }
    var remaining = Self.descriptorLimit
    for process in Self.names(in: "/proc") where Int(process) != nil {
      for descriptor in Self.names(in: "/proc/\(process)/fd") where Int(descriptor) != nil {
        remaining -= 1
        if remaining < 0 { return }
        note(process, descriptor)
      }
    }
  }

  private mutating func note(_ process: String, _ descriptor: String) {
    guard let path = SystemPath("/proc/\(process)/fd/\(descriptor)").linkTarget,
      path.isAtOrBelow(mountpoint), path != mountpoint,
      let text = contents(of: SystemPath("/proc/\(process)/fdinfo/\(descriptor)"))
    else { return }
    for line in String(decoding: text, as: UTF8.self).split(separator: "\n")
    where line.hasPrefix("ino:") {
      guard let inode = Int(line.dropFirst(4).filter { $0.isNumber }) else { return }
      known[inode] = SystemPath(Array(path.bytes.dropFirst(mountpoint.bytes.count + 1))).shown
    }
  }

  private static func names(in directory: String) -> [String] {
    guard let stream = unsafe opendir(directory) else { return [] }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      names.append(
        unsafe withUnsafePointer(to: &entry.pointee.d_name) {
          unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
        })
    }
    return names
  }
}
