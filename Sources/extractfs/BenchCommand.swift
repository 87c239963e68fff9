// `extractfs bench core`: what extraction, bios and release cost, as a table or as JSON.

import ArgumentParser
import CoreBench
import Foundation
import IOVector

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure the model itself, without a mount.",
    discussion: "mount-scripts/bench measures mounts.", subcommands: [BenchCoreCommand.self])
}

struct BenchCoreCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "core",
    abstract: "Measure extraction, bios and release, in ns a request and a page.",
    discussion: """
      For every iterator kind, from 4 KiB to 2 MiB, on small pages that are next to one another and on one 2 MiB \
      folio, with one thread and with two that contend for the same pages:

        extract  all pages of a buffer, and their release
        bio      made, filled, detached, adopted, ended
        release  of pinned pages alone

      Beside them, from the same run: copying as many bytes, and 256 atomic adds. Figures are medians over \
      rounds; the spread is half of slowest minus fastest. Only a release build says anything about speed. A goal \
      that is not met is no error.
      """)

  @Flag(help: "Measure for less than a second.")
  var quick = false

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let report: CoreReport
    do { report = try CoreBench(quick: quick).run() } catch {
      throw failure("an extraction failed: \(error)", code: Exit.defect)
    }
    if json { emitJSON(Self.document(report)) } else { emit(CoreTable(report: report).text) }
  }

  private static func document(_ report: CoreReport) -> [String: Any] {
    [
      "schema": 1, "rounds": report.rounds,
      "rows": report.rows.map { row in
        var fields: [String: Any] = [
          "operation": row.subject.operation.rawValue, "threads": row.subject.threads,
          "ns": row.nanoseconds, "ns_per_page": row.nanosecondsPerPage, "spread": row.spread,
          "contended": row.isContended,
        ]
        if row.subject.byteCount > 0 { fields["bytes"] = row.subject.byteCount }
        if let kind = row.subject.kind { fields["kind"] = kind.name }
        if let layout = row.subject.layout { fields["layout"] = layout.rawValue }
        if let ratio = row.ratioToCopy { fields["ratio_to_memcpy"] = ratio }
        if let ratio = row.ratioToAdds { fields["ratio_to_256_adds"] = ratio }
        return fields
      },
      "goals": report.goals.map {
        [
          "name": $0.name, "kind": $0.kind.name, "limit_ns": $0.limitNanoseconds,
          "ns": $0.nanoseconds, "met": $0.isMet,
        ] as [String: Any]
      },
    ]
  }
}

/// The report for a terminal: 100 columns at most.
private struct CoreTable {
  let report: CoreReport

  var text: String {
    var lines = [
      "ns a request, ns a page, and spread in %; medians of \(report.rounds) rounds",
      "n/c: two threads never ran at the same time, since the machine was busy: not contended", "",
    ]
    for size in CoreCase.sizes { lines += block(size) + [""] }
    lines += goals
    return lines.joined(separator: "\n") + "\n"
  }

  private func block(_ size: Int) -> [String] {
    let title = size < 1 << 20 ? "\(size >> 10) KiB" : "\(size >> 20) MiB"
    let heads = ["1 thread, small", "1 thread, folio", "2 threads, small", "2 threads, folio"]
    var lines = [pad(title, 16) + heads.map { padLeft($0, 20) }.joined()]
    for kind in CoreCase.kinds { lines.append(line(.extract, kind, size)) }
    for kind in CoreCase.kinds { lines.append(line(.bio, kind, size)) }
    lines.append(line(.release, .ubuf, size))
    lines.append(yardstick("memcpy", .memcpy, size))
    lines.append(yardstick("256 atomic adds", .adds, 0))
    return lines
  }

  private func line(_ operation: CoreOperation, _ kind: IOVIter.Kind, _ size: Int) -> String {
    let segments = kind == .iovec ? "×4" : ""
    let name = operation == .release ? "release" : "\(operation) \(kind.name)\(segments)"
    return [1, 2].reduce(pad(name, 16)) { text, threads in
      CoreLayout.allCases.reduce(text) {
        $0
          + cell(
            report.row(operation, kind: kind, byteCount: size, layout: $1, threads: threads))
      }
    }
  }

  /// Yardsticks do not depend on the layout: they stand in the first column of their number of threads.
  private func yardstick(_ name: String, _ operation: CoreOperation, _ size: Int) -> String {
    let cells = [1, 2].map { cell(report.row(operation, byteCount: size, threads: $0)) }
    return pad(name, 16) + cells.joined(separator: String(repeating: " ", count: 20))
  }

  private func cell(_ row: CoreRow?) -> String {
    guard let row else { return padLeft("–", 20) }
    let spread = min(999, Int((row.spread * 100).rounded()))
    return padLeft(digits(row.nanoseconds), 8) + padLeft(digits(row.nanosecondsPerPage), 7)
      + padLeft(row.subject.threads > 1 && !row.isContended ? "n/c" : "±\(spread)", 5)
  }

  private var goals: [String] {
    ["goals for extraction and release, one thread"]
      + report.goals.map {
        let limit = "at most \(digits($0.limitNanoseconds)) ns"
        return "  " + pad($0.name, 22) + pad(limit, 18) + pad($0.kind.name, 8)
          + padLeft(digits($0.nanoseconds), 8) + " ns  " + ($0.isMet ? "met" : "NOT met")
      }
  }

  /// Three significant digits or more.
  private func digits(_ value: Double) -> String {
    String(format: value < 10 ? "%.2f" : value < 100 ? "%.1f" : "%.0f", value)
  }

  private func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  private func padLeft(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}
