// `extractfs stats`: the figures of a mount, once or again and again.

import ArgumentParser
import Foundation
import Glibc

struct StatsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stats", abstract: "Show the pin, bio and device statistics of a mount.")

  @Argument(help: "The mounted directory.", completion: .directory)
  var mountpoint: SystemPath

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
    let mount = try MountedControl(mountpoint)
    guard let watch else {
      emit(try mount.read(json ? "stats.json" : "stats"))
      return
    }
    if json {
      while true {
        emit(try mount.read("stats.json"))
        pause(watch)
      }
    }
    try follow(mount, every: watch)
  }

  /// One table per round: total and change per second, of the figures that are not zero.
  private func follow(_ mount: MountedControl, every seconds: Double) throws {
    var before = try mount.statistics()
    while true {
      pause(seconds)
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

  private func pause(_ seconds: Double) {
    let deadline = Deadline(seconds: seconds)
    while poll(nil, 0, deadline.remainingMilliseconds) < 0 && errno == EINTR {}
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
