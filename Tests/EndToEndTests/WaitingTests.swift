// Commands that return, whatever has become of the mount.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("A command on a mount that does not go, or does not answer")
  struct WaitingTests {
    @Test("umount names a bind mount that keeps the filesystem", .needs(.fuse, .root))
    func bindMount() throws {
      try withMountPlace { place in
        try place.shell("mkdir other && $X mount image mnt && mount --bind mnt other").checked()
        defer { _ = try? place.shell("umount -l other") }
        let result = try place.shell("$X umount mnt", limitSeconds: 30)
        #expect(result.exitCode == 1 && result.errors.contains("/other"), "\(result)")
      }
    }

    @Test("umount names a process whose namespace keeps it", .needs(.fuse, .root))
    func namespace() throws {
      try withMountPlace { place in
        try place.shell("$X mount image mnt").checked()
        let result = try place.shell(
          "unshare -m --propagation private sh -c 'echo > ready; exec sleep 100' & P=$!; "
            + "until [ -e ready ]; do :; done; $X umount mnt; rc=$?; kill $P; exit $rc",
          limitSeconds: 30)
        #expect(result.exitCode == 1 && result.errors.contains("(sleep)"), "\(result)")
      }
    }

    @Test("umount, stats and mount say that a stopped daemon does not answer", .needs(.fuse))
    func stopped() throws {
      try withMountPlace { place in
        try place.shell("$X mount image mnt").checked()
        let daemon = try place.daemon()
        kill(daemon, SIGSTOP)
        defer { kill(daemon, SIGCONT) }
        for command in ["umount --timeout 2 mnt", "stats mnt", "mount image mnt"] {
          let result = try place.shell("$X \(command)", limitSeconds: 50)
          #expect(result.exitCode == 1, "\(result)")
          #expect(result.errors.contains("not answer"), "\(result)")
        }
        kill(daemon, SIGCONT)
        try place.shell("$X umount mnt").checked()
      }
    }

    @Test("mount refuses an image that would wait when opened", .needs(.fuse))
    func pipe() throws {
      try withMountPlace { place in
        let result = try place.shell("mkfifo pipe; $X mount pipe mnt -o ro", limitSeconds: 20)
        #expect(result.exitCode == 1 && result.errors.contains("pipe"), "\(result)")
      }
    }

    @Test("the lab with a mount ends where no network is up", .needs(.fuse, .root))
    func lab() throws {
      try withMountPlace { place in
        let result = try place.shell("unshare -n $X lab run where-are-my-pins", limitSeconds: 60)
        #expect(result.exitCode == 0, "\(result)")
      }
    }

    @Test("umount names who uses a busy mount", .needs(.fuse))
    func busy() throws {
      try withMountPlace { place in
        try place.shell("$X mount image mnt").checked()
        let open = try place.shell(
          "sleep 100 < mnt/disk & P=$!; $X umount mnt; rc=$?; kill $P; exit $rc")
        #expect(open.exitCode == 1 && open.errors.contains("disk open"), "\(open)")
        let stands = try place.shell("cd mnt; $X umount ../mnt")
        #expect(stands.exitCode == 1 && stands.errors.contains("stands in it"), "\(stands)")
      }
    }

    @Test("umount names a loop device on the disk", .needs(.fuse, .root))
    func loopDevice() throws {
      try withMountPlace { place in
        try place.shell("$X mount image mnt").checked()
        guard let loop = try? place.shell("losetup -f --show mnt/disk").checked().output else {
          return
        }
        let name = loop.trimmingCharacters(in: .whitespacesAndNewlines)
        defer { _ = try? place.shell("losetup -d \(name)") }
        let result = try place.shell("$X umount mnt")
        #expect(result.exitCode == 1 && result.errors.contains("\(name) is on"), "\(result)")
      }
    }
  }

  @Suite("Names of any bytes")
  struct NameTests {
    static let names = [
      #"a\\,allow_other"#, #"ends\\"#, #"a,ro"#, #"new\nline"#, #"a b\t"#, #"\xff\xfe"#, #"q\"\'"#,
      #"-dash"#, #"fsname=x"#, #"a\\054b"#, #"\xf4\x8f\xbf\xbf"#, #"#hash"#,
    ]

    /// Root, and somebody else where the device is for everybody: fusermount3 reads the options once more.
    static let users: [String] = {
      var status = stat()
      let isOpen = unsafe stat("/dev/fuse", &status) == 0 && status.st_mode & 0o006 == 0o006
      return isOpen ? ["", "user"] : [""]
    }()

    @Test("mount, are found, and unmount", .needs(.fuse), arguments: names, users)
    func roundTrip(name: String, user: String) throws {
      try withMountPlace { place in
        let prefix = user.isEmpty || geteuid() != 0 ? "" : "setpriv --reuid 65534 --clear-groups "
        let result = try place.shell(
          """
          N=$'\(name)'; mv -- image "./$N"; mkdir -- "./mnt/x$N" "./$N.d"; chmod 777 . ./*
          \(prefix)$X mount -- "$N" "$N.d" || exit 3
          grep -a " fuse.extractfs " /proc/self/mountinfo | grep -aq "$(basename $PWD)" || echo "no type"
          \(prefix)cat -- "./$N.d/.extractfs/config" | grep -cE '^(image|mountpoint)='
          grep -a "$(basename $PWD)" /proc/self/mountinfo | grep -aq ' rw.*,allow_other$' && echo "option set"
          \(prefix)$X umount -- "$N.d" | tail -1; exit ${PIPESTATUS[0]}
          """)
        #expect(result.exitCode == 0, "\(result)")
        #expect(result.output == "2\n0 pages left pinned\n", "\(result)")
        #expect(result.errors == "", "\(result)")
      }
    }

    @Test("of great length do not hide the mountpoint", .needs(.fuse))
    func long() throws {
      try withMountPlace { place in
        try place.shell(
          """
          N=$(printf '\\001%.0s' $(seq 250)); mkdir -p "$N/$N/$N/$N/$N"; mv image "$N/$N/$N/$N/$N/i"
          $X mount "$N/$N/$N/$N/$N/i" mnt && $X umount mnt
          """
        ).checked()
      }
    }
  }
}
