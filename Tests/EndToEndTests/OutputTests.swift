// Output that cannot be written, and standard descriptors that are not there.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("Output that cannot be written")
  struct OutputTests {
    /// Commands with a result.
    static let results = [
      "mkimage new --size 1M", "--help", "lab list", "lab show fork-race", "bench core --quick",
      "mount --help", "--generate-completion-script bash",
    ]

    @Test(
      "ends a command with 1 and a line that says why", arguments: results, [">/dev/full", ">&-"])
    func said(command: String, redirection: String) throws {
      try withMountPlace { place in
        let result = try place.shell("$X \(command) \(redirection)")
        #expect(result.exitCode == 1, "\(result)")
        #expect(result.errors.hasPrefix("extractfs: standard output: "), "\(result)")
        #expect(result.errors.split(separator: "\n").count == 1, "\(result)")
      }
    }

    @Test("ends a command whose reader has gone by SIGPIPE, without a word", arguments: results)
    func brokenPipe(command: String) throws {
      try withMountPlace { place in
        // The pipe's reader is closed before the command starts.
        let result = try place.shell("exec 3> >(:); wait $!; $X \(command) >&3")
        #expect(result.exitCode == 128 + Int(SIGPIPE), "\(result)")
        #expect(result.errors == "")
      }
    }

    @Test("is said by stats and umount too, and the unmount is done", .needs(.fuse))
    func mounted() throws {
      try withMountPlace { place in
        try place.shell("$X mount image mnt").checked()
        let stats = try place.shell("$X stats mnt >/dev/full")
        #expect(stats.exitCode == 1 && stats.errors.contains("standard output"), "\(stats)")
        let unmount = try place.shell("$X umount mnt >&-")
        #expect(unmount.exitCode == 1 && unmount.errors.contains("standard output"), "\(unmount)")
        #expect(try place.shell("mountpoint -q mnt").exitCode != 0)
      }
    }

    /// All ways in which at least one of the three is closed.
    static let closings = (1..<8).map { bits in
      ["<&-", ">&-", "2>&-"].enumerated().filter { bits & (1 << $0.offset) != 0 }.map(\.element)
        .joined(separator: " ")
    }

    @Test("does not matter to a mount: closed descriptors", .needs(.fuse), arguments: closings)
    func closed(closing: String) throws {
      try withMountPlace { place in
        // One line of shell: a daemon in the foreground has this test's descriptors, and would be waited for.
        for command in ["$X mount image mnt", "$X mount image mnt -f"] {
          let result = try place.shell(
            """
            \(command) \(closing) & P=$!
            until [ -e mnt/disk ]; do [ -d /proc/$P ] || [ -e mnt/disk ] || exit 9; done
            D=$(grep ^pid= mnt/.extractfs/config | cut -d= -f2)
            readlink /proc/$D/fd/0 /proc/$D/fd/1 /proc/$D/fd/2
            $X umount mnt >&2
            """, limitSeconds: 20)
          #expect(result.exitCode == 0, "\(result)")
          #expect(result.output.split(separator: "\n").count == 3, "\(result)")
          #expect(!result.output.contains("image") && !result.output.contains("fuse"), "\(result)")
        }
      }
    }

    @Test(
      "does not matter to a daemon: its log's reader gone, its disk full, its file at its limit",
      .needs(.fuse),
      arguments: ["2> >(:)", "2>/dev/full", "2>>log; true"])
    func log(redirection: String) throws {
      try withMountPlace { place in
        let limit = redirection.contains("log") ? "ulimit -S -f 0; trap '' XFSZ; " : ""
        // Two lines for the log.
        try place.shell(
          """
          (\(limit)$X mount image mnt -f \(redirection)) & until [ -e mnt/disk ]; do :; done
          echo set bug=none > mnt/.extractfs/control && echo set bug=none > mnt/.extractfs/control
          $X umount mnt
          """, limitSeconds: 20
        ).checked()
      }
    }
  }

  @Suite("What a daemon has from its caller")
  struct InheritanceTests {
    @Test("is its name, not its directory, and no limit that would kill it", .needs(.fuse))
    func settled() throws {
      try withMountPlace { place in
        try place.shell("ulimit -S -f 8; ulimit -S -n 64; $X mount image mnt").checked()
        let directory = "/proc/\(try place.daemon())"
        #expect(try String(contentsOfFile: "\(directory)/comm", encoding: .utf8) == "extractfs\n")
        #expect(
          try FileManager.default.destinationOfSymbolicLink(atPath: "\(directory)/cwd") == "/")
        try place.shell("dd if=/dev/zero of=mnt/disk bs=64k seek=100 count=1 conv=notrunc,fsync")
          .checked()
        try place.shell("$X umount mnt").checked()
      }
    }

    @Test("is a hard limit on files: a write beyond it fails, and the mount lives", .needs(.fuse))
    func fileSize() throws {
      try withMountPlace { place in
        let mount = try place.shell("ulimit -f 1024; $X mount image mnt").checked()
        #expect(mount.errors.contains("ulimit -f"), "\(mount)")
        let write = "dd if=/dev/zero of=mnt/disk bs=64k count=1 oflag=direct conv=notrunc seek="
        #expect(try place.shell("\(write)100").exitCode == 1)
        try place.shell("\(write)1").checked()
        try place.shell("$X umount mnt").checked()
      }
    }

    @Test("are the CPUs that it may use", .needs(.fuse), arguments: Transport.present)
    func affinity(transport: String) throws {
      try withMountPlace { place in
        try place.shell("taskset -c 1 $X mount image mnt -o transport=\(transport)").checked()
        let tasks = "/proc/\(try place.daemon())/task"
        for task in try FileManager.default.contentsOfDirectory(atPath: tasks) {
          let status = try String(contentsOfFile: "\(tasks)/\(task)/status", encoding: .utf8)
          #expect(status.contains("Cpus_allowed_list:\t1\n"), "\(task)")
        }
        try place.shell("$X umount mnt").checked()
      }
    }
  }
}
