// Names of programs and files for a trace, from /proc: the mount is asked nothing, or the trace would show the asking.

import Glibc
import Memory
import Trace

/// What /proc says of a mount's clients. Answers are kept; a program that has ended keeps its name.
final class ClientNames: TraceSurroundings {
  private let mountpoint: SystemPath
  private var commands: [Int32: String] = [:]
  private var processes: [Int32: Int32] = [:]
  private var paths: [UInt64: String] = [:]
  /// So often a thread was asked for an inode in vain.
  private var misses: [UInt64: Int] = [:]

  /// Answers that are kept of each kind, and how often a file's name is looked for.
  private static let limit = 4096
  private static let mostMisses = 4

  /// - Parameter mountpoint: where the mount is.
  init(_ mountpoint: SystemPath) { self.mountpoint = mountpoint }

  /// Names that another run has kept.
  func learn(command: String, of thread: Int32) { commands[thread] = command }
  /// Names that another run has kept.
  func learn(path: String, of inode: UInt64) { paths[inode] = path }
  /// All that is known of files.
  var knownPaths: [UInt64: String] { paths }
  /// All that is known of programs.
  var knownCommands: [Int32: String] { commands }

  func command(of thread: Int32) -> String {
    // What the kernel writes back comes from nobody.
    if thread == 0 { return "kernel" }
    if let known = commands[thread] { return known }
    let text = String(
      decoding: contents(of: SystemPath("/proc/\(thread)/comm")) ?? [], as: UTF8.self)
    let name = text.split(separator: "\n").first.map(String.init) ?? "?"
    if commands.count >= Self.limit { commands.removeAll() }
    commands[thread] = name
    return name
  }

  func process(of thread: Int32) -> Int32 {
    if let known = processes[thread] { return known }
    let text = String(
      decoding: contents(of: SystemPath("/proc/\(thread)/status")) ?? [], as: UTF8.self)
    let line = text.split(separator: "\n").first { $0.hasPrefix("Tgid:") }
    let process = line.flatMap { Int32($0.dropFirst(5).trimmingPrefix(while: \.isWhitespace)) }
    if processes.count >= Self.limit { processes.removeAll() }
    processes[thread] = process ?? thread
    return process ?? thread
  }

  func path(of inode: UInt64, thread: Int32) -> String {
    if let known = paths[inode] { return known }
    if inode == 1 { return "/" }
    if inode == 0 { return "-" }
    if misses[inode, default: 0] < Self.mostMisses {
      if let found = openPath(of: inode, thread: thread) {
        if paths.count >= Self.limit { paths.removeAll() }
        paths[inode] = found
        return found
      }
      if misses.count >= Self.limit { misses.removeAll() }
      misses[inode, default: 0] += 1
    }
    return "inode:\(inode)"
  }

  /// A path of the mount by which a thread has an inode open, or nil.
  private func openPath(of inode: UInt64, thread: Int32) -> String? {
    let folder = "/proc/\(thread)/fd"
    guard let stream = unsafe opendir(folder) else { return nil }
    defer { unsafe closedir(stream) }
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      guard let path = SystemPath("\(folder)/\(name)").linkTarget, path.isAtOrBelow(mountpoint),
        number(of: name, thread: thread) == inode
      else { continue }
      return ArgumentText.shown(Array(path.bytes.dropFirst(mountpoint.bytes.count)))
    }
    return nil
  }

  /// The inode behind a descriptor, which the kernel knows without asking the mount.
  private func number(of descriptor: String, thread: Int32) -> UInt64? {
    let text = String(
      decoding: contents(of: SystemPath("/proc/\(thread)/fdinfo/\(descriptor)")) ?? [],
      as: UTF8.self)
    let line = text.split(separator: "\n").first { $0.hasPrefix("ino:") }
    return line.flatMap { UInt64($0.dropFirst(4).trimmingPrefix(while: \.isWhitespace)) }
  }
}
