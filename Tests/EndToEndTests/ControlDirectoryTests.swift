// The control directory: what its files hold and what they refuse.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("The control directory")
  struct ControlDirectoryTests {
    /// Figures that go down again; all others only grow.
    private let gauges: Set = [
      "sim_pages_pinned", "sim_pages_reffed", "requests_inflight", "kernel_pins_exact",
    ]

    /// Names that scripts rely on.
    private static let names = [
      "sim_nr_foll_pin_acquired", "sim_nr_foll_pin_released", "sim_nr_foll_get_acquired",
      "sim_nr_foll_get_released", "sim_pages_listed", "sim_pages_pinned", "sim_pages_reffed",
      "sim_pages_pinned_max", "sim_zero_page_uses", "sim_leaks", "sim_double_releases",
      "kernel_nr_foll_pin_acquired", "kernel_nr_foll_pin_released",
      "kernel_pins_exact", "requests_read",
      "requests_write", "bytes_read", "bytes_written", "bios", "bvecs", "bio_splits",
      "bvec_merges", "same_page_merges", "bounced_bytes", "flushes", "io_errors",
      "requests_inflight", "passthrough_requests", "passthrough_mapped_bytes",
      "passthrough_copied_bytes",
    ]

    private func writeSome(_ mount: Mount, mebibytes: Int = 4) throws {
      try shell(
        "dd if=/dev/zero of='\(mount.disk)' bs=1M count=\(mebibytes) oflag=direct conv=notrunc"
      ).checked()
    }

    @Test("is found by name but not listed", .needs(.fuse))
    func hidden() throws {
      try withMount(imageSizeBytes: 1 << 20) { mount in
        let listed = try FileManager.default.contentsOfDirectory(atPath: mount.directory.path)
        #expect(!listed.contains(".extractfs"))
        let files = try FileManager.default.contentsOfDirectory(atPath: mount.controlFile("."))
        for name in ["stats", "stats.json", "metrics", "pins", "control", "config", "help"] {
          #expect(files.contains(name))
        }
        // Who reads a stream waits: nobody who copies the directory is to come upon one.
        for name in ["trace", "trace_raw"] {
          #expect(!files.contains(name))
          #expect(FileManager.default.fileExists(atPath: mount.controlFile(name)))
        }
      }
    }

    @Test("has files with the modes that are promised", .needs(.fuse))
    func modes() throws {
      try withMount(imageSizeBytes: 1 << 20) { mount in
        let promised = [
          "stats": 0o444, "stats.json": 0o444, "metrics": 0o444, "pins": 0o444, "config": 0o444,
          "help": 0o444,
          "control": 0o600,
        ]
        for (name, mode) in promised {
          let attributes = try FileManager.default.attributesOfItem(
            atPath: mount.controlFile(name))
          #expect(attributes[.posixPermissions] as? Int == mode, "\(name)")
        }
      }
    }

    @Test("gives every figure that scripts rely on", .needs(.fuse))
    func stableNames() throws {
      try withMount(imageSizeBytes: 1 << 20) { mount in
        let figures = try mount.statistics()
        for name in Self.names { #expect(figures[name] != nil, "\(name)") }
      }
    }

    @Test("gives figures that never go down but for the gauges", .needs(.fuse, .directIO))
    func monotonic() throws {
      try withMount(imageSizeBytes: 16 << 20) { mount in
        var last = try mount.statistics()
        for _ in 0..<5 {
          try writeSome(mount)
          let next = try mount.statistics()
          for (name, value) in last.values where !gauges.contains(name) {
            #expect(try #require(next[name]) >= value, "\(name)")
          }
          #expect(try next.change(of: "bytes_written", since: last) == 4 << 20)
          last = next
        }
      }
    }

    @Test("does not count reading itself", .needs(.fuse))
    func uncounted() throws {
      try withMount(imageSizeBytes: 1 << 20) { mount in
        let before = try mount.statistics()
        for _ in 0..<10 { _ = try mount.read("pins") }
        let after = try mount.statistics()
        for name in ["requests_read", "bytes_read", "bios", "sim_nr_foll_pin_acquired"] {
          #expect(try after.change(of: name, since: before) == 0, "\(name)")
        }
      }
    }

    @Test("shows each open one snapshot", .needs(.fuse, .directIO))
    func snapshot() throws {
      try withMount(imageSizeBytes: 16 << 20) { mount in
        let file = try OpenFile(mount.controlFile("stats"))
        let before = try mount.statistics()
        let buffer = AlignedBuffer(count: 64 << 10)
        var text: [UInt8] = []
        try file.read(into: buffer, count: 100, at: 0)
        text += (0..<100).map { buffer[$0] }
        try writeSome(mount)
        let rest = try file.read(into: buffer, count: buffer.count, at: 100)
        text += (0..<rest).map { buffer[$0] }
        let seen = try Statistics(parsing: String(decoding: text, as: UTF8.self))
        #expect(try seen.change(of: "bytes_written", since: before) == 0)
        #expect(try mount.statistics().change(of: "bytes_written", since: before) == 4 << 20)
      }
    }

    @Test("never tells a size that cuts an open text short", .needs(.fuse))
    func sizeOfSnapshot() throws {
      try withMount(imageSizeBytes: 1 << 20) { mount in
        // The reply in `control` is long at first, then short.
        try mount.control("checkpoint a-name-that-makes-a-long-reply")
        let long = try OpenFile(mount.controlFile("control"), .write)
        let size = try long.sizeBytes()
        try mount.control("flush")
        #expect(try long.sizeBytes() == size)
        let buffer = AlignedBuffer(count: 1 << 12)
        #expect(try long.read(into: buffer, count: buffer.count, at: 0) == size)
      }
    }

    @Test("gives the same figures as JSON, with a schema version", .needs(.fuse))
    func json() throws {
      try withMount(imageSizeBytes: 1 << 20) { mount in
        let parsed = try JSONSerialization.jsonObject(with: Data(try mount.read("stats.json").utf8))
        let object = try #require(parsed as? [String: Any])
        #expect(object.keys.contains { $0.contains("schema") })
        let text = try mount.read("stats.json")
        for name in Self.names { #expect(text.contains("\"\(name)\""), "\(name)") }
        let command = try run([try extractfs(), "stats", mount.directory.path, "--json"]).checked()
        _ = try JSONSerialization.jsonObject(with: Data(command.output.utf8))
      }
    }

    @Test("lists holders under headings, and none when idle", .needs(.fuse))
    func pins() throws {
      try withMount(imageSizeBytes: 1 << 20) { mount in
        let lines = try mount.read("pins").split(separator: "\n")
        #expect(!lines.isEmpty)
        #expect(lines.allSatisfy { $0.hasPrefix("#") })
      }
    }

    @Test("says which settings are in force, and helps", .needs(.fuse))
    func configuration() throws {
      try withMount(options: "iter=kvec,segs=3", imageSizeBytes: 1 << 20) { mount in
        #expect(try mount.read("config").contains("kvec"))
        try mount.control("set iter=bvec")
        #expect(try mount.read("config").contains("bvec"))
        let help = try mount.read("help")
        for verb in ["reset", "set", "flush"] { #expect(help.contains(verb)) }
      }
    }

    @Test(
      "refuses what it does not understand with EINVAL, and changes nothing", .needs(.fuse),
      arguments: [
        "garbage", "set", "set iter=banana", "set nonsense=1", "reset everything", "=", "set iter",
        "\u{0}\u{1}\u{2}", String(repeating: "x", count: 4000),
      ])
    func garbage(command: String) throws {
      try withMount(imageSizeBytes: 1 << 20) { mount in
        let before = try mount.read("config")
        let failure = try #require(throws: SystemFailure.self) { try mount.control(command) }
        #expect(failure.code == EINVAL, "\(failure)")
        #expect(try mount.read("config") == before)
      }
    }

    @Test("starts counting afresh after reset stats", .needs(.fuse, .directIO))
    func reset() throws {
      try withMount(imageSizeBytes: 16 << 20) { mount in
        try writeSome(mount)
        #expect(try mount.statistics()["bytes_written"] == 4 << 20)
        try mount.control("reset stats")
        let after = try mount.statistics()
        #expect(after["bytes_written"] == 0)
        #expect(after["sim_nr_foll_pin_acquired"] == 0)
        #expect(after.imbalances == [])
      }
    }
  }
}
