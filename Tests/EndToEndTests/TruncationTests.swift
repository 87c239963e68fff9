// An image that cannot be cut says so, whatever way a program asks, and loses nothing by being asked.

import CSystem
import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("The raw disk, which cannot be cut")
  struct TruncationTests {
    private func holdsAll(_ mount: Mount) throws -> Bool {
      for path in [mount.disk, mount.image.path] {
        let file = try OpenFile(path)
        if try file.sizeBytes() != 1 << 20 { return false }
        if try !holdsOnly(0xA5, file.content(count: 1 << 20)) { return false }
      }
      return true
    }

    private func withFullDisk(_ transport: String, _ body: (Mount) throws -> Void) throws {
      try withMount(options: "transport=\(transport)", imageSizeBytes: 1 << 20) { mount in
        let disk = try OpenFile(mount.disk, .write)
        try disk.fill(0xA5, count: 1 << 20)
        try disk.synchronize()
        try body(mount)
      }
    }

    @Test(
      "refuses everyone who begins by emptying it, and changes nothing", .needs(.fuse),
      arguments: Transport.present,
      [
        ": >disk", "echo x >disk", "cat /dev/null >disk", "dd if=/dev/zero of=disk bs=4k count=1",
        "truncate -s 1M ../sparse && cp ../sparse disk",
        "truncate -s 1M ../sparse && cp --sparse=always ../sparse disk",
        "python3 -c 'open(\"disk\", \"wb\")'", "python3 -c 'open(\"disk\", \"w+b\")'",
        "truncate -s 0 disk", "truncate -s 4096 disk", "truncate -s 2M disk", "truncate -s +1 disk",
        "truncate -s -1 disk",
      ])
    func refuses(transport: String, command: String) throws {
      try withFullDisk(transport) { mount in
        let result = try shell(command, in: mount.directory)
        #expect(result.exitCode != 0, "\(command)")
        #expect(
          result.errors.contains("not permitted") || result.errors.contains("Invalid argument"),
          "\(result)")
        #expect(try holdsAll(mount))
      }
    }

    @Test(
      "refuses open with O_TRUNC with EPERM, whatever comes with it", .needs(.fuse, .directIO),
      arguments: Transport.present)
    func refusesFlag(transport: String) throws {
      try withFullDisk(transport) { mount in
        for flags: OpenFlags in [
          [.write, .truncate], [.truncate], [.write, .truncate, .create],
          [.write, .truncate, .direct], [.truncate, OpenFlags(rawValue: O_WRONLY | O_APPEND)],
        ] {
          let failure = try #require(throws: SystemFailure.self) {
            _ = try OpenFile(mount.disk, flags)
          }
          #expect(failure.code == EPERM, "\(flags)")
          #expect(try holdsAll(mount))
        }
      }
    }

    @Test(
      "may be set to the size it has, and opened to be made where it is", .needs(.fuse),
      arguments: Transport.present)
    func keepsSize(transport: String) throws {
      try withFullDisk(transport) { mount in
        let disk = try OpenFile(mount.disk, [.write, .create])
        try disk.resize(to: 1 << 20)
        try system(SYS_truncate, mount.disk, 1 << 20)
        let failure = try #require(throws: SystemFailure.self) { try disk.resize(to: 0) }
        #expect(failure.code == EPERM || failure.code == EINVAL)
        try shell("dd if=/dev/zero of=disk bs=4k count=1 conv=notrunc", in: mount.directory)
          .checked()
        #expect(try !holdsAll(mount))
      }
    }

    /// The mapping's owner is another process than the test: it may die.
    @Test(
      "keeps what another process has mapped and changed, and that process lives", .needs(.fuse),
      arguments: Transport.present,
      [": >disk", "cp /dev/null disk", "truncate -s 0 disk", "python3 -c 'open(\"disk\", \"wb\")'"])
    func keepsMappings(transport: String, command: String) throws {
      try withFullDisk(transport) { mount in
        let script = """
          import mmap, subprocess, sys
          file = open("disk", "r+b")
          pages = mmap.mmap(file.fileno(), 1 << 20)
          pages[8192:12288] = b"\\x5a" * 4096
          subprocess.run(["sh", "-c", sys.argv[1]], stderr=subprocess.DEVNULL)
          assert pages[8192:12288] == b"\\x5a" * 4096 and pages[0] == 0xa5
          pages.flush()
          """
        try run(["python3", "-c", script, command], in: mount.directory).checked()
        let found = try OpenFile(mount.image.path).content(count: 1 << 20)
        #expect(found[8192] == 0x5A && found[12287] == 0x5A && found[0] == 0xA5)
      }
    }

    @Test(
      "leaves control files, which a shell empties before it writes", .needs(.fuse),
      arguments: Transport.present)
    func controlFiles(transport: String) throws {
      try withFullDisk(transport) { mount in
        try shell("echo flush >'\(mount.controlFile("control"))'").checked()
        try shell("echo flush | dd of='\(mount.controlFile("control"))'").checked()
        #expect(
          try shell("echo x >'\(mount.controlFile("stats"))'").exitCode != 0 || geteuid() == 0)
        #expect(try holdsAll(mount))
      }
    }
  }
}
