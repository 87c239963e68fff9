// Figures that neither disturb nor mislead.

import CSystem
import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("The figures of a mount")
  struct FigureTests {
    /// The least growth of the kernel's pins over several tries: others on the machine pin pages as well.
    private func pinsTaken(by body: () throws -> Void) throws -> Int {
      var least = Int.max
      for _ in 0..<8 where least > 0 {
        let before = try KernelPins.read()
        try body()
        least = min(least, try KernelPins.read().acquired - before.acquired)
      }
      return least
    }

    @Test(
      "are read without a page of the reader's being pinned",
      .needs(.fuse, .root, .pinCounters), arguments: Transport.present,
      [
        "cat stats stats.json metrics pins config help", "head -c 100 stats", "tar cf - . | wc -c",
        "dd if=stats bs=2M",
      ])
    func pinNothing(transport: String, command: String) throws {
      try withMount(options: "transport=\(transport)", imageSizeBytes: 1 << 20) { mount in
        let directory = URL(filePath: mount.controlFile(""))
        let taken = try pinsTaken { try shell(command + ">/dev/null", in: directory).checked() }
        #expect(taken == 0)
      }
    }

    @Test(
      "are read by the command, and in one large piece, without pins",
      .needs(.fuse, .root, .pinCounters), arguments: Transport.present)
    func commandPinsNothing(transport: String) throws {
      try withMount(options: "transport=\(transport)", imageSizeBytes: 1 << 20) { mount in
        let program = try extractfs()
        for command in ["stats", "metrics"] {
          let taken = try pinsTaken {
            try run([program, command, mount.directory.path]).checked()
          }
          #expect(taken == 0, "\(command)")
        }
        let buffer = AlignedBuffer(count: 2 << 20)
        let taken = try pinsTaken {
          for name in ["stats", "stats.json", "metrics", "pins", "config"] {
            let file = try OpenFile(mount.controlFile(name))
            try #require(try file.read(into: buffer, count: buffer.count, at: 0) > 0)
          }
        }
        #expect(taken == 0)
      }
    }

    @Test(
      "tell the most pages pinned at one moment, not the sum of several",
      .needs(.fuse, .directIO), arguments: Transport.present,
      [[1 << 20, 64 << 10], [64 << 10, 1 << 20]])
    func pinnedMaximum(transport: String, sizes: [Int]) throws {
      try withMount(options: "transport=\(transport)", imageSizeBytes: 4 << 20) { mount in
        let cpus = try allowedCPUs()
        var expected = 0
        for bytes in sizes {
          expected = max(expected, bytes / 4096)
          // One request at a time, now from one CPU, now from another, so that all workers have had some.
          for round in 0..<64 {
            try onCPU(cpus[round % cpus.count]) {
              try OpenFile(mount.disk, [.write, .direct]).fill(1, count: bytes)
            }
          }
          #expect(try mount.statistics()["sim_pages_pinned_max"] == expected)
        }
      }
    }

    /// Workers that sleep in the ring count as programs blocked by I/O, unless they say otherwise.
    @Test(
      "of the machine show nobody blocked by I/O while a mount is idle", .needs(.fuse),
      arguments: Transport.present, ["", ",workers=1", ",backend=sync"])
    func idle(transport: String, more: String) throws {
      let before = try fewestBlocked()
      try withMount(options: "transport=\(transport)\(more)", imageSizeBytes: 1 << 20) { mount in
        try ProcessWatch(mount.processIdentifier()).awaitSleep()
        #expect(try fewestBlocked() <= before)
        try OpenFile(mount.disk, [.write, .direct]).fill(1, count: 1 << 20)
        try ProcessWatch(mount.processIdentifier()).awaitSleep()
        #expect(try fewestBlocked() <= before)
      }
    }

    /// The fewest processes that the kernel calls blocked by I/O, at any of many looks.
    private func fewestBlocked() throws -> Int {
      var fewest = Int.max
      for _ in 0..<2000 where fewest > 0 {
        let text = try String(contentsOfFile: "/proc/stat", encoding: .utf8)
        let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("procs_blocked") })
        fewest = min(fewest, try #require(Int(line.split(separator: " ")[1])))
        sched_yield()
      }
      return fewest
    }

    private struct Figures: Decodable {
      struct Histogram: Decodable {
        var count: Int
        var buckets: [[Int]]
      }
      var histograms: [String: Histogram]
    }

    @Test(
      "count no failed request as one that took no time", .needs(.fuse, .directIO),
      arguments: Transport.present, WriteInterface.allCases)
    func failures(transport: String, by interface: WriteInterface) throws {
      try withMount(options: "transport=\(transport)", imageSizeBytes: 1 << 20) { mount in
        let disk = try OpenFile(mount.disk, [.write, .direct])
        let data = AlignedBuffer(count: 4096)
        for _ in 0..<20 {
          #expect(try interface.write(disk, from: data, count: 4096, at: 1 << 20) < 0)
          #expect(try interface.write(disk, from: data, count: 4096, at: 0) == 4096)
        }
        let text = Data(try mount.read("stats.json").utf8)
        let figures = try JSONDecoder().decode(Figures.self, from: text)
        let latency = try #require(figures.histograms["latency_ns"])
        #expect(latency.buckets.allSatisfy { $0[0] > 4 }, "\(latency.buckets)")
        #expect(latency.buckets.reduce(0) { $0 + $1[1] } == latency.count)
        #expect(latency.count >= 20)
      }
    }

    @Test(
      "and -d shows every read and write", .needs(.fuse, .directIO), arguments: Transport.present)
    func tracing(transport: String) throws {
      try withTemporaryDirectory { scratch in
        try makeSparseFile(scratch.appending(path: "image"), sizeBytes: 1 << 20)
        let script = """
          mkdir mnt; mkfifo said
          "$1" mount image mnt -f -d -o transport=$2 >said 2>&1 &
          exec 3<said
          while read -r line <&3; do case $line in *"extractfs: mounted"*) break ;; esac; done
          cat <&3 >log &
          dd if=mnt/disk of=/dev/null bs=8k count=2 iflag=direct 2>/dev/null
          dd if=/dev/zero of=mnt/disk bs=4k count=3 oflag=direct conv=notrunc 2>/dev/null
          fusermount3 -u mnt; wait
          test $(grep -cw READ log) -ge 2 || { cat log; exit 1; }
          test $(grep -cw WRITE log) -ge 3 || { cat log; exit 1; }
          """
        defer { forceUnmount(scratch.appending(path: "mnt")) }
        try run(
          ["bash", "-c", script, "bash", extractfs(), transport], in: scratch, limitSeconds: 30
        )
        .checked()
      }
    }
  }
}
