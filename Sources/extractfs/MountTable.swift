// The kernel's table of mounts.

import Foundation

/// Looks mounts up in /proc/self/mountinfo.
enum MountTable {
  /// The type under which the kernel lists our mounts.
  static let fileSystemType = "fuse.extractfs"

  struct Entry {
    let mountpoint: String
    let type: String
    let source: String
  }

  /// The topmost mount at exactly this absolute path, or nil.
  static func entry(at path: String) -> Entry? { entries().last { $0.mountpoint == path } }

  private static func entries() -> [Entry] {
    guard let data = FileManager.default.contents(atPath: "/proc/self/mountinfo") else { return [] }
    return String(decoding: data, as: UTF8.self).split(separator: "\n").compactMap(parse)
  }

  /// Fields: 4 is the mountpoint; behind a lone dash come type and source.
  private static func parse(_ line: Substring) -> Entry? {
    let words = line.split(separator: " ").map(String.init)
    guard words.count > 6, let dash = words.firstIndex(of: "-"), dash + 2 < words.count else {
      return nil
    }
    return Entry(
      mountpoint: unescape(words[4]), type: words[dash + 1], source: unescape(words[dash + 2]))
  }

  /// The table writes blanks and backslashes as three octal digits.
  private static func unescape(_ text: String) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), rest.count >= 3,
        let value = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
      {
        bytes.append(value)
        rest.removeFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
