// `extractfs lab`: the demonstrations, listed, explained and run.

import ArgumentParser
import Foundation
import IOVector
import Labs
import Memory

struct LabCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lab", abstract: "Run the demonstrations of why pages are pinned.",
    discussion: """
      Each lab runs this project's own iterator, bio and release code over modelled memory, under pin, get and none \
      side by side, and ends with a verdict. Exit code 2 means that something did not happen as documented.
      """,
    subcommands: [LabList.self, LabShow.self, LabRun.self])
}

struct LabList: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the labs.")

  @Flag(help: "Show each lab's page, and the bugs that can be switched on.")
  var long = false

  @Flag(help: "Print JSON.")
  var json = false

  func run() {
    if json {
      emitJSON([
        "labs": Labs.all.map { ["name": $0.name, "title": $0.title, "page": $0.page] },
        "bugs": ModelBugs.catalogue.map { ["name": $0.name, "summary": $0.summary] },
      ])
      return
    }
    for lab in Labs.all {
      emit(long ? lab.pageText + "\n" : paddedLine(lab.name, lab.title))
    }
    if !long { return }
    emit("Bugs that can be switched on with --bug:\n\n")
    for entry in ModelBugs.catalogue { emit(paddedLine(entry.name, entry.summary)) }
  }

  private func paddedLine(_ name: String, _ text: String) -> String {
    name + String(repeating: " ", count: max(1, 24 - name.count)) + text + "\n"
  }
}

struct LabShow: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Show a lab's page: the incident, its commit, what to look for.")

  @Argument(help: "The lab's name.", completion: .list(Labs.all.map(\.name)))
  var name: String

  func run() throws {
    guard let lab = Labs.lab(named: name) else { throw unknownLab(name) }
    emit(lab.pageText)
  }
}

struct LabRun: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Run a lab, or all of them.",
    discussion:
      "With --bug a correct run turns out not as documented: that is how the bug is noticed.")

  @Argument(help: "The lab's name.", completion: .list(Labs.all.map(\.name)))
  var name: String?

  @Flag(help: "Run all labs; print their verdicts.")
  var all = false

  @Option(help: "Follow the rules of: \(Era.names.joined(separator: ", ")).")
  var era: String?

  @Option(help: "Show one column only: pin, get or none.")
  var cleanup: String?

  @Option(help: "Every random choice follows from it.")
  var seed: UInt64 = 1

  @Option(help: "Switch on a bug by name; may be repeated (`lab list --long` names them).")
  var bug: [String] = []

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let setup = try setup()
    let reports = try chosen().map { lab in
      Labs.needMount.contains(lab.name) ? MountLab(lab, setup).run() : lab.run(setup)
    }
    if json {
      emitJSON(["seed": "\(seed)", "labs": reports.map(\.document)])
    } else if all {
      if !setup.bugs.isEmpty { emit(setup.summary + "\n") }
      for report in reports { emit(report.verdictLine + "\n") }
    } else {
      for report in reports { emit(report.text) }
    }
    if reports.contains(where: { $0.verdict == .notAsDocumented }) { throw Exit.defect }
  }

  private func chosen() throws -> [Lab] {
    if all == (name != nil) {
      throw failure("lab run: give a lab's name, or --all", code: Exit.usage)
    }
    guard let name else { return Labs.all }
    guard let lab = Labs.lab(named: name) else { throw unknownLab(name) }
    return [lab]
  }

  private func setup() throws -> LabSetup {
    var setup = LabSetup(seed: seed)
    if let era {
      guard let known = Era(rawValue: era) else {
        throw failure(
          "--era: must be one of \(Era.names.joined(separator: ", "))", code: Exit.usage)
      }
      setup.era = known
    }
    if let cleanup {
      guard let known = CleanupPolicy(rawValue: cleanup), known != .auto else {
        throw failure("--cleanup: must be pin, get or none", code: Exit.usage)
      }
      setup.cleanups = [known]
    }
    for name in bug {
      guard let known = ModelBugs(name: name) else {
        let names = ModelBugs.catalogue.map(\.name).joined(separator: ", ")
        throw failure("--bug: \(name) is not one of \(names)", code: Exit.usage)
      }
      setup.bugs.formUnion(known)
    }
    return setup
  }
}

private func unknownLab(_ name: String) -> ExitCode {
  failure("\(name): no such lab; `extractfs lab list` names them", code: Exit.usage)
}

extension Lab {
  /// The page as text for a terminal: paragraphs, wrapped.
  fileprivate var pageText: String {
    let paragraphs = page.split(separator: "\n", omittingEmptySubsequences: true).map(wrapped)
    return "\(name): \(title)\n\n" + paragraphs.joined(separator: "\n\n") + "\n"
  }

  private func wrapped(_ paragraph: Substring) -> String {
    var lines: [String] = []
    var line = " "
    for word in paragraph.split(separator: " ") {
      if line.count + 1 + word.count > 100 {
        lines.append(line)
        line = " "
      }
      line += " " + word
    }
    return (lines + [line]).joined(separator: "\n")
  }
}

extension LabReport {
  /// The report for JSON.
  fileprivate var document: [String: Any] {
    [
      "name": lab.name, "title": lab.title, "verdict": verdict.rawValue,
      "verdict_line": verdictLine, "era": setup.era?.rawValue ?? "default",
      "bugs": setup.bugs.names, "story": story.lines,
      "observations": story.observations.map {
        [
          "subject": $0.subject, "column": $0.column, "expected": $0.expected,
          "happened": $0.happened,
        ]
      },
    ]
  }
}
