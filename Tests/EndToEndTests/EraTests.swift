// One mount under the rules before the series, of the series, and as merged.

import Foundation
import Memory
import TestSupport
import Testing

extension EndToEnd {
  @Suite("The eras of one mount")
  struct EraTests {
    private static let eras = ["get", "v8", "merged"]

    /// Bytes of each transfer: four requests of the largest size.
    private let sizeBytes = 4 << 20

    /// What the series says is counted for a transfer, in pages but for the bounced bytes.
    private func expected(_ kind: String, _ era: String, isRead: Bool) -> [String: Int] {
      let pages = sizeBytes / 4096
      // A pipe only takes data in; writes are those of plain user memory.
      let kind = kind == "pipe" && !isRead ? "ubuf" : kind
      let isUser = kind == "ubuf" || kind == "iovec"
      let isCopied = era == "get" && kind == "kvec"
      let references = era == "get" && !isCopied ? pages : 0
      let pins = era != "get" && isUser ? pages : 0
      return [
        "sim_nr_foll_pin_acquired": pins, "sim_nr_foll_pin_released": pins,
        "sim_nr_foll_get_acquired": references, "sim_nr_foll_get_released": references,
        "sim_pages_listed": era != "get" && !isUser ? pages : 0,
        "bounced_bytes": isCopied ? sizeBytes : 0, "same_page_merges": 0,
        "sim_zero_page_uses": 0,
      ]
    }

    private func expect(
      _ expected: [String: Int], since before: Statistics, _ mount: Mount, _ what: String
    ) throws {
      let after = try mount.statistics()
      #expect(after.imbalances == [], "\(what)")
      for (name, value) in expected {
        #expect(try after.change(of: name, since: before) == value, "\(name) at \(what)")
      }
    }

    @Test(
      "count what the series says for every kind, and move the same data", .needs(.fuse, .directIO),
      arguments: iteratorKinds)
    func figures(kind: String) throws {
      try withMount(options: "iter=\(kind)", imageSizeBytes: 16 << 20) { mount in
        var generator = SeededGenerator(seed: 17)
        let (data, found) = (AlignedBuffer(count: sizeBytes), AlignedBuffer(count: sizeBytes))
        let disk = try OpenFile(mount.disk, [.write, .direct])
        for era in Self.eras {
          try mount.control("set era=\(era)")
          #expect(try mount.read("config").contains("era=\(era)\n"))
          data.fill(count: sizeBytes, using: &generator)
          found.fill(with: 0)
          var before = try mount.statistics()
          try disk.write(from: data, count: sizeBytes, at: 0)
          try expect(
            expected(kind, era, isRead: false), since: before, mount, "a write under \(era)")
          before = try mount.statistics()
          try disk.read(into: found, count: sizeBytes, at: 0)
          try expect(expected(kind, era, isRead: true), since: before, mount, "a read under \(era)")
          #expect(found.firstDifference(from: data, count: sizeBytes) == nil, "\(era)")
        }
      }
    }

    @Test(
      "treat the zero page as the series says", .needs(.fuse, .directIO), arguments: [true, false])
    func zeroPage(isOn: Bool) throws {
      let options = "block_size=512,zeroing=\(isOn ? "on" : "off")"
      try withMount(options: options, imageSizeBytes: 1 << 20) { mount in
        let buffer = AlignedBuffer(count: 512)
        buffer.fill(with: 0xC3)
        let disk = try OpenFile(mount.disk, [.write, .direct])
        // A filesystem of blocks larger than these would hold data where holes are expected.
        for (index, era) in Self.eras.enumerated() {
          try mount.control("set era=\(era)")
          let before = try mount.statistics()
          try disk.write(from: buffer, count: 512, at: (index + 1) * 128 << 10 | 1024)
          let zeroes = isOn ? 2 : 0
          try expect(
            [
              "sim_zero_page_uses": zeroes, "bounced_bytes": 0,
              "sim_nr_foll_get_acquired": era == "get" ? 1 + zeroes : 0,
              "sim_nr_foll_get_released": era == "get" ? 1 + zeroes : 0,
              "sim_nr_foll_pin_acquired": era == "get" ? 0 : 1,
            ], since: before, mount, "512 bytes into a hole under \(era)")
        }
        let found = AlignedBuffer(count: 1 << 20)
        try disk.read(into: found, count: found.count, at: 0)
        for offset in stride(from: 0, to: found.count, by: 512) {
          let isWritten = [1, 2, 3].contains { offset == $0 * 128 << 10 | 1024 }
          #expect(found[offset] == (isWritten ? 0xC3 : 0) && found[offset + 511] == found[offset])
        }
      }
    }

    @Test("lose no write when neighbours fill the same hole at once", .needs(.fuse, .directIO))
    func neighbours() throws {
      let (threads, slots) = (4, 2048)
      for era in Self.eras {
        let options = "block_size=512,era=\(era)"
        try withMount(options: options, imageSizeBytes: slots * 512) { mount in
          let start = try mount.statistics()
          // Each thread writes every fourth sector: all four meet in every block.
          try onThreads(threads) { thread in
            let disk = try OpenFile(mount.disk, [.write, .direct])
            let buffer = AlignedBuffer(count: 512)
            for slot in stride(from: thread, to: slots, by: threads) {
              buffer.fill(with: UInt8(truncatingIfNeeded: slot % 251 + 1))
              try disk.write(from: buffer, count: 512, at: slot * 512)
            }
          }
          let figures = try mount.statistics()
          #expect(figures.imbalances == [])
          #expect(try figures.change(of: "sim_zero_page_uses", since: start) > 0)
          let found = AlignedBuffer(count: slots * 512)
          try OpenFile(mount.image.path).read(into: found, count: found.count, at: 0)
          let wrong = (0..<slots).filter { slot in
            let byte = UInt8(truncatingIfNeeded: slot % 251 + 1)
            return found[slot * 512] != byte || found[slot * 512 + 511] != byte
          }
          #expect(wrong == [], "\(era)")
        }
      }
    }

    @Test(
      "pass fio's verification one after the other, with pins, references and neither",
      .needs(.fuse, .fio, .directIO))
    func verification() throws {
      try withMount(options: "segs=3,misalign=512,era=get", imageSizeBytes: 32 << 20) { mount in
        for era in Self.eras {
          try mount.control("set era=\(era)")
          let before = try mount.statistics()
          try run([
            "fio", "--filename=\(mount.disk)", "--direct=1",
            "--ioengine=\(Feature.asynchronousEngine)", "--iodepth=8", "--rw=randwrite",
            "--verify=crc32c", "--verify_fatal=1", "--allow_file_create=0", "--fallocate=none",
            "--bsrange=512-64k", "--size=16M", "--name=\(era)",
          ]).checked()
          let after = try mount.statistics()
          #expect(after.imbalances == [])
          let (taken, none) = era == "get" ? ("get", "pin") : ("pin", "get")
          #expect(try after.change(of: "sim_nr_foll_\(taken)_acquired", since: before) > 0)
          #expect(try after.change(of: "sim_nr_foll_\(none)_acquired", since: before) == 0)
        }
      }
    }

    @Test(
      "change under load without a request that is released by other rules",
      .needs(.fuse, .fio, .directIO))
    func changeUnderLoad() throws {
      try withMount(imageSizeBytes: 32 << 20) { mount in
        try onThreads(2) { thread in
          if thread == 0 {
            try run([
              "fio", "--filename=\(mount.disk)", "--direct=1",
              "--ioengine=\(Feature.asynchronousEngine)", "--iodepth=16", "--rw=randrw", "--bs=16k",
              "--allow_file_create=0", "--fallocate=none", "--size=32M", "--loops=4",
              "--name=load",
            ]).checked()
          } else {
            for round in 0..<60 {
              try mount.control("set era=\(Self.eras[round % 3])")
              usleep(10_000)
            }
          }
        }
        let figures = try mount.statistics()
        #expect(figures.imbalances == [])
        #expect(figures["io_errors"] == 0)
      }
    }
  }
}
