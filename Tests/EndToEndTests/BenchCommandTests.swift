// `extractfs bench core`: every row is there, whatever the figures are.

import Foundation
import TestSupport
import Testing

@Suite("The benchmark of the core")
struct BenchCommandTests {
  private static let sizes = [4 << 10, 64 << 10, 1 << 20, 2 << 20]

  /// What a row is about, as one line.
  private static func key(_ row: [String: Any]) -> String {
    let words = [
      row["operation"] as? String, row["kind"] as? String, row["layout"] as? String,
      (row["bytes"] as? Int).map { "\($0)" }, (row["threads"] as? Int).map { "\($0)" },
    ]
    return words.map { $0 ?? "-" }.joined(separator: " ")
  }

  /// Every row that must be there.
  private static var expected: Set<String> {
    var keys: Set<String> = []
    for threads in [1, 2] {
      keys.insert("adds - - - \(threads)")
      for size in sizes {
        keys.insert("memcpy - - \(size) \(threads)")
        for layout in ["small", "folio"] {
          keys.insert("release ubuf \(layout) \(size) \(threads)")
          for kind in iteratorKinds {
            keys.insert("extract \(kind) \(layout) \(size) \(threads)")
            keys.insert("bio \(kind) \(layout) \(size) \(threads)")
          }
        }
      }
    }
    return keys
  }

  @Test("prints every row as JSON, with its yardsticks, and a verdict on each goal")
  func json() throws {
    let result = try run([try extractfs(), "bench", "core", "--quick", "--json"]).checked()
    let parsed = try JSONSerialization.jsonObject(with: Data(result.output.utf8))
    let document = try #require(parsed as? [String: Any])
    let rows = try #require(document["rows"] as? [[String: Any]])
    #expect(rows.count == Self.expected.count)
    #expect(Set(rows.map(Self.key)) == Self.expected)
    for row in rows {
      for figure in ["ns", "ns_per_page"] {
        #expect(try #require(row[figure] as? Double) > 0, "\(row)")
      }
      #expect(row["spread"] is Double)
      if row["kind"] != nil {
        #expect(row["ratio_to_memcpy"] is Double && row["ratio_to_256_adds"] is Double, "\(row)")
      }
    }
    let goals = try #require(document["goals"] as? [[String: Any]])
    #expect(goals.count == 2 * iteratorKinds.count)
    #expect(goals.allSatisfy { $0["met"] is Bool })
  }

  @Test("prints a table that fits 100 columns")
  func table() throws {
    let result = try run([try extractfs(), "bench", "core", "--quick"]).checked()
    let lines = result.output.split(separator: "\n")
    #expect(lines.allSatisfy { $0.count <= 100 }, "\(result)")
    for size in ["4 KiB", "64 KiB", "1 MiB", "2 MiB"] {
      #expect(lines.contains { $0.hasPrefix(size) })
    }
  }
}
