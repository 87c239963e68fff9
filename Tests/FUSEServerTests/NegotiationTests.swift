// What is agreed with the kernel: every ability that libfuse knows is answered by name.

import CFuse3
import Foundation
import Testing

@testable import FUSEServer

@Suite("The abilities of the protocol")
struct NegotiationTests {
  @Test("are all asked for or declined by name, as libfuse's own header lists them")
  func isComplete() throws {
    let header = try String(contentsOfFile: "/usr/include/fuse3/fuse_common.h", encoding: .utf8)
    let names = header.matches(of: /#define FUSE_CAP_(\w+)\s/).map { String($0.1) }
    #expect(names.count > 20)
    #expect(Set(names) == Set(Ability.all.map(\.name)))
    #expect(Ability.all.count == names.count, "an ability is answered twice")
    #expect(Ability.all.allSatisfy { !$0.reason.isEmpty })
  }

  @Test("do not include what would tell a lie", arguments: ["ATOMIC_O_TRUNC", "WRITEBACK_CACHE"])
  func declines(name: String) throws {
    let ability = try #require(Ability.all.first { $0.name == name })
    #expect(!ability.isWanted)
  }
}
