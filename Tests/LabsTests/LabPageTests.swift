// The labs' pages in the README are those of `extractfs lab show`.

import Foundation
import Labs
import Testing

@Suite("The labs' pages in the README")
struct LabPageTests {
  private func words(_ text: String) -> String {
    text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
  }

  @Test("say what the labs say", arguments: Labs.all.map(\.name))
  func pageIsThere(name: String) throws {
    let root = URL(fileURLWithPath: #filePath)
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let readme = words(
      try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8))
    let lab = try #require(Labs.lab(named: name))
    #expect(readme.contains("### \(lab.name): \(lab.title)"))
    #expect(
      readme.contains(words(lab.page)), "the page of \(name) differs; copy `lab show \(name)`")
  }
}
