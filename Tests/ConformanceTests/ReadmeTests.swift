// What README.md promises that can be read from files: its length, its links, its options, its scripts.

import Foundation
import Testing

@Suite("README.md")
struct ReadmeTests {
  private let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  private func text(_ path: String) throws -> String {
    try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
  }

  private func sources(under folder: String) throws -> String {
    let files = try FileManager.default.contentsOfDirectory(
      atPath: root.appendingPathComponent(folder).path)
    return try files.filter { $0.hasSuffix(".swift") }.sorted()
      .map { try text("\(folder)/\($0)") }.joined()
  }

  /// The lines between a heading and the next of its level.
  private func section(_ heading: String) throws -> [Substring] {
    let lines = try text("README.md").split(separator: "\n", omittingEmptySubsequences: false)
    let start = try #require(lines.firstIndex { $0 == "## \(heading)" })
    return Array(lines[(start + 1)...].prefix { !$0.hasPrefix("## ") })
  }

  /// What stands in code font in the first cell of each row of a section's tables.
  private func firstCells(_ heading: String) throws -> [String] {
    try section(heading).filter { $0.hasPrefix("| `") }.flatMap { row in
      row.split(separator: "|")[0].matches(of: /`([^`]+)`/).map { String($0.output.1) }
    }
  }

  @Test("is short, and says in its first lines what this is and how to begin")
  func isShort() throws {
    let lines = try text("README.md").split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines.count < 350)
    let beginning = lines.prefix(20).joined(separator: "\n")
    #expect(beginning.contains("mount-scripts/demo"))
    #expect(beginning.contains("mount-scripts/check"))
    for heading in ["## Use", "## Mount options", "## The control directory", "## Architecture"] {
      let place = try #require(lines.firstIndex { $0 == heading }, "\(heading) is missing")
      #expect(place < 150, "\(heading) comes too late for a new reader")
    }
  }

  @Test("links to files that are there")
  func linksLead() throws {
    let links = try text("README.md").matches(of: /\]\(([^)#:]+)\)/)
    #expect(links.count >= 5)
    for link in links {
      let path = root.appendingPathComponent(String(link.output.1)).path
      #expect(FileManager.default.fileExists(atPath: path), "\(link.output.1) is not there")
    }
  }

  @Test("names scripts and folders that are there")
  func scriptsAreThere() throws {
    let names = Set(
      try text("README.md").matches(of: /(?:mount-scripts|Tests|Sources)\/[\w\/.-]*\w/)
        .map { String($0.output) })
    #expect(names.count >= 8)
    for name in names {
      let path = root.appendingPathComponent(name).path
      #expect(FileManager.default.fileExists(atPath: path), "\(name) is not there")
    }
  }

  @Test("lists every mount option that the parser knows, and no other")
  func optionsAreListed() throws {
    let parser = try text("Sources/extractfs/MountOptions.swift")
    let listed = try firstCells("Mount options").map { $0.replacing("=", with: "") }
    #expect(listed.count >= 20)
    for option in listed {
      #expect(parser.contains("\"\(option)\""), "no option \(option) in the parser")
    }
    let known = try #require(parser.firstMatch(of: /known: Set<String> = \[([^\]]*)\]/))
      .output.1.matches(of: /"(\w+)"/).map { String($0.output.1) }
    #expect(known.count >= 15)
    for option in known { #expect(listed.contains(option), "\(option) is not in the table") }
  }

  @Test("lists every file of the control directory")
  func controlFilesAreListed() throws {
    let server = try sources(under: "Sources/FUSEServer")
    let files = Set(
      server.matches(of: /ControlFile\(\s*name: "([\w.]+)"/).map { String($0.output.1) })
    #expect(files.count >= 6)
    #expect(try Set(firstCells("The control directory")) == files)
  }

  @Test("lists every target of the package")
  func targetsAreListed() throws {
    let targets = try Set(
      text("Package.swift").matches(of: /arget\(\s*name: "(\w+)"/)
        .map { String($0.output.1) }
    ).filter { !$0.hasSuffix("Tests") }.subtracting(["extractfs", "TestSupport"])
    let libraries = try text("Package.swift").matches(of: /systemLibrary\(\s*name: "(\w+)"/)
      .map { String($0.output.1) }
    #expect(try Set(firstCells("Architecture")) == targets.union(libraries))
  }

  @Test("tells how many vectors there are")
  func vectorsAreCounted() throws {
    let folder = root.appendingPathComponent("Tests/ConformanceTests/Vectors")
    var count = 0
    for name in try FileManager.default.contentsOfDirectory(atPath: folder.path)
    where name.hasSuffix(".jsonl") {
      let lines = try text("Tests/ConformanceTests/Vectors/\(name)").split(separator: "\n")
      count += lines.count
    }
    #expect(try text("README.md").contains("\(count) passed, 0 failed"))
  }
}
