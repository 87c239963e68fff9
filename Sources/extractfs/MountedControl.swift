// The control directory of a mount, as this program's commands use it: no question waits for ever.

import ArgumentParser
import Glibc

/// A mount that a command was given, found in the kernel's table.
struct MountedControl {
  /// As on the command line, for people.
  let name: String
  /// Where it is mounted.
  let mountpoint: SystemPath
  /// The kernel's entry.
  let entry: MountEntry

  /// Finds the mount, or gives the error that ends the command, after a line that says why.
  init(_ path: SystemPath) throws {
    name = path.shown
    switch MountTable.place(of: path) {
    case .silent: throw failure("\(name): does not answer; what is mounted there hangs")
    case .error(ENOTCONN): throw failure("\(name): lies on a mount whose daemon has died")
    case .error(let error):
      throw failure("\(name): no extractfs is mounted there: \(describe(error))")
    case .path(let found, let entry):
      guard let entry, Self.isOurs(entry) else {
        throw failure("\(name): no extractfs is mounted there")
      }
      mountpoint = found
      self.entry = entry
    }
  }

  /// By the type, or, where `subtype=` has given it another, by what the control directory says.
  private static func isOurs(_ entry: MountEntry) -> Bool {
    if entry.isExtractFS { return true }
    if entry.type != "fuse" && !entry.type.hasPrefix("fuse.") { return false }
    let config = entry.mountpoint.appending(".extractfs/config")
    return attempt(until: Deadline(seconds: Patience.path)) { _ in
      contents(of: config)?.starts(with: "iter=".utf8) ?? false ? 0 : ENOENT
    }?.error == 0
  }

  /// The text of a control file, or the error that ends the command, after a line that says why.
  func read(_ file: String, seconds: Double = Patience.controlFile) throws -> String {
    let path = mountpoint.appending(".extractfs/\(file)")
    let answer = attempt(until: Deadline(seconds: seconds)) { output in
      guard let bytes = contents(of: path) else { return errno }
      return copy(bytes, to: output)
    }
    guard let answer else { throw failure(silence(seconds)) }
    if answer.error != 0 { throw explain(answer.error) }
    return String(decoding: answer.output, as: UTF8.self)
  }

  /// The figures of `stats` in their order.
  func statistics() throws -> [(name: String, value: Int)] {
    try read("stats").split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      guard words.count == 2, let value = Int(words[1]) else { return nil }
      return (String(words[0]), value)
    }
  }

  /// Says that the daemon does not answer, and which that is.
  func silence(_ seconds: Double) -> String {
    let text = "\(name): the daemon does not answer within \(Int(seconds.rounded(.up))) s"
    guard let process = daemonByCommandLine() else { return text }
    let state = DaemonProcess.state(of: process)
    if state == "T" || state == "t" {
      return "\(text): process \(process) is stopped; `kill -CONT \(process)` lets it go on"
    }
    return
      "\(text): process \(process); `kill -KILL \(process)` ends it, and `extractfs umount` then removes the mount"
  }

  /// The daemon, as far as its arguments tell: the control file, which would say it, cannot be read.
  private func daemonByCommandLine() -> pid_t? { DaemonProcess.serving(mountpoint) }

  private func explain(_ number: Int32) -> ExitCode {
    switch number {
    case ENOENT: failure("\(name): the mount has control=off")
    case ENOTCONN:
      failure(
        "\(name): the daemon has died; `extractfs umount \(mountpoint.quoted)` removes the mount")
    default: failure("\(name): \(describe(number))")
    }
  }
}

/// Writes all bytes to the parent's pipe.
/// - Returns: 0 or an errno.
func copy(_ bytes: [UInt8], to output: Int32) -> Int32 {
  var rest = bytes[...]
  while !rest.isEmpty {
    let count = unsafe rest.withUnsafeBytes { unsafe write(output, $0.baseAddress, $0.count) }
    if count > 0 {
      rest = rest.dropFirst(count)
    } else if errno != EINTR {
      return errno
    }
  }
  return 0
}

/// What /proc says of daemons.
enum DaemonProcess {
  /// A process's state, a letter as in ps, or nil.
  static func state(of process: pid_t) -> Character? {
    let text = String(
      decoding: contents(of: SystemPath("/proc/\(process)/stat")) ?? [], as: UTF8.self)
    guard let end = text.lastIndex(of: ")") else { return nil }
    return text[end...].dropFirst(2).first
  }

  /// Whether a process is one of this program's.
  static func isOurs(_ process: pid_t) -> Bool {
    (contents(of: SystemPath("/proc/\(process)/comm")) ?? []).starts(with: "extractfs".utf8)
  }

  /// The daemon that was started for a mountpoint, or nil.
  static func serving(_ mountpoint: SystemPath) -> pid_t? {
    guard let stream = unsafe opendir("/proc") else { return nil }
    defer { unsafe closedir(stream) }
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      guard let process = pid_t(name), process != getpid(), isOurs(process) else { continue }
      let words = (contents(of: SystemPath("/proc/\(process)/cmdline")) ?? [])
        .split(separator: 0).map(Array.init)
      if words.contains(Array("mount".utf8)), words.contains(mountpoint.bytes) { return process }
    }
    return nil
  }
}
