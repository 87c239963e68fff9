// `extractfs pins`: who holds pages now, and who held them longest.

import ArgumentParser
import Glibc
import Trace

/// A time as people write it: a number with `us`, `ms`, `s` or `m`; without one, seconds.
struct TimeArgument: ExpressibleByArgument {
  let microseconds: Double

  init?(argument: String) {
    let units: [(String, Double)] = [("us", 1), ("ms", 1e3), ("s", 1e6), ("m", 60e6), ("", 1e6)]
    for (unit, factor) in units where argument.hasSuffix(unit) {
      guard let number = Double(argument.dropLast(unit.count)), number >= 0, number <= 1e9 else {
        continue
      }
      microseconds = number * factor
      return
    }
    return nil
  }
}

struct PinsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pins",
    abstract:
      "Show who holds pages now, who held them longest, and who kept pages from being moved.",
    discussion: """
      `echo migrate > DIR/.extractfs/control` tries to move all pages that requests hold, as compaction would. Who is in \
      the way, with a pin or a reference, is named here, and when it let go.
      """)

  @Argument(help: "The mounted directory.", completion: .directory)
  var mountpoint: SystemPath

  @Option(
    help: ArgumentHelp("Only what was held at least so long, as 1s or 500us.", valueName: "time"))
  var older: TimeArgument?

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let mount = try MountedControl(mountpoint)
    let names = ClientNames(mount.mountpoint)
    let least = older?.microseconds ?? 0
    let report = PinsReport(try mount.read("pins"))
    let held = report.held.filter { $0.microseconds >= least }
    let longest = report.longest.filter { $0.microseconds >= least }
    if json {
      emitJSON([
        "held": held.map { $0.document(names) }, "longest": longest.map { $0.document(names) },
        "blocked": report.blocked.map { $0.document(names) }, "defects": report.defects,
      ])
      return
    }
    show("held now", held, names)
    show("longest holds", longest, names)
    if !report.blocked.isEmpty { show("kept pages from being moved", report.blocked, names) }
    for defect in report.defects { emit("defect: \(defect)\n") }
  }

  private func show(_ title: String, _ holds: [PinsReport.Hold], _ names: ClientNames) {
    emit("\(title): \(holds.isEmpty ? "nobody" : "")\n")
    if holds.isEmpty { return }
    let rows =
      [["program[pid]", "file", "request", "range", "kind", "mode", "pages", "held", ""]]
      + holds.map { $0.row(names) }
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    for row in rows {
      let cells = row.enumerated().map { index, cell in
        cell + String(repeating: " ", count: widths[index] - cell.count)
      }
      var line = cells.joined(separator: "  ")
      while line.last == " " { line.removeLast() }
      emit("  \(line)\n")
    }
  }
}

/// The file `pins`, read.
struct PinsReport {
  /// One hold.
  struct Hold {
    var request = 0
    var inode: UInt64 = 0
    var offset = 0
    var length = 0
    var kind = ""
    var mode = ""
    var pages = 0
    var microseconds = 0.0
    var thread: Int32 = 0
    var remark = ""

    init?(_ words: ArraySlice<Substring>) {
      let fields = Array(words)
      guard fields.count >= 9, let request = Int(fields[0]), let inode = UInt64(fields[1]),
        let offset = Int(fields[2]), let length = Int(fields[3]), let pages = Int(fields[6]),
        let age = Double(fields[7]), let thread = Int32(fields[8])
      else { return nil }
      self.request = request
      self.inode = inode
      self.offset = offset
      self.length = length
      kind = String(fields[4])
      mode = String(fields[5])
      self.pages = pages
      microseconds = age
      self.thread = thread
      remark = fields[9...].joined(separator: " ")
    }

    func row(_ names: ClientNames) -> [String] {
      [
        "\(names.command(of: thread))[\(thread)]", names.path(of: inode, thread: thread),
        "\(request)", "\(offset)+\(length)", kind, mode, "\(pages)", Self.time(microseconds),
        remark,
      ]
    }

    func document(_ names: ClientNames) -> [String: Any] {
      [
        "request": request, "inode": inode, "offset": offset, "length": length, "kind": kind,
        "mode": mode, "pages": pages, "held_us": microseconds, "pid": thread,
        "command": names.command(of: thread), "path": names.path(of: inode, thread: thread),
        "remark": remark,
      ]
    }

    private static func time(_ microseconds: Double) -> String {
      let tenths = { (value: Double) in "\((value * 10).rounded() / 10)" }
      if microseconds < 1e3 { return "\(Int(microseconds)) us" }
      if microseconds < 1e6 { return tenths(microseconds / 1e3) + " ms" }
      return tenths(microseconds / 1e6) + " s"
    }
  }

  var held: [Hold] = []
  var longest: [Hold] = []
  var blocked: [Hold] = []
  var defects: [String] = []

  init(_ text: String) {
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")[...]
      if line.hasPrefix("# longest: ") {
        if let hold = Hold(words.dropFirst(2)) { longest.append(hold) }
      } else if line.hasPrefix("# blocked: ") {
        if let hold = Hold(words.dropFirst(2)) { blocked.append(hold) }
      } else if line.hasPrefix("# defect: ") {
        defects.append(String(line.dropFirst("# defect: ".count)))
      } else if let hold = Hold(words) {
        held.append(hold)
      }
    }
  }
}
