// The labs' pages in the DocC catalogue are those of `extractfs lab show`.

import Foundation
import Labs
import Testing

@Suite("The labs' pages in the catalogue")
struct LabPageTests {
  private let catalogue = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Sources/Labs/Labs.docc")

  private func words(_ text: String) -> String {
    text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
  }

  private func page(_ name: String) throws -> String {
    try String(contentsOf: catalogue.appendingPathComponent("\(name).md"), encoding: .utf8)
  }

  @Test("say what the labs say, and nothing else", arguments: Labs.all.map(\.name))
  func pageIsThere(name: String) throws {
    let lab = try #require(Labs.lab(named: name))
    let expected = words("# \(lab.name): \(lab.title)\n\(lab.page)")
    #expect(try words(page(name)) == expected, "\(name).md differs; copy `lab show \(name)`")
  }

  @Test("are all listed on the catalogue's first page, and there are no others")
  func allAreListed() throws {
    let first = try page("Labs")
    for lab in Labs.all {
      #expect(first.contains("- <doc:\(lab.name)>"), "\(lab.name) is not listed")
    }
    let files = try FileManager.default.contentsOfDirectory(atPath: catalogue.path)
    #expect(Set(files) == Set(Labs.all.map { "\($0.name).md" } + ["Labs.md"]))
  }
}
