// What programs conclude from attributes: backups from ctime, tools for sparse files from holes and block sizes.

import CSystem
import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("Attributes on a mount")
  struct AttributeTests {
    private func status(_ path: String) throws -> stat {
      var status = stat()
      guard unsafe stat(path, &status) == 0 else { throw SystemFailure("stat \(path)") }
      return status
    }

    private func nanoseconds(_ time: timespec) -> Int { time.tv_sec * 1_000_000_000 + time.tv_nsec }

    /// Waits until the kernel's coarse clock, by which files are stamped, shows a later time.
    private func awaitClock(after time: Int) throws {
      var now = timespec()
      repeat {
        guard unsafe clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0 else {
          throw SystemFailure("clock_gettime")
        }
        sched_yield()
      } while nanoseconds(now) <= time
    }

    /// The ways to change the disk's bytes.
    enum Writer: String, CaseIterable {
      case buffered, direct, directPart, mapped, passThrough, punchHole, libaio

      func write(_ path: String) throws {
        let disk = try OpenFile(path, .write)
        let direct = try OpenFile(path, [.write, .direct])
        switch self {
        case .buffered:
          try disk.fill(1, count: 1000, at: 10)
        case .direct: try direct.fill(1, count: 4096)
        case .directPart: try direct.fill(1, count: 100, at: 9)
        case .mapped:
          let mapping = try FileMapping(of: disk, count: 4096)
          mapping.write(from: AlignedBuffer(count: 10), count: 10, at: 5)
          try mapping.synchronize(count: 4096, at: 0)
        case .passThrough: try disk.passThroughWrite(1, count: 512, at: 0)
        case .punchHole: try disk.change(.punchHole, at: 0, count: 4096)
        case .libaio:
          _ = try WriteInterface.libaio.write(
            direct, from: AlignedBuffer(count: 512), count: 512, at: 0)
        }
      }
    }

    @Test(
      "tell of every write by ctime, even where touch -r sets mtime back",
      .needs(.fuse, .directIO), arguments: Transport.present, Writer.allCases)
    func changeTime(transport: String, writer: Writer) throws {
      let options = "transport=\(transport),block_size=512"
      try withMount(options: options, imageSizeBytes: 1 << 20) { mount in
        let reference = mount.image.path + ".times"
        try OpenFile(mount.disk, .write).fill(3, count: 1 << 16)
        try shell("touch -r '\(mount.disk)' '\(reference)'").checked()
        for round in 0..<3 {
          let before = try status(mount.disk)
          try awaitClock(after: nanoseconds(before.st_ctim))
          try writer.write(mount.disk)
          try #require(
            try nanoseconds(status(mount.disk).st_ctim) > nanoseconds(before.st_ctim),
            "round \(round): the write itself")
          try shell("touch -r '\(reference)' '\(mount.disk)'").checked()
          let after = try status(mount.disk)
          #expect(try nanoseconds(after.st_mtim) == nanoseconds(status(reference).st_mtim))
          try #require(
            nanoseconds(after.st_ctim) > nanoseconds(before.st_ctim), "round \(round): touch -r")
        }
        // Nobody sets ctime, whatever they ask for.
        try shell("touch -d 2001-01-01 '\(mount.disk)'").checked()
        #expect(try status(mount.disk).st_ctim.tv_sec > 1_500_000_000)
      }
    }

    @Test(
      "let the control directory be archived while I/O goes on", .needs(.fuse, .fio, .directIO),
      arguments: Transport.present,
      [
        "tar cf - .extractfs | wc -c", "tar cf - --format=pax . | wc -c",
        "cp -a .extractfs ../copy && rm -r ../copy",
        "tar cf ../archive .extractfs && tar xf ../archive -C .. && rm -r ../.extractfs",
      ])
    func archives(transport: String, command: String) throws {
      let options = "transport=\(transport),control=visible"
      try withMount(options: options, imageSizeBytes: 16 << 20) { mount in
        let load = try ClientProcess([
          "fio", "--filename=\(mount.disk)", "--direct=1", "--rw=randread", "--size=16M", "--bs=4k",
          "--ioengine=libaio", "--iodepth=16", "--time_based", "--runtime=100",
          "--allow_file_create=0", "--thread", "--name=load",
        ])
        defer { load.end() }
        let before = try mount.statistics()
        while try mount.statistics().change(of: "requests_read", since: before) < 100 {}
        for _ in 0..<3 {
          let result = try run(
            ["bash", "-o", "pipefail", "-c", command], in: mount.directory, limitSeconds: 60)
          #expect(result.exitCode == 0 && result.errors == "", "\(result)")
        }
      }
    }

    @Test(
      "count a link for every directory that is listed", .needs(.fuse),
      arguments: Transport.present,
      [("hidden", 2, false), ("visible", 3, true), ("off", 2, false)])
    func links(transport: String, control: (mode: String, links: Int, isFound: Bool)) throws {
      let options = "transport=\(transport),control=\(control.mode)"
      try withMount(options: options, imageSizeBytes: 1 << 20) { mount in
        #expect(try Int(status(mount.directory.path).st_nlink) == control.links)
        #expect(try status(mount.disk).st_nlink == 1)
        // find(1) looks into as many directories as links tell of.
        let found = try run(["find", mount.directory.path, "-name", "stats"]).checked().output
        #expect(found.isEmpty == !control.isFound)
        if control.mode != "off" {
          #expect(try status(mount.controlFile("")).st_nlink == 2)
        }
      }
    }

    @Test(
      "show as data what is written through a mapping and not yet written back",
      .needs(.fuse, .directIO), arguments: Transport.present, [[5], [0, 100], [1, 2, 77, 255]])
    func mappedData(transport: String, pages: [Int]) throws {
      try withMount(options: "transport=\(transport)", imageSizeBytes: 1 << 20) { mount in
        let mapping = try FileMapping(of: OpenFile(mount.disk, .write), count: 1 << 20)
        let data = AlignedBuffer(count: 10)
        data.fill(with: 9)
        for page in pages { mapping.write(from: data, count: 10, at: page * 4096 + 50) }
        for flags: OpenFlags in [[], .write, .direct] {
          let disk = try OpenFile(mount.disk, flags)
          for page in pages {
            let data = try #require(try disk.nextData(from: page * 4096), "page \(page)")
            #expect(data <= page * 4096 + 50)
            #expect(try #require(try disk.nextHole(from: page * 4096 + 50)) > page * 4096 + 50)
          }
          #expect(try #require(try disk.nextData(from: 0)) <= pages[0] * 4096 + 50)
        }
        // What copies sparse files copies these bytes too.
        let copy = mount.image.path + ".copy"
        for page in pages { mapping.write(from: data, count: 10, at: page * 4096 + 70) }
        try run(["cp", "--sparse=always", mount.disk, copy]).checked()
        #expect(try firstDifference(between: mount.disk, and: copy) == nil)
      }
    }

    @Test(
      "name a block size that no hole is finer than", .needs(.fuse, .directIO),
      arguments: Transport.present, ["", ",max_io=64K", ",block_size=4096"])
    func blockSize(transport: String, more: String) throws {
      try withMount(options: "transport=\(transport)\(more)", imageSizeBytes: 4 << 20) { mount in
        let size = try Int(status(mount.disk).st_blksize)
        let image = try Int(status(mount.image.path).st_blksize)
        #expect(size >= 512 && size <= image, "\(size)")
        let disk = try OpenFile(mount.disk, .write)
        try disk.fill(1, count: 4 << 20)
        try disk.change(.punchHole, at: 1 << 20, count: size)
        #expect(try disk.nextHole(from: 0) == 1 << 20)
        #expect(try disk.nextData(from: 1 << 20) == (1 << 20) + size)
      }
    }

    /// Writes, zeroes and holes in KiB of a disk of 4 MiB, and what then must not change a byte.
    private static let layouts = [
      "data 0 3072; zero 1024 1024; hole 2048 4",
      "data 0 4096; hole 1020 4; zero 1024 512; hole 1536 4",
      "data 8 1000; zero 100 300; hole 400 4; data 404 4; hole 408 4; data 2000 2096",
    ]

    @Test(
      "lead no tool for sparse files to change a byte", .needs(.fuse, .directIO),
      arguments: Transport.present.flatMap { name in Self.layouts.map { (name, $0) } },
      [
        "fallocate -d disk", "cp --sparse=always disk ../copy && cmp disk ../copy",
        "tar cSf ../archive disk && tar xOf ../archive | cmp - disk",
        "cp --sparse=always disk ../copy && dd if=../copy of=disk bs=64k conv=notrunc,sparse",
      ])
    func sparseTools(layout: (transport: String, steps: String), command: String) throws {
      try withMount(options: "transport=\(layout.transport)", imageSizeBytes: 4 << 20) { mount in
        let disk = try OpenFile(mount.disk, .write)
        for step in layout.steps.split(separator: ";") {
          let words = step.split(separator: " ")
          let (offset, count) = (Int(words[1])! << 10, Int(words[2])! << 10)
          switch words[0] {
          case "data": try disk.fill(0xA5, count: count, at: offset)
          case "zero": try disk.fill(0, count: count, at: offset)
          default: try disk.change(.punchHole, at: offset, count: count)
          }
        }
        try disk.synchronize()
        let before = try disk.content(count: 4 << 20)
        try shell(command, in: mount.directory).checked()
        try mount.control("drop")
        for path in [mount.disk, mount.image.path] {
          let found = try OpenFile(path).content(count: 4 << 20)
          #expect(before.firstDifference(from: found, count: 4 << 20) == nil, "\(path)")
        }
      }
    }
  }
}
