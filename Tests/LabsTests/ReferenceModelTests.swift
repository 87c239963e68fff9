// The machine against the reference model, over random interleavings; and each bug, which must be noticed.

import Memory
import Testing
import TestSupport

@Suite("Processes, pins and copy-on-write")
struct ReferenceModelTests {
  /// Schedules in all parts together: 10^5.
  static let parts = 4
  static let schedulesPerPart = 25_000

  @Test("agree with the reference model over random interleavings", arguments: 0..<parts)
  func agreement(_ part: Int) throws {
    let seed = UInt64.random(in: 0..<1 << 32) * 4 + UInt64(part)
    print("reference model, part \(part): seed \(seed)")
    let machine = Interleaving(seed: seed, era: part % 2 == 0 ? .merged : .v8)
    for schedule in 0..<Self.schedulesPerPart {
      do {
        try machine.run()
      } catch {
        Issue.record("seed \(seed), schedule \(schedule): \(error)")
        return
      }
    }
  }

  /// All but those of whole calls, which no schedule of processes makes.
  private static let bugs = ModelBugs.catalogue.map(\.name).filter { $0 != "trim-keeps-pin" }

  @Test("show every bug that can be switched on", arguments: bugs)
  func canary(_ name: String) throws {
    let bug = try #require(ModelBugs(name: name))
    let machine = Interleaving(seed: 7, bugs: bug)
    for _ in 0..<5_000 {
      do {
        try machine.run()
      } catch {
        return
      }
    }
    Issue.record("5,000 schedules with \(name) agreed with the reference model")
  }
}
