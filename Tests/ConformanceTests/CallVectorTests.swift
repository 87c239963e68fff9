// The vectors of whole calls, kernel by kernel; and that the comparison sees a difference.

import Conformance
import Foundation
import Testing

@Suite("The vectors of booted kernels")
struct CallVectorTests {
  private static let directory = Bundle.module.bundlePath + "/Vectors/dio"

  @Test("are all reproduced", arguments: ["6.1", "6.12", "7.3"])
  func kernel(_ kernel: String) throws {
    let report = try ConformanceRunner.run(file: "\(Self.directory)/dio-\(kernel).jsonl")
    for failure in report.failures.prefix(5) {
      Issue.record("\(failure.id): \(failure.difference)")
    }
    #expect(report.failed == 0)
    #expect(report.passed == 1268)
    #expect(report.kernels[kernel]?.count == 25)
  }

  private func vector(_ id: String, kernel: String) throws -> String {
    let text = try String(contentsOfFile: "\(Self.directory)/dio-\(kernel).jsonl", encoding: .utf8)
    return try #require(
      text.split(separator: "\n").first { $0.contains("\"id\":\"\(id)\"") }.map(String.init))
  }

  private func passes(_ line: String) -> Bool {
    var report = ConformanceReport()
    ConformanceRunner.run(line: Array(line.utf8), named: "line", into: &report)
    return report.passed == 1
  }

  @Test(
    "fail when a field that counts is another",
    arguments: [
      ("\"pins\":[1,1]", "\"pins\":[1,0]"), ("\"ret\":512", "\"ret\":511"),
      ("\"sector\":128", "\"sector\":129"), ("\"bvecs\":[[0,0,512]]", "\"bvecs\":[[0,0,511]]"),
      ("\"release\":[[0,1]]", "\"release\":[[0,0]]"), ("\"nr\":1", "\"nr\":2"),
      ("\"kernel\":\"7.3\"", "\"kernel\":\"6.1\""),
    ])
  func differences(_ old: String, _ new: String) throws {
    let line = try vector("dio-size-0001", kernel: "7.3")
    #expect(passes(line))
    let changed = line.replacingOccurrences(of: old, with: new)
    #expect(changed != line)
    #expect(!passes(changed))
  }

  @Test("keep their leak only where the kernel did")
  func leaks() throws {
    let line = try vector("dio-folio_trim-0001", kernel: "7.3")
    #expect(passes(line))
    #expect(!passes(line.replacingOccurrences(of: "\"pins_leaked\":1", with: "\"pins_leaked\":2")))
  }
}
