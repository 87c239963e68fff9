// What remains when the daemon dies, and how it ends when asked to.

import Foundation
import Memory
import Synchronization
import TestSupport
import Testing

extension EndToEnd {
  @Suite("A daemon killed in the middle of fio")
  struct CrashTests {
    /// Writes a pattern that only this test knows, and makes it durable.
    private func writeDurably(_ path: String, _ flags: OpenFlags, at offset: Int, seed: UInt64)
      throws
    {
      let file = try OpenFile(path, flags)
      let buffer = AlignedBuffer(count: 1 << 20)
      var generator = SeededGenerator(seed: seed)
      buffer.fill(count: buffer.count, using: &generator)
      try file.write(from: buffer, count: buffer.count, at: offset)
      try file.synchronize()
    }

    private func holdsPattern(_ path: String, at offset: Int, seed: UInt64) throws -> Bool {
      let (expected, found) = (AlignedBuffer(count: 1 << 20), AlignedBuffer(count: 1 << 20))
      var generator = SeededGenerator(seed: seed)
      expected.fill(count: expected.count, using: &generator)
      try OpenFile(path).read(into: found, count: found.count, at: offset)
      return found.firstDifference(from: expected, count: expected.count) == nil
    }

    /// Runs fio until the daemon has gone, and kills the daemon once fio's writes arrive.
    private func killUnderLoad(_ mount: Mount) throws {
      let before = try mount.statistics()
      try onThreads(2) { index in
        if index == 0 {
          let result = try run([
            "fio", "--filename=\(mount.disk)", "--direct=1",
            "--ioengine=\(Feature.asynchronousEngine)",
            "--iodepth=16", "--rw=randwrite", "--bs=4k", "--offset=32M", "--size=32M",
            "--time_based", "--runtime=60", "--allow_file_create=0", "--fallocate=none",
            "--name=load",
          ])
          if result.exitCode == 0 { throw TestFailure("fio did not notice: \(result)") }
        } else {
          var written = 0
          while written < 1000 {
            written = try mount.statistics().change(of: "requests_write", since: before)
          }
          try mount.killDaemon()
        }
      }
    }

    @Test(
      "can be unmounted and mounted again, and lost nothing that was fsynced",
      .needs(.fuse, .fio, .directIO), arguments: ["uring", "sync"])
    func keepsDurableData(backend: String) throws {
      try withTemporaryDirectory { scratch in
        let image = scratch.appending(path: "image")
        try makeSparseFile(image, sizeBytes: 64 << 20)
        try withMount(options: "backend=\(backend)", image: image) { mount in
          try writeDurably(mount.disk, .write, at: 0, seed: 1)
          try writeDurably(mount.disk, [.write, .direct], at: 8 << 20, seed: 2)
          try killUnderLoad(mount)
          #expect(throws: SystemFailure.self) { try OpenFile(mount.disk) }
          try run(["fusermount3", "-u", mount.directory.path], limitSeconds: 20).checked()
        }
        try withMount(options: "backend=\(backend)", image: image) { mount throws in
          #expect(try holdsPattern(mount.disk, at: 0, seed: 1))
          #expect(try holdsPattern(mount.disk, at: 8 << 20, seed: 2))
        }
      }
    }
  }

  @Suite("The life of a mount")
  struct LifeTests {
    /// Mounts in the background, as users do, and unmounts by force at the end whatever happens.
    private func inBackground(
      _ command: (_ image: URL, _ directory: URL) throws -> [String],
      _ body: (_ image: URL, _ directory: URL) throws -> Void
    ) throws {
      try withTemporaryDirectory { scratch in
        let (image, directory) = (scratch.appending(path: "image"), scratch.appending(path: "mnt"))
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
        try run([try extractfs(), "mkimage", image.path, "--size", "64M"]).checked()
        defer { forceUnmount(directory) }
        try run(try command(image, directory)).checked()
        try body(image, directory)
      }
    }

    private func isMounted(_ directory: URL) throws -> Bool {
      try run(["mountpoint", "-q", directory.path]).exitCode == 0
    }

    @Test("answers as soon as the mount command returns, and ends with umount", .needs(.fuse))
    func background() throws {
      try inBackground({ [try extractfs(), "mount", $0.path, $1.path] }) { image, directory in
        #expect(try OpenFile(directory.appending(path: "disk").path).sizeBytes() == 64 << 20)
        let unmount = try run([try extractfs(), "umount", directory.path])
        #expect(unmount.exitCode == 0, "\(unmount)")
        #expect(try !isMounted(directory))
        // The daemon has gone: the image is free for another.
        try withMount(image: image) { _ in }
      }
    }

    @Test("ends with plain fusermount3 -u as well", .needs(.fuse))
    func plainUnmount() throws {
      try inBackground({ [try extractfs(), "mount", $0.path, $1.path] }) { _, directory in
        try run(["fusermount3", "-u", directory.path]).checked()
        #expect(try !isMounted(directory))
      }
    }

    @Test("ends cleanly at SIGTERM and SIGINT", .needs(.fuse), arguments: [SIGTERM, SIGINT])
    func signals(signal: CInt) throws {
      try withMount(imageSizeBytes: 1 << 20) { mount throws in
        #expect(try mount.end(by: signal) == 0)
        #expect(try !isMounted(mount.directory))
      }
    }

    @Test("starts through the helper of mount(8), which drops what is not ours", .needs(.fuse))
    func helper() throws {
      let helper = URL(filePath: #filePath).appending(
        path: "../../../mount-scripts/mount.extractfs"
      )
      .standardized.path
      let options = "rw,noauto,nofail,user,x-systemd.automount,_netdev,iter=bvec"
      let command = { (image: URL, directory: URL) in
        ["env", "EXTRACTFS=\(try extractfs())", helper, image.path, directory.path, "-o", options]
      }
      try inBackground(command) { _, directory in
        let config = try String(
          contentsOf: directory.appending(path: ".extractfs/config"), encoding: .utf8)
        #expect(config.contains("bvec"))
        #expect(try run([try extractfs(), "umount", directory.path]).exitCode == 0)
      }
    }
  }
}
