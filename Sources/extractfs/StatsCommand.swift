// `extractfs stats`: the figures of a mount, once or again and again.

import ArgumentParser
import Foundation
import Glibc

struct StatsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stats", abstract: "Show the pin, bio and device statistics of a mount.")

  @Argument(help: "The mounted directory.", completion: .directory)
  var mountpoint: String

  @Option(
    help: ArgumentHelp(
      "Show what changed, every so many seconds, until interrupted.", valueName: "seconds"))
  var watch: Double?

  @Flag(help: "Print JSON, with histograms.")
  var json = false

  func run() throws {
    if let watch, !(watch > 0 && watch <= 86_400) {
      throw failure("--watch: must be a number of seconds above 0", code: Exit.usage)
    }
    let mount = MountedControl(mountpoint: mountpoint)
    guard let watch else {
      emit(try mount.read(json ? "stats.json" : "stats"))
      return
    }
    if json {
      while true {
        emit(try mount.read("stats.json"))
        usleep(UInt32(watch * 1_000_000))
      }
    }
    try follow(mount, every: watch)
  }

  /// One table per round: total and change per second, of the figures that are not zero.
  private func follow(_ mount: MountedControl, every seconds: Double) throws {
    var before = try mount.statistics()
    while true {
      usleep(UInt32(seconds * 1_000_000))
      let now = try mount.statistics()
      let old = Dictionary(
        before.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
      emit(Self.row("name", "total", "per second"))
      for (name, value) in now where value != 0 {
        let rate = Double(value - (old[name] ?? 0)) / seconds
        emit(Self.row(name, "\(value)", String(format: "%.0f", rate)))
      }
      emit("\n")
      before = now
    }
  }

  private static func row(_ name: String, _ total: String, _ rate: String) -> String {
    func left(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(0, width - text.count))
    }
    func right(_ text: String, _ width: Int) -> String {
      String(repeating: " ", count: max(0, width - text.count)) + text
    }
    return left(name, 34) + right(total, 16) + right(rate, 14) + "\n"
  }
}

/// The control directory of a mount, as its users see it.
struct MountedControl {
  let mountpoint: String

  /// The text of a control file, or the error that ends the command, after a line that says why.
  func read(_ name: String) throws -> String {
    let path = "\(mountpoint)/.extractfs/\(name)"
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0 { throw explain(errno) }
    let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    do {
      return String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self)
    } catch {
      throw failure("\(path): \(error.localizedDescription)")
    }
  }

  /// The figures of `stats` in their order.
  func statistics() throws -> [(name: String, value: Int)] {
    try read("stats").split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      guard words.count == 2, let value = Int(words[1]) else { return nil }
      return (String(words[0]), value)
    }
  }

  private func explain(_ number: Int32) -> ExitCode {
    switch number {
    case ENOENT
    where MountTable.entry(at: absolutePath(mountpoint) ?? mountpoint)?.type
      == MountTable.fileSystemType:
      failure("\(mountpoint): the mount has control=off")
    case ENOENT, ENOTDIR: failure("\(mountpoint): no extractfs is mounted there")
    case ENOTCONN:
      failure(
        "\(mountpoint): the daemon has died; `extractfs umount \(mountpoint)` removes the mount")
    default: failure(unsafe "\(mountpoint): \(String(cString: strerror(number)))")
    }
  }
}
