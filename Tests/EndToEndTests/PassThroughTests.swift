// Pass-through requests on a mount: the subcommand, the examples, and what is refused.

import Foundation
import Memory
import TestSupport
import Testing

extension EndToEnd {
  @Suite("Pass-through on a mount")
  struct PassThroughTests {
    private static let examples = URL(filePath: #filePath)
      .appending(path: "../../../mount-scripts/examples").standardized

    private func passThrough(
      _ operation: String, _ mount: Mount, lba: Int, blocks: Int, _ more: [String] = []
    ) throws -> CommandResult {
      try run(
        [
          try extractfs(), "passthrough", operation, mount.disk, "--lba", "\(lba)", "--blocks",
          "\(blocks)",
        ] + more)
    }

    /// A file of random bytes beside the image.
    private func makeData(_ mount: Mount, _ name: String, count: Int, seed: UInt64) throws -> String
    {
      let path = mount.image.deletingLastPathComponent().appending(path: name).path
      var generator = SeededGenerator(seed: seed)
      let buffer = AlignedBuffer(count: count)
      buffer.fill(count: count, using: &generator)
      try OpenFile(path, [.write, .create]).write(from: buffer, count: count, at: 0)
      return path
    }

    private func expectSame(_ mount: Mount, _ path: String, at offset: Int, count: Int) throws {
      let (found, wanted) = (AlignedBuffer(count: count), AlignedBuffer(count: count))
      try OpenFile(path).read(into: wanted, count: count, at: 0)
      for file in [mount.disk, mount.image.path] {
        try OpenFile(file).read(into: found, count: count, at: offset)
        #expect(found.firstDifference(from: wanted, count: count) == nil, "\(file)")
      }
    }

    @Test(
      "moves blocks both ways, mapped where the address suits and copied where not",
      .needs(.fuse, .directIO),
      arguments: [(0, true), (512, true), (4096, true), (101, false), (4097, false)])
    func moves(offset: Int, isMapped: Bool) throws {
      try withMount(options: "block_size=512", imageSizeBytes: 4 << 20) { mount in
        let count = 100 * 512
        let data = try makeData(mount, "data", count: count, seed: 3)
        let buffer = ["--offset-in-buffer", "\(offset)", "--json"]
        for operation in ["write", "read"] {
          let before = try mount.statistics()
          let file = operation == "write" ? data : data + ".back"
          let result = try passThrough(
            operation, mount, lba: 40, blocks: 100, buffer + ["--file", file]
          ).checked()
          #expect(result.output.contains("\"mapped_bytes\" : \(isMapped ? count : 0),"))
          let after = try mount.statistics()
          let mapped = try after.change(of: "passthrough_mapped_bytes", since: before)
          let copied = try after.change(of: "passthrough_copied_bytes", since: before)
          #expect(mapped == (isMapped ? count : 0) && copied == count - mapped)
          #expect((try after.change(of: "sim_nr_foll_pin_acquired", since: before) > 0) == isMapped)
          #expect(try after.change(of: "passthrough_requests", since: before) >= 5)
          #expect(after.imbalances == [])
        }
        #expect(try firstDifference(between: data, and: data + ".back") == nil)
        try expectSame(mount, data, at: 40 * 512, count: count)
      }
    }

    @Test("keeps to the hardware's limits of the mount", .needs(.fuse, .directIO))
    func limits() throws {
      for (options, bios, mapped) in [
        ("max_segments=1,max_segment_size=4096", 3, 12288), ("max_segment_size=4096", 1, 12288),
        ("iter=iovec,segs=5,virt_boundary=4096", 1, 0), ("misalign=100", 1, 0),
        ("era=get,misalign=512", 1, 12288),
      ] {
        try withMount(options: "block_size=512,\(options)", imageSizeBytes: 1 << 20) { mount in
          let data = try makeData(mount, "data", count: 12288, seed: 5)
          let before = try mount.statistics()
          try passThrough("write", mount, lba: 8, blocks: 24, ["--file", data]).checked()
          let after = try mount.statistics()
          #expect(try after.change(of: "device_writes", since: before) == bios, "\(options)")
          #expect(
            try after.change(of: "passthrough_mapped_bytes", since: before) == mapped, "\(options)")
          #expect(after.imbalances == [], "\(options)")
          try expectSame(mount, data, at: 4096, count: 12288)
        }
      }
    }

    @Test("is seen at once by those who read through the page cache", .needs(.fuse))
    func coherence() throws {
      try withMount(imageSizeBytes: 1 << 20) { mount in
        let disk = try OpenFile(mount.disk)
        let found = AlignedBuffer(count: 1 << 16)
        for seed in 1...5 {
          try disk.read(into: found, count: found.count, at: 0)
          let data = try makeData(mount, "data", count: 8192, seed: UInt64(seed))
          let blockBytes = try #require(
            try mount.read("config").firstMatch(of: /block_size=(\d+)/)?.1)
          let blocks = 8192 / (Int(blockBytes) ?? 512)
          try passThrough("write", mount, lba: 0, blocks: blocks, ["--file", data]).checked()
          try expectSame(mount, data, at: 0, count: 8192)
        }
      }
    }

    @Test(
      "is refused out of range, on a read-only mount and elsewhere than on the disk", .needs(.fuse))
    func refusals() throws {
      try withMount(options: "block_size=512,direct=off", imageSizeBytes: 1 << 20) { mount in
        let data = try makeData(mount, "data", count: 8192, seed: 5)
        let before = try mount.statistics()
        for (operation, lba, blocks, text) in [
          ("read", 2048, 1, "Invalid"), ("read", 2047, 2, "Invalid"),
          ("write", 2048, 1, "No space"), ("write", 2047, 2, "No space"),
          ("write", Int.max, 1, "No space"),
        ] {
          let result = try passThrough(
            operation, mount, lba: lba, blocks: blocks,
            operation == "write" ? ["--file", data] : [])
          #expect(result.exitCode == 1 && result.errors.contains(text), "\(result)")
        }
        #expect(try passThrough("read", mount, lba: 0, blocks: 0).exitCode == 64)
        let control = try run([
          try extractfs(), "passthrough", "read", mount.controlFile("stats"), "--lba", "0",
          "--blocks", "1",
        ])
        #expect(control.exitCode == 1 && control.errors.contains("disk"), "\(control)")
        #expect(try mount.statistics().change(of: "passthrough_requests", since: before) == 0)
      }
      try withMount(options: "ro", imageSizeBytes: 1 << 20) { mount in
        let data = try makeData(mount, "data", count: 4096, seed: 5)
        let result = try passThrough("write", mount, lba: 0, blocks: 1, ["--file", data])
        #expect(result.exitCode == 1 && result.errors.contains("Read-only"), "\(result)")
        try passThrough("read", mount, lba: 0, blocks: 1, ["--file", data + ".back"]).checked()
      }
    }

    @Test(
      "works from C and from Python as the examples show", .needs(.fuse, .directIO, .compiler))
    func examples() throws {
      try withMount(options: "block_size=512", imageSizeBytes: 1 << 20) { mount in
        let data = try makeData(mount, "data", count: 4096, seed: 8)
        let python = Self.examples.appending(path: "passthrough.py").path
        let wrote = try shell("'\(python)' write '\(mount.disk)' 16 8 <'\(data)'").checked()
        #expect(wrote.errors == "4096 bytes mapped, 0 copied\n")
        let read = try shell("'\(python)' read '\(mount.disk)' 16 8 100 | cmp - '\(data)'")
          .checked()
        #expect(read.errors == "0 bytes mapped, 4096 copied\n")
        let program = data + ".program"
        let header = Self.examples.appending(path: "../../Sources/CPassThrough").path
        try run([
          "cc", "-Wall", "-Wextra", "-Werror", "-I", header, "-o", program,
          Self.examples.appending(path: "passthrough.c").path,
        ]).checked()
        try shell("'\(program)' '\(mount.disk)' 16 | cmp -n 512 - '\(data)'").checked()
        // A descriptor for reading writes nothing, whatever the ioctl says.
        let script = """
          import os, sys; sys.argv = ['x', 'write', sys.argv[1], '0', '1']
          real = os.open; os.open = lambda path, flags: real(path, os.O_RDONLY)
          exec(open('\(python)').read())
          """
        let refused = try shell(
          "python3 -c \"\(script)\" '\(mount.disk)' <'\(data)'")
        #expect(
          refused.exitCode == 1 && refused.errors.contains("Bad file descriptor"), "\(refused)")
      }
    }
  }
}
