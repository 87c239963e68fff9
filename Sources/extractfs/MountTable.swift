// The kernel's table of mounts.

import Glibc

/// A line of mountinfo; see proc(5).
struct MountEntry {
  /// The mount's number, in every namespace another.
  let identifier: Int
  /// The number of the mount that it stands on.
  let parent: Int
  /// Major and minor number of the filesystem, as `0:45`: the same in all namespaces and for all bind mounts.
  let device: String
  let mountpoint: SystemPath
  let type: String

  /// The type under which the kernel lists our mounts.
  static let extractfsType = "fuse.extractfs"

  /// Whether it is one of ours.
  var isExtractFS: Bool { type == Self.extractfsType }
}

/// Looks mounts up. The table is read, and no mount is asked anything: it might not answer.
enum MountTable {
  /// The topmost mount at exactly this absolute path, or nil.
  static func entry(at path: SystemPath) -> MountEntry? {
    entries().last { $0.mountpoint == path }
  }

  /// The mounts that a process sees; none if it may not be asked.
  static func entries(of process: String = "self") -> [MountEntry] {
    guard let bytes = contents(of: SystemPath("/proc/\(process)/mountinfo")) else { return [] }
    return bytes.split(separator: UInt8(ascii: "\n")).compactMap(parse)
  }

  /// Fields: number, parent, device, root, mountpoint, options, any number of tags; behind a lone dash, type and source.
  private static func parse(_ line: ArraySlice<UInt8>) -> MountEntry? {
    let words = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard words.count > 7,
      let dash = words[6...].firstIndex(where: { $0.elementsEqual("-".utf8) }),
      dash + 1 < words.count, let identifier = Int(text(words[0])), let parent = Int(text(words[1]))
    else { return nil }
    return MountEntry(
      identifier: identifier, parent: parent, device: text(words[2]),
      mountpoint: SystemPath(unescape(words[4])), type: text(words[dash + 1]))
  }

  private static func text(_ word: ArraySlice<UInt8>) -> String {
    String(decoding: word, as: UTF8.self)
  }

  /// The table writes blanks, line ends and backslashes as three octal digits.
  static func unescape(_ text: ArraySlice<UInt8>) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = text
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
    return bytes
  }
}

/// How long this program waits for others, in seconds.
enum Patience {
  /// For a filesystem to answer a question about a path.
  static let path = 10.0
  /// For a control file's text: a freeze or a flush may have to end first.
  static let controlFile = 30.0
  /// For a daemon to start.
  static let start = 60.0
}

extension MountTable {
  /// What a path on the command line names.
  enum Place {
    /// An absolute path without links, and the mount at exactly this path.
    case path(SystemPath, MountEntry?)
    /// Nothing: an errno.
    case error(Int32)
    /// What is mounted somewhere on the way does not answer.
    case silent
  }

  /// Finds out what a path names, without asking a mount of ours that stands there.
  static func place(of path: SystemPath) -> Place {
    guard
      let found = attempt(
        until: Deadline(seconds: Patience.path), { resolveParent(of: path, into: $0) })
    else { return .silent }
    if found.error == 0 {
      let candidate = SystemPath(found.output)
      if let entry = entry(at: candidate) { return .path(candidate, entry) }
    }
    // A link, or dots at the end.
    guard
      let found = attempt(
        until: Deadline(seconds: Patience.path),
        { output in
          guard let path = path.resolved else { return errno }
          return write(path, to: output)
        })
    else { return .silent }
    if found.error != 0 { return .error(found.error) }
    let resolved = SystemPath(found.output)
    return .path(resolved, entry(at: resolved))
  }

  /// The directory without links and the name as it is: looking at the name itself would ask the mount.
  private static func resolveParent(of path: SystemPath, into output: Int32) -> Int32 {
    let slash = UInt8(ascii: "/")
    let trimmed = path.bytes[..<((path.bytes.lastIndex { $0 != slash } ?? 0) + 1)]
    let start = trimmed.lastIndex(of: slash).map { $0 + 1 } ?? 0
    let name = Array(trimmed[start...])
    if name.isEmpty || name == Array(".".utf8) || name == Array("..".utf8) { return ENOENT }
    let directory = start == 0 ? SystemPath(".") : SystemPath(Array(trimmed[..<start]))
    guard let parent = directory.resolved else { return errno }
    let base = parent.bytes == [slash] ? [] : parent.bytes
    return write(SystemPath(base + [slash] + name), to: output)
  }

  private static func write(_ path: SystemPath, to output: Int32) -> Int32 {
    let count = unsafe path.bytes.withUnsafeBytes {
      unsafe Glibc.write(output, $0.baseAddress, $0.count)
    }
    return count == path.bytes.count ? 0 : EIO
  }
}
