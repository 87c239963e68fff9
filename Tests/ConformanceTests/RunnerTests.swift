// The runner itself: it must see differences, and survive whatever it is given.

import Conformance
import Foundation
import Memory
import Testing

@Suite("The conformance runner")
struct ConformanceRunnerTests {
  private static let vector = """
    {"id":"x","family":"iter_ops","tag":"t","input":{"iter":{"type":"ubuf","dir":"dest","base":100,\
    "count":9000},"ops":[["npages",10],["advance",5]]},"expect":{"ops":[{"iter":[9000,0,1],"ret":3},\
    {"iter":[8995,5,1],"warn":true}]}}
    """

  private func run(_ line: String) -> ConformanceReport {
    var report = ConformanceReport()
    ConformanceRunner.run(line: Array(line.utf8), named: "file:7", into: &report)
    return report
  }

  @Test("passes a vector whose fields agree, whatever `warn` says")
  func pass() {
    let report = run(Self.vector)
    #expect(report.passed == 1 && report.failures.isEmpty)
    #expect(report.families["iter_ops"]?.passed == 1)
  }

  @Test(
    "names the first difference",
    arguments: [
      ("\"ret\":3", "\"ret\":4", "ops[0].ret: expected 4, found 3"),
      ("[8995,5,1]", "[8995,5,2]", "ops[1].iter[2]: expected 2, found 1"),
      (",\"warn\":true", ",\"ret\":1", "ops[1].ret: expected 1, found nothing"),
      (",\"ret\":3", "", "ops[0].ret: expected nothing, found 3"),
      (",[\"advance\",5]", "", "ops: expected 2 elements, found 1"),
    ])
  func difference(_ old: String, _ new: String, _ difference: String) {
    let report = run(Self.vector.replacingOccurrences(of: old, with: new))
    #expect(report.failures == [.init(id: "x", difference: difference)])
    #expect(report.failed == 1 && report.passed == 0)
  }

  @Test(
    "reports a malformed line with its place",
    arguments: [
      "", "{", "[]", "7", "nul", "{\"id\":1}", "{\"id\":\"a\"}", "{\"id\":\"a\",\"family\":\"b\"}",
      "{\"id\":\"a\",\"id\":\"a\"}", "{\"id\":\"a\u{1}\"}", "{} {}",
      "{\"id\":\"a\",\"family\":\"copy\",\"input\":{},\"expect\":{}}",
      "{\"id\":\"a\",\"family\":\"kunit\",\"input\":{},\"expect\":{}}",
      "{\"id\":\"a\",\"family\":\"bio_iter\",\"input\":{\"mem\":{\"pages\":0}},\"expect\":{}}",
      "{\"id\":\"a\",\"family\":\"bio_build\",\"input\":{\"bio\":{}},\"expect\":{}}",
      String(repeating: "[", count: 100_000),
    ])
  func malformed(_ line: String) {
    let report = run(line)
    #expect(report.failed == 1)
    #expect(report.failures[0].id.contains("file:7"))
  }

  @Test(
    "reports what no iterator could be asked",
    arguments: [
      ("\"advance\",5", "\"revert\",5"), ("\"advance\",5", "\"advance\""),
      ("\"advance\",5", "\"restore\""), ("\"advance\",5", "\"fly\",5"),
      ("\"count\":9000", "\"count\":-1"), ("\"count\":9000", "\"count\":9223372036854775808"),
      ("\"count\":9000", "\"count\":9e3"), ("\"dest\"", "\"up\""), ("\"ubuf\"", "\"pipe\""),
    ])
  func impossible(_ old: String, _ new: String) {
    let report = run(Self.vector.replacingOccurrences(of: old, with: new))
    #expect(report.failed == 1)
    #expect(report.failures[0].difference.hasPrefix("malformed vector: "))
  }

  @Test("takes a size with its sign bit set for a very large one")
  func signBit() {
    let line = Self.vector.replacingOccurrences(of: "\"advance\",5", with: "\"advance\",-1")
      .replacingOccurrences(of: "[8995,5,1]", with: "[0,9000,1]")
    #expect(run(line).passed == 1)
  }

  @Test("says that a directory has no vectors")
  func noDirectory() throws {
    #expect(throws: Errno.noSuchFile) { try ConformanceRunner.run(directory: "/nonexistent") }
    #expect(throws: Errno.noSuchFile) { try ConformanceRunner.run(directory: "/proc/self/fdinfo") }
  }

  @Test("survives vectors with random numbers in them", arguments: 1...4)
  func mutated(_ seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let lines = try Self.allLines()
    let values = [
      "0", "-1", "1", "7", "4095", "4096", "65536", "2147483648", "4294967295", "4294967296",
      "1099511627775", "140737488351232", "4611686018427387903", "9223372036854775807",
      "-9223372036854775808", "1e3", "null", "[]", "\"x\"",
    ]
    var report = ConformanceReport()
    for round in 0..<150 {
      var line = lines.randomElement(using: &generator) ?? []
      let numbers = line.split(whereSeparator: { !(48...57).contains($0) })
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        guard let number = numbers.randomElement(using: &generator) else { continue }
        let end = min(number.endIndex, line.count)
        if number.startIndex >= end { continue }
        let value = values.randomElement(using: &generator) ?? "0"
        line.replaceSubrange(number.startIndex..<end, with: Array(value.utf8))
      }
      ConformanceRunner.run(line: line, named: "seed \(seed) round \(round)", into: &report)
    }
    #expect(report.passed + report.failed == 150)
  }

  private static func allLines() throws -> [[UInt8]] {
    let directory = Bundle.module.bundlePath + "/Vectors"
    let families = ["extract", "getpages", "iter_ops", "bio_build", "bio_iter", "copy"]
    return try families.flatMap { family in
      let data = try Data(contentsOf: URL(fileURLWithPath: "\(directory)/\(family).jsonl"))
      return [UInt8](data).split(separator: 10).map(Array.init)
    }
  }
}
