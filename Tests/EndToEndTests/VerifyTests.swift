// The proof against the running kernel: on disks of our own, so that nobody else's bios are seen.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("A proof against the running kernel")
  struct VerifyTests {
    /// Runs `body` with an image of 48 MiB of data and as much of nothing, on a disk with that filesystem.
    private func withDisk(_ type: String, _ body: (URL) throws -> Void) throws {
      if !hasLoopDevices { return print("nothing was verified: there are no loop devices") }
      try withTemporaryDirectory { scratch in
        let script = """
          truncate -s 400M disk && mkfs.\(type) -q disk && mkdir host && mount -o loop disk host &&
          dd if=/dev/urandom of=host/image bs=1M count=48 2>/dev/null && truncate -s 96M host/image && sync
          """
        try shell(script, in: scratch, limitSeconds: 100).checked()
        defer { _ = try? shell("umount host || umount -l host", in: scratch) }
        try body(scratch.appending(path: "host/image"))
      }
    }

    private struct Report: Decodable {
      struct Check: Decodable {
        var check: String
        var expected: String
        var seen: String
        var verdict: String
        var remark: String
      }
      var checks: [Check]
      var details: [String]

      func verdict(_ name: String) -> String? { checks.first { $0.check.hasPrefix(name) }?.verdict }
    }

    private func verify(_ mount: Mount, _ more: String...) throws -> (report: Report, exitCode: Int)
    {
      let result = try run([try extractfs(), "verify", mount.directory.path, "--json"] + more)
      let report = try JSONDecoder().decode(Report.self, from: Data(result.output.utf8))
      return (report, result.exitCode)
    }

    /// Others on the machine may pin pages meanwhile: then the command says so, and that is no difference.
    private func expectEqual(_ report: Report) {
      for check in report.checks {
        let isNoise = check.check.contains("pinned") && check.verdict == "not compared"
        #expect(check.verdict == "equal" || isNoise, "\(check) \(report.details)")
      }
    }

    @Test(
      "finds every bio of 1,000 requests of mixed size, offset and kind among the kernel's",
      .needs(.fuse, .directIO, .root), arguments: ["ext4", "xfs"],
      [[], ["--writes"]])
    func equal(type: String, more: [String]) throws {
      guard hasCommands("mkfs.\(type)") else { return }
      try withDisk(type) { image in
        try withMount(image: image) { mount in
          let before = try mount.read("config")
          let result = try run(
            [try extractfs(), "verify", mount.directory.path, "--json"] + more, limitSeconds: 100)
          let report = try JSONDecoder().decode(Report.self, from: Data(result.output.utf8))
          expectEqual(report)
          #expect(report.checks.count == 6 && report.checks[0].seen == "1000")
          #expect(Int(report.checks[5].seen) ?? 0 >= 1000)
          // Whoever pins meanwhile makes the pins differ, now and then.
          #expect(result.exitCode == 0 || report.verdict("pages pinned") == "differs")
          #expect(try mount.read("config") == before)
        }
      }
    }

    @Test(
      "names a bug that is switched on, and ends with 2", .needs(.fuse, .directIO),
      arguments: ["release-one-short", "merge-keeps-pin", "ref-instead-of-pin"])
    func bugs(bug: String) throws {
      var outcome: (report: Report, exitCode: Int)?
      // What the bug leaves behind makes the unmount fail.
      _ = try? withMount(options: "segs=3,misalign=512") { mount in
        try mount.control("set bug=\(bug)")
        outcome = try verify(mount, "--requests", "60")
      }
      let (report, exitCode) = try #require(outcome)
      #expect(exitCode == 2)
      #expect(report.details.contains { $0.contains("bug=\(bug)") }, "\(report.details)")
      let name = bug == "ref-instead-of-pin" ? "modes" : "requests that balance"
      #expect(report.verdict(name) == "differs")
      #expect(report.details.contains { $0.hasPrefix("request ") })
    }

    @Test(
      "watches what others do", .needs(.fuse, .directIO, .root))
    func watches() throws {
      try withDisk("ext4") { image in
        try withMount(image: image) { mount in
          let script = """
            "$1" verify "$2" --json --watch 1000 >out &
            while :; do
              [ "$(ls -d /run/extractfs-tracefs.$!/instances/*/trace 2>/dev/null)" ] && break
            done
            sleep 0.3
            dd if="$2/disk" of=/dev/null bs=64k count=100 iflag=direct 2>/dev/null
            dd if=/dev/zero of="$2/disk" bs=8k count=100 oflag=direct conv=notrunc 2>/dev/null
            kill -INT $!; wait $!
            """
          try withTemporaryDirectory { scratch in
            let result = try run(
              ["bash", "-c", "set -m; " + script, "bash", extractfs(), mount.directory.path],
              in: scratch, limitSeconds: 60)
            let text = try Data(contentsOf: scratch.appending(path: "out"))
            let report = try JSONDecoder().decode(Report.self, from: text)
            expectEqual(
              Report(
                checks: report.checks.filter { !$0.check.contains("pinned") },
                details: report.details))
            #expect(report.checks.first?.seen == "200" && result.exitCode == 0, "\(report)")
          }
        }
      }
    }

    @Test(
      "takes away what it set up in tracefs, also when it is killed",
      .needs(.fuse, .directIO, .root),
      arguments: ["INT", "KILL"])
    func cleans(signal: String) throws {
      try withDisk("ext4") { image in
        try withMount(image: image) { mount in
          let script = """
            set -m
            "$1" verify "$2" --watch 1000 >/dev/null 2>&1 &
            place=/run/extractfs-tracefs.$!
            while [ -z "$(ls -d $place/instances/*/trace 2>/dev/null)" ]; do kill -0 $! || exit 1; done
            kill -\(signal) $!; wait $! 2>/dev/null
            while [ -e $place ]; do :; done
            """
          try run(
            ["bash", "-c", script, "bash", extractfs(), mount.directory.path], limitSeconds: 40
          ).checked()
        }
      }
    }

    @Test("says why it cannot compare", .needs(.fuse))
    func cannot() throws {
      try withMount(options: "backend=memory") { mount in
        let (report, exitCode) = try verify(mount, "--requests", "50")
        #expect(exitCode == 0)
        let bios = try #require(report.checks.last)
        #expect(bios.verdict == "not compared" && !bios.remark.isEmpty)
      }
    }
  }
}

/// Whether images can be mounted by way of loop devices.
let hasLoopDevices = (try? run(["losetup", "-f"]).exitCode) == 0
