// Modes that are shown are enforced: by whatever path another user comes.

import CSystem
import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("Another user, where allow_other lets them in")
  struct PermissionTests {
    private static let nobody = 65534

    /// Mounts with `allow_other`, filled, for other users to try.
    private func withOpenMount(_ transport: String, _ body: (Mount) throws -> Void) throws {
      try withMount(
        options: "allow_other,block_size=512,transport=\(transport)", imageSizeBytes: 1 << 20
      ) { mount in
        try OpenFile(mount.disk, .write).fill(0xA5, count: 1 << 20)
        try body(mount)
        let found = try OpenFile(mount.disk).content(count: 1 << 20)
        #expect(holdsOnly(0xA5, found), "another user has changed the disk")
        var status = stat()
        #expect(unsafe stat(mount.disk, &status) == 0)
        #expect(status.st_mode == 0o100644 && status.st_uid == 0)
      }
    }

    /// Lets nobody try, and expects one of the errors of a missing right.
    private func expectRefusal(
      _ text: String, codes: [CInt] = [EACCES, EPERM], _ body: @escaping @Sendable () throws -> Void
    ) throws {
      do {
        try asUser(Self.nobody, body)
        Issue.record("\(text) was let through")
      } catch let failure as SystemFailure {
        #expect(codes.contains(failure.code), "\(text): \(failure)")
      }
    }

    @Test(
      "cannot open what its mode closes to them, and may read the rest",
      .needs(.fuse, .root), arguments: Transport.present)
    func opens(transport: String) throws {
      try withOpenMount(transport) { mount in
        let directory = mount.controlFile("")
        let names = try FileManager.default.contentsOfDirectory(atPath: directory)
        try #require(names.contains("control"))
        for path in names.map(mount.controlFile) + [mount.disk] {
          var status = stat()
          try #require(unsafe stat(path, &status) == 0)
          let mode = status.st_mode
          if mode & 0o004 != 0 {
            try asUser(Self.nobody) {
              _ = try OpenFile(path).read(
                into: AlignedBuffer(count: 4096), count: 4096, at: 0)
            }
          } else {
            try expectRefusal("reading \(path)") { _ = try OpenFile(path) }
            try expectRefusal("access of \(path)") { try system(SYS_access, path, R_OK) }
          }
          for flags in [O_WRONLY, O_RDWR, O_WRONLY | O_APPEND, O_RDWR | O_TRUNC] {
            try expectRefusal("writing \(path)") {
              _ = try OpenFile(path, OpenFlags(rawValue: flags))
            }
          }
          try expectRefusal("access of \(path)") { try system(SYS_access, path, W_OK) }
        }
        // Root may, and others did not disturb that.
        _ = try OpenFile(mount.disk, .write)
        try mount.control("flush")
      }
    }

    @Test(
      "cannot change an attribute of anything", .needs(.fuse, .root), arguments: Transport.present)
    func changes(transport: String) throws {
      try withOpenMount(transport) { mount in
        let set = [UInt8](repeating: 0, count: 32)
        for path in [
          mount.disk, mount.controlFile("control"), mount.controlFile("stats"),
          mount.controlFile("").trimmingSuffix("/"), mount.directory.path,
        ] {
          try expectRefusal("chmod \(path)") { try system(SYS_fchmodat, AT_FDCWD, path, 0o777) }
          try expectRefusal("chown \(path)") {
            try system(SYS_fchownat, AT_FDCWD, path, 65534, 65534, 0)
          }
          try expectRefusal("utimes \(path)") {
            try system(SYS_utimensat, AT_FDCWD, path, set, 0)
          }
          try expectRefusal("touch \(path)") { try system(SYS_utimensat, AT_FDCWD, path, 0, 0) }
        }
        for path in [mount.disk, mount.controlFile("control")] {
          try expectRefusal("truncate \(path)") { try system(SYS_truncate, path, 0) }
        }
      }
    }

    @Test(
      "cannot write through a descriptor for reading, by any call",
      .needs(.fuse, .root), arguments: Transport.present)
    func descriptors(transport: String) throws {
      try withOpenMount(transport) { mount in
        let path = mount.disk
        let codes = [EACCES, EPERM, EBADF]
        try expectRefusal("pass-through", codes: codes) {
          try OpenFile(path).passThroughWrite(1, count: 512, at: 0)
        }
        try expectRefusal("punch", codes: codes) {
          try OpenFile(path).change(.punchHole, at: 0, count: 4096)
        }
        try expectRefusal("zero", codes: codes) {
          try OpenFile(path).change(.zeroRange, at: 0, count: 4096)
        }
        try expectRefusal("ftruncate", codes: codes + [EINVAL]) {
          try OpenFile(path).resize(to: 1 << 20)
        }
        try expectRefusal("mmap") { _ = try FileMapping(of: OpenFile(path), count: 4096) }
        // What /proc shows of a descriptor is opened anew, with the rights of who opens.
        try expectRefusal("/proc") {
          let file = try OpenFile(path)
          try withExtendedLifetime(file) {
            let number = file.withWord { $0 }
            _ = try OpenFile("/proc/thread-self/fd/\(number)", .write)
          }
        }
      }
    }

    @Test(
      "cannot make, remove or rename anything", .needs(.fuse, .root), arguments: Transport.present)
    func names(transport: String) throws {
      try withOpenMount(transport) { mount in
        let codes = [EACCES, EPERM, EROFS, ENOSYS, ENOTSUP]
        let (root, disk) = (mount.directory.path, mount.disk)
        for parent in [root, mount.controlFile("")] {
          let new = parent + "/new"
          try expectRefusal("mkdir", codes: codes) { try system(SYS_mkdirat, AT_FDCWD, new, 0o777) }
          try expectRefusal("create", codes: codes) { _ = try OpenFile(new, [.write, .create]) }
          try expectRefusal("symlink", codes: codes) {
            try system(SYS_symlinkat, "x", AT_FDCWD, new)
          }
        }
        try expectRefusal("unlink", codes: codes) { try system(SYS_unlinkat, AT_FDCWD, disk, 0) }
        let control = mount.controlFile("control")
        try expectRefusal("unlink", codes: codes) { try system(SYS_unlinkat, AT_FDCWD, control, 0) }
        try expectRefusal("rename", codes: codes) {
          try system(SYS_renameat2, AT_FDCWD, disk, AT_FDCWD, root + "/other", 0)
        }
        try expectRefusal("setxattr", codes: codes) {
          try system(SYS_setxattr, disk, "user.x", "y", 1, 0)
        }
      }
    }

    @Test(
      "is let in nowhere without allow_other", .needs(.fuse, .root), arguments: Transport.present)
    func closed(transport: String) throws {
      try withMount(options: "transport=\(transport)", imageSizeBytes: 1 << 20) { mount in
        for path in [mount.disk, mount.controlFile("stats"), mount.directory.path] {
          try expectRefusal("open \(path)") { _ = try OpenFile(path) }
        }
      }
    }

    /// Whoever mounts through fusermount3 owns what they mounted, and root stays outside as the kernel has it.
    @Test("who mounts a disk of their own is its master", .needs(.fuse, .root))
    func ordinaryMount() throws {
      try withTemporaryDirectory { scratch in
        let program = scratch.appending(path: "extractfs")
        try FileManager.default.copyItem(atPath: extractfs(), toPath: program.path)
        let script = """
          set -e; cd "$1"
          ./extractfs mkimage image --size 1M; mkdir mnt
          ./extractfs mount image mnt
          trap './extractfs umount mnt' EXIT
          head -c 4096 /dev/urandom >data
          dd if=data of=mnt/disk bs=4k conv=notrunc; cmp -n 4096 data mnt/disk
          cat mnt/.extractfs/stats >stats; echo flush >mnt/.extractfs/control
          test -O mnt/disk; test -O mnt/.extractfs/control
          """
        try system(SYS_fchmodat, AT_FDCWD, scratch.path, 0o777)
        // Where /dev/fuse is root's alone, a namespace of mounts of its own has one for everybody.
        let everybody = """
          mknod "$2/fuse" c 10 229; chmod 666 "$2/fuse"; mount --bind "$2/fuse" /dev/fuse
          exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -c "$1" sh "$2"
          """
        let user = ["unshare", "--mount", "sh", "-e", "-c", everybody, "sh"]
        try run(user + [script, scratch.path]).checked()
      }
    }
  }
}

extension String {
  /// The text without an ending that it may have.
  fileprivate func trimmingSuffix(_ ending: String) -> String {
    hasSuffix(ending) ? String(dropLast(ending.count)) : self
  }
}
