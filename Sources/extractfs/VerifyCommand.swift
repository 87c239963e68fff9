// `extractfs verify`: the proof that a mount is what it says, against the kernel that runs.

import ArgumentParser
import CSystem
import Glibc
import Memory
import Trace
import Volumes

struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Prove a mount honest, against the running kernel.",
    discussion: """
      Makes requests of mixed sizes, offsets and iterator kinds on the mount, or watches yours, and compares: that every \
      request gave back what it took; the pages that the model, this program and the image's device ought to have pinned \
      with what the kernel has counted; and bio by bio what the model sent with what the kernel queued for the image's \
      disk (as root, by its tracepoint block:block_bio_queue). The rules are those nearest to the running kernel meanwhile.

      The workload reads. With --writes it also writes back what it has just read, so nobody else may write there \
      meanwhile. Exit code 2 on any difference.
      """)

  @Argument(help: "The mounted directory.", completion: .directory)
  var mountpoint: SystemPath

  @Option(help: ArgumentHelp("How many requests.", valueName: "n"))
  var requests = 1000

  @Flag(help: "Write as well: the same bytes that were read.")
  var writes = false

  @Option(help: "The file to use, where it is not DIR/disk.", completion: .file())
  var file: SystemPath?

  @Option(
    help: ArgumentHelp(
      "Watch other programs' requests for so long instead of making some.", valueName: "seconds"))
  var watch: Double?

  @Option(help: "The seed of the workload's choices.")
  var seed: UInt64 = 1

  @Flag(help: "Print JSON.")
  var json = false

  func validate() throws {
    if requests < 1 || requests > 1_000_000 {
      throw ValidationError("--requests: must be from 1 to 1000000")
    }
    if let watch, !(watch > 0 && watch <= 86_400) {
      throw ValidationError("--watch: must be a number of seconds above 0")
    }
  }

  func run() throws {
    let mount = try MountedControl(mountpoint)
    var session = try VerifySession(mount, seed: seed)
    try session.prepare(
      writes: writes && watch == nil, file: file ?? mount.mountpoint.appending("disk"),
      works: watch == nil)
    let verdict: VerifyVerdict
    do {
      if let watch {
        verdict = try session.watch(seconds: watch)
      } else {
        verdict = try session.work(requests: requests)
      }
    } catch {
      session.restore()
      throw error
    }
    session.restore()
    show(verdict)
    if verdict.rows.contains(where: { $0.outcome == .differs }) { throw Exit.defect }
  }

  private func show(_ verdict: VerifyVerdict) {
    if json {
      emitJSON([
        "checks": verdict.rows.map { row in
          [
            "check": row.check, "expected": row.expected, "seen": row.seen,
            "verdict": row.outcome.rawValue, "remark": row.remark,
          ]
        }, "details": verdict.details,
      ])
      return
    }
    let rows =
      [["check", "expected", "seen", "verdict", ""]]
      + verdict.rows.map { [$0.check, $0.expected, $0.seen, $0.outcome.rawValue, $0.remark] }
    let widths = (0..<5).map { column in rows.map { $0[column].count }.max() ?? 0 }
    for row in rows {
      var line = row.enumerated().map { index, cell in
        cell + String(repeating: " ", count: widths[index] - cell.count)
      }.joined(separator: "  ")
      while line.last == " " { line.removeLast() }
      emit(line + "\n")
    }
    for line in verdict.details { emit("  \(line)\n") }
  }
}

/// What came out.
struct VerifyVerdict {
  enum Outcome: String {
    case equal
    case differs
    case unknown = "not compared"
  }

  struct Row {
    var check: String
    var expected: String
    var seen: String
    var outcome: Outcome
    var remark = ""
  }

  var rows: [Row] = []
  var details: [String] = []

  /// The row about the kernel's pins.
  static let pinsCheck = "pages pinned by the kernel"

  /// Whether the kernel has counted more pins than are known of.
  var hasTooManyPins: Bool {
    rows.contains { row in
      guard row.check == Self.pinsCheck, let expected = Int(row.expected), let seen = Int(row.seen)
      else { return false }
      return seen > expected
    }
  }

  mutating func add(_ check: String, _ expected: Int, _ seen: Int, _ remark: String = "") {
    rows.append(
      Row(
        check: check, expected: "\(expected)", seen: "\(seen)",
        outcome: expected == seen ? .equal : .differs, remark: remark))
  }

  mutating func skip(_ check: String, _ reason: String) {
    rows.append(Row(check: check, expected: "", seen: "", outcome: .unknown, remark: reason))
  }
}
