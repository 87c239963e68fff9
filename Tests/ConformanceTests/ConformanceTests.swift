// The vectors that come with the project, family by family.

import Conformance
import Foundation
import Testing

/// How many vectors each file has; a file that lost some must not pass.
private let expectedCounts: [(family: String, count: Int)] = [
  ("extract", 835), ("getpages", 482), ("iter_ops", 613), ("bio_build", 911),
  ("bio_iter", 367), ("copy", 248), ("kunit", 12),
]

@Suite("The conformance vectors")
struct ConformanceVectorTests {
  private let directory = Bundle.module.bundlePath + "/Vectors"

  @Test("are all reproduced", arguments: expectedCounts)
  func family(_ family: String, _ count: Int) throws {
    let report = try ConformanceRunner.run(file: "\(directory)/\(family).jsonl")
    for failure in report.failures.prefix(5) {
      Issue.record("\(failure.id): \(failure.difference)")
    }
    #expect(report.failed == 0)
    #expect(report.passed == count)
    #expect(Array(report.families.keys) == [family])
  }
}
