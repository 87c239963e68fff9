// The page of eras and the code say the same.

import Foundation
import Memory
import Testing

@Suite("The page of eras")
struct EraPageTests {
  @Test("has a row for each rule, with the eras that follow it")
  func rows() throws {
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Sources/DirectCall/DirectCall.docc/Eras.md").path
    let text = try String(contentsOfFile: path, encoding: .utf8)
    var rows: [String: [String]] = [:]
    for line in text.split(separator: "\n") where line.hasPrefix("| `") {
      let cells = line.split(separator: "|", omittingEmptySubsequences: false)
        .map { $0.trimmingCharacters(in: .whitespaces) }
      if cells.count == 11 {
        rows[cells[1].replacingOccurrences(of: "`", with: "")] = Array(cells[3..<9])
      }
    }
    #expect(rows.count == Era.Rules.catalogue.count)
    for entry in Era.Rules.catalogue {
      let wanted = Era.allCases.map { $0.rules.contains(entry.rule) ? "yes" : "" }
      #expect(rows[entry.name] == wanted, "\(entry.name)")
    }
  }
}
