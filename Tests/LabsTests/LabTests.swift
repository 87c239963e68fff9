// The labs: their verdicts, their sameness, and that bugs change them.

import IOVector
import Labs
import Memory
import Testing

@Suite("A lab")
struct LabTests {
  /// The labs that need no mount.
  static let names = Labs.all.map(\.name).filter { !Labs.needMount.contains($0) }

  /// Those that set eras beside one another, not cleanups.
  static let eraLabs: Set<String> = ["late-misalignment", "trimmed-folio", "stable-bounce"]

  private func lab(_ name: String) throws -> Lab { try #require(Labs.lab(named: name)) }

  @Test("has the name that the project promises")
  func catalogue() {
    #expect(
      Labs.all.map(\.name) == [
        "where-are-my-pins", "fork-race", "fuse-missing-pin", "zero-page", "leak-hunt",
        "fault-in-the-middle", "same-page-merge", "misaligned", "pinned-writeback", "longterm",
        "late-misalignment", "trimmed-folio", "stable-bounce", "page-migration",
        "unstable-buffer",
      ])
    #expect(Labs.lab(named: "no-such-lab") == nil)
    for lab in Labs.all {
      #expect(lab.page.contains("What to look for:"), "\(lab.name)")
      #expect(lab.page.contains("Kernel co"), "\(lab.name)")
    }
  }

  @Test(
    "ends as documented, whatever the seed", arguments: names, [1, 2, 3, 0xdead_beef] as [UInt64])
  func verdicts(_ name: String, _ seed: UInt64) throws {
    let report = try lab(name).run(LabSetup(seed: seed))
    #expect(report.verdict == .asDocumented, "seed \(seed)\n\(report.text)")
    #expect(report.text.hasSuffix("verdict: \(report.verdictLine)\n"))
  }

  @Test("ends as documented under every era", arguments: names, Era.allCases)
  func eras(_ name: String, _ era: Era) throws {
    let report = try lab(name).run(LabSetup(era: era))
    #expect(report.verdict == .asDocumented, "\(report.text)")
  }

  @Test("says the same for the same seed", arguments: names)
  func determinism(_ name: String) throws {
    let setup = LabSetup(seed: 12345)
    #expect(try lab(name).run(setup).text == lab(name).run(setup).text)
  }

  @Test("shows one column alone", arguments: names, [CleanupPolicy.pin, .get, .none])
  func oneColumn(_ name: String, _ cleanup: CleanupPolicy) throws {
    let report = try lab(name).run(LabSetup(cleanups: [cleanup]))
    #expect(report.verdict == .asDocumented, "\(report.text)")
    let columns = Set(report.story.observations.map(\.column))
    if Self.eraLabs.contains(name) {
      #expect(columns.isSubset(of: Set(Era.allCases.map(\.rawValue))))
    } else {
      #expect(columns.allSatisfy { $0.hasPrefix(cleanup.rawValue) })
    }
  }

  @Test(
    "is not as documented with its bug",
    arguments: [
      ("leak-hunt", "release-one-short"), ("leak-hunt", "double-release"),
      ("fork-race", "ref-instead-of-pin"), ("fuse-missing-pin", "ref-instead-of-pin"),
      ("pinned-writeback", "dirty-too-late"), ("zero-page", "zero-page-ref"),
      ("same-page-merge", "merge-keeps-pin"), ("fork-race", "fork-ignores-pins"),
      ("fork-race", "reuse-ignores-sharing"), ("fuse-missing-pin", "migrate-ignores-pins"),
      ("longterm", "migrate-ignores-pins"), ("longterm", "pin-without-unshare"),
      ("fault-in-the-middle", "release-one-short"), ("trimmed-folio", "trim-keeps-pin"),
      ("page-migration", "migrate-ignores-pins"), ("page-migration", "ref-instead-of-pin"),
    ])
  func bugs(_ name: String, _ bug: String) throws {
    let bug = try #require(ModelBugs(name: bug))
    let report = try lab(name).run(LabSetup(bugs: bug))
    #expect(report.verdict == .notAsDocumented)
    #expect(report.verdictLine.contains("NOT as documented"))
  }

  @Test("says that it was not run where it cannot be")
  func notRun() throws {
    let report = try lab("where-are-my-pins").run()
    #expect(report.verdict == .notRunHere)
    #expect(report.verdictLine.hasPrefix("where-are-my-pins: not run here: "))
  }
}

@Suite("Bugs to switch on")
struct ModelBugsTests {
  @Test("have names, and are off by default")
  func names() {
    #expect(ModelBugs.catalogue.allSatisfy { ModelBugs(name: $0.name) == $0.bug })
    #expect(Set(ModelBugs.catalogue.map(\.name)).count == ModelBugs.catalogue.count)
    #expect(ModelBugs(name: "no-such-bug") == nil)
    #expect(
      ModelBugs([.doubleRelease, .dirtyTooLate]).names == ["double-release", "dirty-too-late"])
    #expect(LabSetup().bugs.isEmpty)
  }
}
