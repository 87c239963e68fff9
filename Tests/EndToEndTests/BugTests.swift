// Bugs that are switched on through `control`: the ledger must name them.

import TestSupport
import Testing

extension EndToEnd {
  @Suite("A bug that is switched on")
  struct BugTests {
    @Test(
      "is named by the ledger, with its request", .needs(.fuse, .directIO),
      arguments: [
        ("release-one-short", "left 1 pages held"), ("double-release", "released 1 pages too many"),
      ])
    func isNamed(bug: String, words: String) throws {
      try withMount { mount in
        try mount.control("set bug=\(bug)")
        try shell("dd if=/dev/zero of='\(mount.disk)' bs=64k count=1 oflag=direct conv=notrunc")
          .checked()
        let ended = try run([try extractfs(), "umount", mount.directory.path])
        #expect(ended.exitCode == 2)
        #expect(ended.output.contains("defect: request "), "\(ended.output)")
        #expect(ended.output.contains(words), "\(ended.output)")
        #expect(try mount.awaitEnd().exitCode == 2)
      }
    }

    @Test("is refused as a mount option, and by a wrong name", .needs(.fuse))
    func isRefused() throws {
      try withMount { mount in
        #expect(throws: (any Error).self) { try mount.control("set bug=nosuch") }
        try #expect(mount.read("config").contains("bug=none\n"))
      }
    }
  }
}
