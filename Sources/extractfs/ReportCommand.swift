// `extractfs report`: a page made of a kept trace, or of two to compare.

import ArgumentParser
import Glibc
import Memory
import Reports
import Trace

struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract:
      "Make an HTML page of a trace that `extractfs record` has kept, or of two to compare.",
    discussion: "The page is one file that needs nothing else: no network, no script.")

  @Argument(help: "The trace, or two.", completion: .file())
  var traces: [SystemPath]

  @Option(
    name: .shortAndLong, help: "Where the page goes; - for standard output.", completion: .file())
  var output: SystemPath?

  func validate() throws {
    if !(1...2).contains(traces.count) { throw ValidationError("name one trace, or two") }
  }

  func run() throws {
    let page = ReportPage(try traces.map(Self.read)).html
    let target = output ?? SystemPath(traces[0].bytes + Array(".html".utf8))
    let isStandard = target.bytes == [UInt8(ascii: "-")]
    var bytes = Array(page.utf8)
    try TraceSink(isStandard ? nil : target).write(&bytes)
    if !isStandard { emit("\(target.shown)\n") }
  }

  private static func read(_ path: SystemPath) throws -> ReportedRun {
    var summary = RunSummary()
    let facts = try TraceFile.read(path) { summary.add($0) }
    var rows: [(name: String, value: String)] = [
      ("trace", path.shown), ("command", facts.command), ("exit code", "\(facts.exitCode)"),
    ]
    let interesting = [
      "iter", "cleanup", "era", "bug", "segs", "misalign", "volume", "device", "block_size", "size",
      "transport", "workers", "queue_depth", "max_io", "backend", "direct",
    ]
    for name in interesting {
      if let value = facts.config[name] { rows.append((name, value)) }
    }
    if summary.startedNanoseconds > 0 {
      rows.append(("began", time(Int(summary.startedNanoseconds / 1_000_000_000))))
    }
    return ReportedRun(
      name: name(of: path), facts: rows, summary: summary,
      program: { $0 == 0 ? "kernel" : facts.programs["\($0)"] ?? "?" },
      file: { facts.files["\($0)"] ?? ($0 == 1 ? "/" : "inode \($0)") })
  }

  private static func name(of path: SystemPath) -> String {
    path.shown.split(separator: "/").last.map(String.init) ?? path.shown
  }

  /// Seconds since 1970 as a date, in UTC.
  private static func time(_ seconds: Int) -> String {
    var seconds = seconds
    var parts = unsafe tm()
    unsafe gmtime_r(&seconds, &parts)
    let fields = unsafe [
      parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
    ]
    let two = fields.map { $0 < 10 ? "0\($0)" : "\($0)" }
    let year = unsafe parts.tm_year + 1900
    return "\(year)-\(two[0])-\(two[1]) \(two[2]):\(two[3]):\(two[4]) UTC"
  }
}
