// `extractfs explain`: a line for each era, the same as JSON, and what it refuses.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("extractfs explain")
  struct ExplainCommandTests {
    private static let eras = ["get", "v8", "merged", "6.12", "6.18", "7.3"]

    private func explain(_ arguments: String...) throws -> CommandResult {
      try run([try extractfs(), "explain"] + arguments)
    }

    @Test("prints a line for each era, then what to align to")
    func lines() throws {
      let result = try explain("read", "--length", "512", "--segments", "0:100,4096:412")
      #expect(result.exitCode == 0)
      let lines = result.output.split(separator: "\n")
      #expect(lines.count == 7)
      for (line, era) in zip(lines, Self.eras) { #expect(line.hasPrefix("\(era) ")) }
      for line in lines.prefix(4) { #expect(line.contains("EINVAL, bios 0, segments 0")) }
      for line in lines[4..<6] {
        #expect(line.contains("512 bytes, bios 1, segments 2, pins 2, copied 0"))
      }
      #expect(lines[3].contains("blkdev_dio_invalid(), block/fops.c, v6.12"))
      #expect(lines[6].hasPrefix("align  addresses to 4, positions and lengths to 512"))
    }

    @Test("prints the same as JSON, and one era alone")
    func json() throws {
      let result = try explain(
        "write", "--length", "64k", "--device", "block=4096,dma=512,stable=1", "--era", "7.3",
        "--buffer-offset", "256", "--json")
      #expect(result.exitCode == 0)
      let document = try #require(
        JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any])
      let eras = try #require(document["eras"] as? [[String: Any]])
      #expect(eras.count == 1)
      #expect(eras[0]["era"] as? String == "7.3")
      #expect(eras[0]["errno"] as? String == "EINVAL")
      #expect(eras[0]["decision"] as? String == "segmentExtracted")
      let advice = try #require(document["advice"] as? [String: Any])
      #expect(advice["memory"] as? Int == 512 && advice["offset"] as? Int == 4096)
    }

    @Test(
      "says what is wrong with its words",
      arguments: [
        ["read", "--era", "5.4"], ["read", "--length", "x"], ["write", "--segments", "5:"],
        ["read", "--pages", "odd"], ["read", "--block", "1000"], ["read", "--length", "1G"],
      ])
    func usage(_ words: [String]) throws {
      let result = try run([try extractfs(), "explain"] + words)
      #expect(result.exitCode == 64)
      #expect(result.errors.hasPrefix("extractfs: "))
    }
  }
}
