// Eras: names, rules, and which one a kernel follows.

import Memory
import Testing

@Suite("An era")
struct EraTests {
  @Test("is found by its name, and tells it")
  func names() {
    #expect(Era.allCases.map(\.rawValue) == ["get", "v8", "merged", "6.12", "6.18", "7.3"])
    for era in Era.allCases { #expect(Era(rawValue: era.rawValue) == era) }
    #expect(Era(rawValue: "7.4") == nil)
    #expect(Era(rawValue: "auto") != nil)
  }

  @Test(
    "is that of the nearest kernel before",
    arguments: [
      ("6.1.0-56-cloud-amd64", "get"), ("6.4.16", "get"), ("6.5.0", "merged"), ("6.11", "merged"),
      ("6.12.117+deb13-cloud-amd64", "6.12"), ("6.17.1", "6.12"), ("6.18.44-fc-v857", "6.18"),
      ("6.19-rc1", "6.18"), ("7.0.0", "7.3"), ("7.3.4+deb13-cloud-amd64", "7.3"), ("8.1", "7.3"),
    ])
  func nearest(_ release: String, _ name: String) throws {
    let version = try #require(KernelVersion(release: release))
    #expect(Era.nearest(to: version).rawValue == name)
  }

  @Test("differs from every other in its rules")
  func distinct() {
    #expect(Set(Era.allCases.map(\.rules)).count == Era.allCases.count)
  }

  @Test("has a name for every rule that it follows")
  func catalogue() {
    for era in Era.allCases {
      let named = era.rules.names.count
      #expect(named == era.rules.rawValue.nonzeroBitCount, "\(era)")
    }
  }
}
