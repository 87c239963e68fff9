// `extractfs lab`: lists, pages, verdicts and exit codes.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("The lab command")
  struct LabCommandTests {
    @Test("lists fifteen labs, and has a page for each")
    func lists() throws {
      let list = try run([try extractfs(), "lab", "list"]).checked()
      let names = list.output.split(separator: "\n").compactMap { $0.split(separator: " ").first }
      #expect(names.count == 15)
      for name in names {
        let page = try run([try extractfs(), "lab", "show", String(name)]).checked()
        #expect(page.output.contains("What to look for:"))
      }
    }

    @Test("prints a verdict for each lab, all as documented", .needs(.fuse, .directIO))
    func runsAll() throws {
      let all = try run([try extractfs(), "lab", "run", "--all"], limitSeconds: 30).checked()
      let verdicts = all.output.split(separator: "\n")
      #expect(verdicts.count == 15)
      #expect(verdicts.allSatisfy { $0.contains(": as documented (") }, "\(all)")
    }

    @Test("prints JSON")
    func json() throws {
      let report = try run(
        [try extractfs(), "lab", "run", "fork-race", "--json", "--seed", "9", "--cleanup", "get"]
      ).checked()
      let document = try JSONSerialization.jsonObject(with: Data(report.output.utf8))
      let labs = try #require((document as? [String: Any])?["labs"] as? [[String: Any]])
      #expect(labs.first?["verdict"] as? String == "as documented")
    }

    @Test("ends with 2 when a bug is on, and with 64 for what does not exist")
    func exitCodes() throws {
      let lab = [try extractfs(), "lab", "run"]
      #expect(try run(lab + ["leak-hunt", "--bug", "double-release"]).exitCode == 2)
      for wrong in [
        ["no-such-lab"], [], ["fork-race", "--all"], ["fork-race", "--bug", "no-such-bug"],
        ["fork-race", "--era", "v0"], ["fork-race", "--cleanup", "auto"],
      ] {
        let refusal = try run(lab + wrong)
        #expect(refusal.exitCode == 64 && refusal.output.isEmpty, "\(refusal)")
      }
    }
  }
}
