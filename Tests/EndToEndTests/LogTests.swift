// The daemon's log: where it goes, what it looks like, and that nothing about it can stop a mount.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("The daemon's log")
  struct LogTests {
    private func text(_ place: MountPlace, _ name: String) throws -> String {
      try String(contentsOf: place.scratch.appending(path: name), encoding: .utf8)
    }

    /// Mounts, lets the mount say something, unmounts.
    private func mountAndSpeak(_ place: MountPlace, _ options: String) throws {
      try place.shell(
        """
        $X mount image mnt -o \(options) && echo set bug=none >mnt/.extractfs/control &&
        dd if=mnt/disk of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null; $X umount mnt
        """
      ).checked()
    }

    @Test(
      "goes to a file of the caller's directory, a line an event with time, level and process",
      .needs(.fuse))
    func file() throws {
      try withMountPlace { place in
        try mountAndSpeak(place, "log=./log")
        let lines = try text(place, "log").split(separator: "\n")
        #expect(lines.count >= 3)
        for line in lines {
          #expect(
            line.wholeMatch(
              of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|notice) \[\d+\] extractfs: .+/)
              != nil,
            "\(line)")
        }
        #expect(lines.contains { $0.contains("mounted") && $0.contains("image") })
        // A second mount adds to it.
        try mountAndSpeak(place, "log=./log")
        #expect(try text(place, "log").split(separator: "\n").count == 2 * lines.count)
      }
    }

    @Test("is JSON lines where asked for", .needs(.fuse))
    func json() throws {
      try withMountPlace { place in
        try mountAndSpeak(place, "log=./log,log_format=json")
        let lines = try text(place, "log").split(separator: "\n")
        #expect(lines.count >= 3)
        for line in lines {
          let event = try #require(
            try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
          #expect(
            Set(event.keys) == ["time", "level", "message", "mountpoint", "pid"], "\(line)")
          #expect((event["mountpoint"] as? String)?.hasSuffix("/mnt") == true)
        }
      }
    }

    @Test("has what is at its level or above", .needs(.fuse))
    func levels() throws {
      try withMountPlace { place in
        try mountAndSpeak(place, "log=./log,log_level=error")
        #expect(try text(place, "log") == "")
      }
    }

    @Test(
      "has every request with -d, whatever its level", .needs(.fuse), arguments: Transport.present)
    func debug(transport: String) throws {
      try withMountPlace { place in
        try place.shell(
          """
          $X mount image mnt -d -o log=./log,log_level=error,log_format=json,transport=\(transport) &
          until grep -q '"message":"mounted' log 2>/dev/null; do :; done
          dd if=mnt/disk of=/dev/null bs=4k count=3 iflag=direct 2>/dev/null
          dd if=/dev/zero of=mnt/disk bs=4k count=2 oflag=direct conv=notrunc 2>/dev/null
          $X umount mnt; wait
          """, limitSeconds: 20
        ).checked()
        let lines = try text(place, "log").split(separator: "\n")
        #expect(lines.allSatisfy { $0.hasPrefix("{") && $0.hasSuffix("}") })
        let requests = lines.filter { $0.contains("\"level\":\"debug\"") }
        #expect(requests.filter { $0.contains("opcode: READ,") }.count >= 3)
        #expect(requests.filter { $0.contains("opcode: WRITE,") }.count >= 2)
        #expect(requests.contains { $0.contains("LOOKUP") })
      }
    }

    @Test(
      "goes to the journal by its own protocol, which is refused where there is none",
      .needs(.fuse, .root))
    func journal() throws {
      try withMountPlace { place in
        // A journal of the test's own, in a mount namespace where nothing else is below /run.
        let script = """
          mount -t tmpfs none /run
          $X mount image mnt -o log=journal && exit 9
          mkdir -p /run/systemd/journal
          /usr/bin/python3 -c '
          import socket
          s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
          s.bind("/run/systemd/journal/socket")
          s.settimeout(20)
          open("bound", "w").close()
          with open("journal", "w") as out:
            while True:
              text = s.recv(65536).decode()
              out.write(text + "--\\n")
              if "unmounted" in text: break
          ' & listener=$!
          until [ -e bound ]; do :; done
          $X mount image mnt -o log=journal && $X umount mnt && wait $listener
          """
        let result = try place.shell(
          "unshare -m --propagation private bash -c '\(script.replacing("'", with: "'\\''"))'")
        #expect(result.exitCode == 0, "\(result)")
        #expect(result.errors.contains("log=journal: no journal answers here"), "\(result)")
        let entries = try text(place, "journal").components(separatedBy: "--\n").dropLast()
        #expect(entries.count >= 2)
        for entry in entries {
          let lines = entry.split(separator: "\n")
          #expect(lines.count == 3 && lines[0].hasPrefix("PRIORITY="), "\(entry)")
          #expect(lines[1] == "SYSLOG_IDENTIFIER=extractfs")
          #expect(lines[2].hasPrefix("MESSAGE=extractfs: "))
        }
      }
    }

    @Test(
      "stops no mount: its file on a full device, its pipe without a reader", .needs(.fuse),
      arguments: ["log=/dev/full", "log=./pipe"])
    func unwritable(option: String) throws {
      try withMountPlace { place in
        // The pipe has a reader while it is opened, who never reads: the pipe fills, then he goes.
        try place.shell(
          """
          mkfifo pipe; exec 5<>pipe
          $X mount image mnt -o \(option)
          for i in $(seq 2000); do echo set bug=none >mnt/.extractfs/control || exit 8; done
          exec 5>&-
          for i in $(seq 10); do echo set bug=none >mnt/.extractfs/control || exit 7; done
          $X umount mnt
          """, limitSeconds: 60
        ).checked()
      }
    }

    @Test("stops no mount with -d when its reader stands still", .needs(.fuse, .directIO))
    func stalledReader() throws {
      try withMountPlace { place in
        try place.shell(
          """
          mkfifo pipe; exec 5<>pipe
          $X mount image mnt -d 2>&5 5>&- & until [ -e mnt/disk ]; do :; done
          dd if=mnt/disk of=/dev/null bs=4k count=2000 iflag=direct 2>/dev/null || exit 8
          $X umount mnt; wait
          """, limitSeconds: 60
        ).checked()
      }
    }

    @Test(
      "is refused, and nothing mounted, where it cannot be", .needs(.fuse),
      arguments: [
        ("log=nowhere", 64), ("log=./no/such/file", 1), ("log=./mnt", 1), ("log_level=loud", 64),
        ("log_format=xml", 64),
      ])
    func refused(option: String, code: Int) throws {
      try withMountPlace { place in
        let result = try place.shell("$X mount image mnt -o \(option)")
        #expect(result.exitCode == code && result.errors.contains("log"), "\(result)")
        #expect(result.errors.split(separator: "\n").count == 1, "\(result)")
        #expect(try place.shell("mountpoint -q mnt").exitCode != 0)
      }
    }

    @Test("and options for other readers are none of the daemon's", .needs(.fuse))
    func foreignOptions() throws {
      try withMountPlace { place in
        try mountAndSpeak(place, "x-systemd.requires=/srv,X-mine=1,log=./log")
        #expect(try text(place, "log").contains("mounted"))
      }
    }
  }
}
