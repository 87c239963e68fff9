// The README's table from kernel symbols to ours, held against the sources.

import Foundation
import Testing

/// A row of the table.
private struct SymbolRow {
  let kernel: String
  let here: String
  let file: String
}

@Suite("The README's table of kernel symbols")
struct SymbolTableTests {
  private let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// Rows have a patch number, then three cells in code font, the last a file under Sources.
  private func rows() throws -> [SymbolRow] {
    let text = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
    return text.split(separator: "\n").compactMap { line in
      let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
      guard cells.count == 4, Int(cells[0]) != nil, cells[3].hasPrefix("`Sources/") else {
        return nil
      }
      let names = cells[1...].map { $0.replacingOccurrences(of: "`", with: "") }
      return SymbolRow(kernel: names[0], here: names[1], file: names[2])
    }
  }

  @Test("names files that have the symbol, and a comment that cites the kernel's")
  func everyRowIsTrue() throws {
    let rows = try rows()
    #expect(rows.count >= 30)
    for row in rows {
      let source = try String(
        contentsOf: root.appendingPathComponent(row.file), encoding: .utf8)
      let declarations = ["func ", "var ", "struct ", "enum "].map { $0 + row.here }
      let isDeclared =
        declarations.contains { source.contains($0) }
        || (row.here == "init" && source.contains("init("))
      #expect(isDeclared, "\(row.file) does not declare \(row.here)")
      let cites = source.split(separator: "\n").contains {
        $0.contains("Kernel: ") && $0.contains("`\(row.kernel)`")
      }
      #expect(cites, "\(row.file) does not cite \(row.kernel)")
    }
  }

  @Test("has a row for each function of the series")
  func everyPatchIsThere() throws {
    let text = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
    for patch in 1...10 { #expect(text.contains("\n| \(patch) | `"), "patch \(patch) has no row") }
  }

  @Test("links functions to the files that declare them")
  func everyLinkIsTrue() throws {
    let text = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
    let links = text.matches(of: /\[`(\w+)\(\)`\]\((Sources\/[^)]+)\)/)
    #expect(links.count >= 15)
    for link in links {
      let source = try String(
        contentsOf: root.appendingPathComponent(String(link.output.2)), encoding: .utf8)
      #expect(
        source.contains("func \(link.output.1)("), "\(link.output.2) has no \(link.output.1)()")
    }
  }
}
