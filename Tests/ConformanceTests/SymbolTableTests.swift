// The catalogues' table from kernel symbols to ours, and their links to functions, held against the sources.

import Foundation
import Testing

/// A row of the table.
private struct SymbolRow {
  let kernel: String
  let here: String
  let file: String
}

@Suite("The table of kernel symbols")
struct SymbolTableTests {
  private let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  private func table() throws -> String {
    let page = "Sources/DirectIO/DirectIO.docc/KernelNames.md"
    return try String(contentsOf: root.appendingPathComponent(page), encoding: .utf8)
  }

  /// Rows have a patch number or a dash, then three cells in code font, the last a file under Sources.
  private func rows() throws -> [SymbolRow] {
    try table().split(separator: "\n").compactMap { line in
      let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
      let isRow = cells.count == 4 && (Int(cells[0]) != nil || cells[0] == "–")
      guard isRow, cells[3].hasPrefix("`Sources/") else { return nil }
      let names = cells[1...].map { $0.replacingOccurrences(of: "`", with: "") }
      return SymbolRow(kernel: names[0], here: names[1], file: names[2])
    }
  }

  @Test("names files that have the symbol, and a comment that cites the kernel's")
  func everyRowIsTrue() throws {
    let rows = try rows()
    #expect(rows.count >= 45)
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
    let text = try table()
    for patch in 1...10 { #expect(text.contains("\n| \(patch) | `"), "patch \(patch) has no row") }
  }

  @Test("is beside a walk through the code whose links lead to the functions they name")
  func everyLinkIsTrue() throws {
    let page = root.appendingPathComponent("Sources/FUSEServer/FUSEServer.docc/OneWrite.md")
    let text = try String(contentsOf: page, encoding: .utf8)
    let links = text.matches(of: /\[`(\w+)\(\)`\]\(([^)]+\.swift)\)/)
    #expect(links.count >= 15)
    for link in links {
      let file = URL(fileURLWithPath: String(link.output.2), relativeTo: page)
      let source = try String(contentsOf: file, encoding: .utf8)
      #expect(
        source.contains("func \(link.output.1)("), "\(link.output.2) has no \(link.output.1)()")
    }
  }
}
