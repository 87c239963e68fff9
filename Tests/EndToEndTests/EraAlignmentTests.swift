// What an era does to a request's buffer on a mount: refused where that kernel refuses, copied where it bounces.

import Glibc
import Memory
import Testing
import TestSupport

extension EndToEnd {
  @Suite("An era on a mount")
  struct EraAlignmentTests {
    private func write(_ mount: Mount, _ count: Int, at offset: Int) throws -> CInt {
      let disk = try OpenFile(mount.disk, [.write, .direct])
      let buffer = AlignedBuffer(count: count)
      buffer.fill(with: 0x5a)
      do { try disk.write(from: buffer, count: count, at: offset) } catch let error as SystemFailure
      {
        return error.code
      }
      return 0
    }

    @Test(
      "refuses what its kernel refuses, and bounces it when told to accept",
      .needs(.fuse, .directIO), arguments: ["get", "v8", "merged", "6.12", "6.18", "7.3"])
    func refuses(era: String) throws {
      let options = "era=\(era),alignment=kernel,misalign=100,block_size=512"
      try withMount(options: options, imageSizeBytes: 4 << 20) { mount in
        // 100 bytes after a page suits no disk's blocks of 512 bytes.
        #expect(try write(mount, 8192, at: 4096) == EINVAL)
        var figures = try mount.statistics()
        #expect(figures["era_refusals"] == 1)
        #expect(figures["bounced_bytes"] == 0)
        try mount.control("set alignment=accept")
        #expect(try write(mount, 8192, at: 4096) == 0)
        figures = try mount.statistics()
        #expect(figures["era_refusals"] == 1)
        #expect(figures["bounced_bytes"] == 8192)
        #expect(figures.imbalances == [])
      }
    }

    @Test("takes what suits every kernel under alignment=kernel", .needs(.fuse, .directIO))
    func accepts() throws {
      try withMount(options: "alignment=kernel,segs=4", imageSizeBytes: 4 << 20) { mount in
        for era in ["get", "6.12", "7.3", "auto"] {
          try mount.control("set era=\(era)")
          #expect(try write(mount, 16384, at: 8192) == 0, "\(era)")
        }
        let figures = try mount.statistics()
        #expect(figures["era_refusals"] == 0)
        #expect(figures["bounced_bytes"] == 0)
      }
    }

    @Test("copies stable pages only where its kernel does", .needs(.fuse, .directIO))
    func stable() throws {
      try withMount(options: "stable=on", imageSizeBytes: 4 << 20) { mount in
        for (era, copied) in [("6.12", 0), ("7.3", 65536)] {
          try mount.control("set era=\(era)")
          let before = try mount.statistics()
          #expect(try write(mount, 65536, at: 65536) == 0)
          let after = try mount.statistics()
          #expect(try after.change(of: "era_bounced_bytes", since: before) == copied, "\(era)")
          #expect(try after.change(of: "bounced_bytes", since: before) == copied, "\(era)")
          let pins = try after.change(of: "sim_nr_foll_pin_acquired", since: before)
          #expect(pins == (copied == 0 ? 16 : 0), "\(era)")
        }
      }
    }
  }
}
