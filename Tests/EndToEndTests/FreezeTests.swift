// A frozen mount: writes wait, everything else goes on, and it can always be thawed.

import Foundation
import Memory
import TestSupport
import Testing

extension EndToEnd {
  @Suite("A frozen mount")
  struct FreezeTests {
    /// More than a test of this suite takes: a daemon that cannot be thawed is killed after these seconds.
    private let limitSeconds = 60

    /// Makes a file of random bytes, for clients to write.
    private func makeSource(in directory: URL, count: Int, seed: UInt64) throws -> String {
      let file = directory.appending(path: "source.\(seed)")
      let buffer = AlignedBuffer(count: count)
      var generator = SeededGenerator(seed: seed)
      buffer.fill(count: count, using: &generator)
      try OpenFile(file.path, [.write, .create]).write(from: buffer, count: count, at: 0)
      return file.path
    }

    /// A dd that writes a whole file by one direct write at the start of the disk.
    private func directWrite(of source: String, to mount: Mount, bytes: Int) -> [String] {
      [
        "dd", "if=\(source)", "of=\(mount.disk)", "bs=\(bytes)", "count=1", "iflag=fullblock",
        "oflag=direct", "conv=notrunc",
      ]
    }

    /// Whether the disk begins with a file's bytes, past the page cache.
    private func diskHolds(_ source: String, bytes: Int, _ mount: Mount) throws -> Bool {
      let (expected, found) = (AlignedBuffer(count: bytes), AlignedBuffer(count: bytes))
      try OpenFile(source).read(into: expected, count: bytes, at: 0)
      try OpenFile(mount.disk, .direct).read(into: found, count: bytes, at: 0)
      return found.firstDifference(from: expected, count: bytes) == nil
    }

    @Test(
      "holds writes, answers reads, and lets the writes go when it is thawed",
      .needs(.fuse, .directIO, .root), arguments: Transport.present)
    func holdsWrites(transport: String) throws {
      try withTemporaryDirectory { scratch in
        let source = try makeSource(in: scratch, count: 1 << 20, seed: 1)
        try withMount(options: "transport=\(transport)", limitSeconds: limitSeconds) { mount in
          try mount.control("freeze")
          let frozen = try mount.statistics()
          let writer = try ClientProcess(directWrite(of: source, to: mount, bytes: 1 << 20))
          try FuseConnection.of(mount) { try $0.awaitStandstill() }
          #expect(try !diskHolds(source, bytes: 1 << 20, mount))
          let later = try mount.statistics()
          #expect(try later.change(of: "device_writes", since: frozen) == 0)
          #expect(try later.change(of: "requests_read", since: frozen) > 0)
          try mount.control("thaw")
          #expect(try writer.wait().exitCode == 0)
          #expect(try diskHolds(source, bytes: 1 << 20, mount))
        }
      }
    }

    /// The first CPU on which this process may run.
    private func firstCPU() throws -> String {
      let text = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
      let line = try #require(
        text.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list") })
      return String(line.split(separator: "\t")[1].prefix { $0.isNumber })
    }

    /// One large write becomes 48 requests at once, all of one CPU and so of one queue of the kernel's. The thaw is
    /// asked for on that CPU too. What a queue cannot hold is told to try again.
    @Test(
      "can be thawed though more writes wait than a queue has entries",
      .needs(.fuse, .directIO, .root), arguments: Transport.present,
      ["max_io=64K", "max_io=64K,queue_depth=4", "max_io=64K,queue_depth=16,workers=1"])
    func staysInReach(transport: String, options: String) throws {
      try withTemporaryDirectory { scratch in
        let bytes = 48 * 64 << 10
        let source = try makeSource(in: scratch, count: bytes, seed: 2)
        let cpu = try firstCPU()
        try withMount(options: "\(options),transport=\(transport)", limitSeconds: limitSeconds) {
          mount in
          let write = ["taskset", "-c", cpu] + directWrite(of: source, to: mount, bytes: bytes)
          try mount.control("freeze")
          let writer = try ClientProcess(write)
          try FuseConnection.of(mount) { try $0.awaitStandstill() }
          try run(
            ["taskset", "-c", cpu, "sh", "-c", "echo thaw >'\(mount.controlFile("control"))'"],
            limitSeconds: 20
          ).checked()
          let result = try writer.wait(limitSeconds: 20)
          let mayBeRefused = transport == "uring" && result.errors.contains("temporarily")
          #expect(result.exitCode == 0 || mayBeRefused, "\(result)")
          if result.exitCode != 0 { try run(write).checked() }
          #expect(try diskHolds(source, bytes: bytes, mount))
          #expect(try mount.statistics().imbalances == [])
        }
      }
    }

    @Test(
      "ends when it is asked to, though writes wait", .needs(.fuse, .directIO, .root),
      arguments: Transport.present)
    func ends(transport: String) throws {
      try withTemporaryDirectory { scratch in
        let source = try makeSource(in: scratch, count: 4096, seed: 3)
        try withMount(options: "transport=\(transport)", limitSeconds: limitSeconds) { mount in
          try mount.control("freeze")
          let writer = try ClientProcess(directWrite(of: source, to: mount, bytes: 4096))
          try FuseConnection.of(mount) { try $0.awaitStandstill() }
          #expect(try mount.end(by: SIGTERM) == 0)
          // The write may have been done at the last moment, or have failed with the mount.
          _ = try writer.wait(limitSeconds: 20)
        }
      }
    }

    /// The kernel keeps a page locked while a buffered write of a part of it is under way. To wait for that page is
    /// to wait for the thaw, and the thaw must not wait for that in turn.
    @Test(
      "refuses to drop the kernel's pages, which a waiting write may have locked",
      .needs(.fuse, .root), arguments: Transport.present)
    func refusesDrop(transport: String) throws {
      try withTemporaryDirectory { scratch in
        let source = try makeSource(in: scratch, count: 100, seed: 4)
        try withMount(options: "transport=\(transport)", limitSeconds: limitSeconds) { mount in
          try mount.control("freeze")
          let writer = try ClientProcess([
            "dd", "if=\(source)", "of=\(mount.disk)", "bs=100", "count=1", "conv=notrunc",
          ])
          try FuseConnection.of(mount) { try $0.awaitStandstill() }
          let failure = try #require(throws: SystemFailure.self) { try mount.control("drop") }
          #expect(failure.code == EBUSY)
          try mount.control("thaw")
          #expect(try writer.wait().exitCode == 0)
          try mount.control("drop")
          #expect(try diskHolds(source, bytes: 100, mount))
        }
      }
    }
  }
}
