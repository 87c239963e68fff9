// Who holds pages, who held them longest, and who kept them from being moved.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("The pins of a mount")
  struct PinsTests {
    private struct Report: Decodable {
      struct Hold: Decodable {
        var request: Int
        var offset: Int
        var length: Int
        var mode: String
        var pages: Int
        var held_us: Double
        var remark: String
        var command: String
      }
      var held: [Hold]
      var longest: [Hold]
      var blocked: [Hold]
    }

    private func report(_ mount: Mount, _ more: String...) throws -> Report {
      let result = try run([try extractfs(), "pins", mount.directory.path, "--json"] + more)
        .checked()
      return try JSONDecoder().decode(Report.self, from: Data(result.output.utf8))
    }

    @Test("are remembered when they are released, the longest first", .needs(.fuse, .directIO))
    func longest() throws {
      try withMount { mount in
        let disk = try OpenFile(mount.disk, [.write, .direct])
        let data = AlignedBuffer(count: 1 << 20)
        for count in [4096, 65536, 1 << 20] {
          #expect(try disk.write(from: data, count: count, at: 0) == count)
        }
        let report = try report(mount)
        #expect(report.held.isEmpty && report.longest.count == 3)
        #expect(Set(report.longest.map(\.pages)) == [1, 16, 256])
        #expect(report.longest.map(\.held_us) == report.longest.map(\.held_us).sorted(by: >))
        #expect(report.longest.allSatisfy { $0.mode == "pin" && $0.pages * 4096 == $0.length })
        #expect(try self.report(mount, "--older", "1000s").longest.isEmpty)
      }
    }

    @Test("keep at most so many of them", .needs(.fuse, .directIO))
    func bounded() throws {
      try withMount { mount in
        try shell("dd if='\(mount.disk)' of=/dev/null bs=4k count=500 iflag=direct").checked()
        #expect(try report(mount).longest.count == 32)
      }
    }

    /// A program writes without end; at some look it holds pages, and later it has let go.
    @Test("say who kept pages from being moved, and when it let go", .needs(.fuse, .directIO))
    func blocked() throws {
      try withMount { mount in
        let reply = try shell(
          """
          dd if=/dev/zero of="$1" bs=1M count=200000 seek=0 oflag=direct conv=notrunc 2>/dev/null &
          for try in $(seq 1000); do
            echo migrate >"$2"
            case $(cat "$2") in *blocked*) break ;; esac
          done
          kill $! && wait $! 2>/dev/null
          cat "$2"
          """.replacing("\"$1\"", with: "'\(mount.disk)'")
            .replacing("\"$2\"", with: "'\(mount.controlFile("control"))'"))
        #expect(reply.output.contains("blocked by request"), "\(reply)")
        let report = try report(mount)
        let blocked = try #require(report.blocked.first)
        #expect(blocked.mode == "pin" && blocked.pages == 256)
        #expect(blocked.remark.hasPrefix("released_after_us="))
        let text = try run([try extractfs(), "pins", mount.directory.path]).checked().output
        #expect(text.contains("kept pages from being moved") && text.contains("\(blocked.request)"))
      }
    }

    @Test("do not keep from being moved what is only listed", .needs(.fuse, .directIO))
    func listed() throws {
      try withMount(options: "iter=bvec") { mount in
        try mount.control("migrate")
        #expect(try mount.read("control").hasPrefix("ok moved"))
        #expect(try report(mount).blocked.isEmpty)
      }
    }
  }
}
