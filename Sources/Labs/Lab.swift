// What a lab is: a story with a name, told by running the real code over modelled memory.

import IOVector
import Memory

/// One demonstration.
public struct Lab: Sendable {
  /// As users name it.
  public let name: String
  /// What it shows, in a line.
  public let title: String
  /// The incident, its kernel commit, and what to look for: a few paragraphs.
  public let page: String
  /// Tells the story.
  let tell: @Sendable (LabSetup, inout LabStory) throws(Errno) -> Void

  /// Runs the lab.
  public func run(_ setup: LabSetup = LabSetup()) -> LabReport {
    var story = LabStory()
    do throws(Errno) {
      try tell(setup, &story)
    } catch {
      story.observe("the lab itself", "errno", expected: "0", happened: "\(error.rawValue)")
    }
    return LabReport(lab: self, setup: setup, story: story)
  }
}

/// Under which rules a lab is run.
public struct LabSetup: Sendable {
  /// Whose rules, or nil for what the lab is about.
  public var era: Era?
  /// What is taken on user pages: one column each.
  public var cleanups: [CleanupPolicy]
  /// Every random choice follows from it.
  public var seed: UInt64
  /// Bugs that are on throughout; the verdict then shows that they are noticed.
  public var bugs: ModelBugs

  /// Puts a set-up together; the defaults show everything and have no bug.
  public init(
    era: Era? = nil, cleanups: [CleanupPolicy] = [.pin, .get, .none], seed: UInt64 = 1,
    bugs: ModelBugs = []
  ) {
    self.era = era
    self.cleanups = cleanups
    self.seed = seed
    self.bugs = bugs
  }
}

extension LabSetup {
  /// What the run can be repeated from, in a line: the seed, the era if one was asked for, and the bugs.
  public var summary: String {
    var parts = ["seed \(seed)"]
    if let era { parts.append("era \(era.rawValue)") }
    if !bugs.isEmpty { parts.append("switched on: \(bugs.names.joined(separator: ", "))") }
    return parts.joined(separator: "; ")
  }
}

/// What a lab has said and seen so far.
public struct LabStory: Sendable {
  /// One thing that was looked at.
  public struct Observation: Sendable {
    /// What was looked at.
    public let subject: String
    /// Under which rule.
    public let column: String
    /// What the lab's page says.
    public let expected: String
    /// What was seen.
    public let happened: String
    /// Whether both are the same.
    public var isAsExpected: Bool { expected == happened }
  }

  /// Sentences in their order.
  public private(set) var lines: [String] = []
  /// Observations in their order.
  public private(set) var observations: [Observation] = []
  /// Why the lab could not be run here, if it could not.
  public private(set) var obstacle: String?

  /// Starts empty.
  public init() {}

  /// Adds a sentence.
  public mutating func say(_ line: String) { lines.append(line) }

  /// Adds an observation.
  public mutating func observe(
    _ subject: String, _ column: String, expected: String, happened: String
  ) {
    observations.append(
      Observation(subject: subject, column: column, expected: expected, happened: happened))
  }

  /// Says that the lab cannot be run here.
  public mutating func give(up reason: String) { obstacle = reason }
}

/// What came of a lab.
public enum LabVerdict: String, Sendable {
  /// Everything happened as the lab's page says.
  case asDocumented = "as documented"
  /// Something else happened.
  case notAsDocumented = "NOT as documented"
  /// Something that the lab needs is missing.
  case notRunHere = "not run here"
}

/// A lab that was run.
public struct LabReport: Sendable {
  /// Which.
  public let lab: Lab
  /// Under which rules.
  public let setup: LabSetup
  /// What it said and saw.
  public let story: LabStory

  /// Puts a report together.
  public init(lab: Lab, setup: LabSetup, story: LabStory) {
    self.lab = lab
    self.setup = setup
    self.story = story
  }

  /// What came of it.
  public var verdict: LabVerdict {
    if story.obstacle != nil { return .notRunHere }
    let isFine = !story.observations.isEmpty && story.observations.allSatisfy(\.isAsExpected)
    return isFine ? .asDocumented : .notAsDocumented
  }

  /// The line that ends the report.
  public var verdictLine: String {
    if let obstacle = story.obstacle { return "\(lab.name): not run here: \(obstacle)" }
    let right = story.observations.count(where: \.isAsExpected)
    return "\(lab.name): \(verdict.rawValue) (\(right) of \(story.observations.count) observations)"
  }

  /// The whole report as text: the story, what was seen in columns, the verdict.
  public var text: String {
    var rows = ["\(lab.name): \(lab.title)", "  \(setup.summary)", ""]
    rows += story.lines.map { "  \($0)" }
    if !story.observations.isEmpty { rows += [""] + table }
    rows += ["", "  verdict: \(verdictLine)", ""]
    return rows.joined(separator: "\n")
  }

  private var table: [String] {
    var columns: [String] = []
    var subjects: [String] = []
    var cells: [String: String] = [:]
    for seen in story.observations {
      if !columns.contains(seen.column) { columns.append(seen.column) }
      if !subjects.contains(seen.subject) { subjects.append(seen.subject) }
      cells["\(seen.subject)\n\(seen.column)"] =
        seen.isAsExpected ? seen.happened : "\(seen.happened) (expected: \(seen.expected))"
    }
    let rows =
      [[""] + columns]
      + subjects.map { subject in
        [subject] + columns.map { cells["\(subject)\n\($0)"] ?? "" }
      }
    let widths = (0...columns.count).map { place in rows.map { $0[place].count }.max() ?? 0 }
    return rows.map { row in
      let padded = row.enumerated().map { place, cell in
        cell + String(repeating: " ", count: widths[place] - cell.count)
      }
      let line = "  " + padded.joined(separator: "  ")
      return String(line.reversed().drop { $0 == " " }.reversed())
    }
  }
}

/// All labs, in the order in which they are best read.
public enum Labs {
  /// The labs; those of `needMount` are told by whoever can make one.
  public static let all: [Lab] = [
    .whereAreMyPins, .forkRace, .fuseMissingPin, .zeroPage, .leakHunt, .faultInTheMiddle,
    .samePageMerge, .misaligned, .pinnedWriteback, .longterm, .lateMisalignment, .trimmedFolio,
    .stableBounce, .pageMigration, .unstableBuffer,
  ]

  /// Labs that need a mount.
  public static let needMount: Set<String> = ["where-are-my-pins", "unstable-buffer"]

  /// The lab of a name, or nil.
  public static func lab(named name: String) -> Lab? { all.first { $0.name == name } }
}
