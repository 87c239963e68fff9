// What changes the image goes through one gate: in order with writes of parts of blocks, and closed by a freeze.

import CSystem
import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("Whatever changes the image")
  struct GateTests {
    /// Changes of a range that must not be undone by a write of a part of a block in it.
    enum Change: String, CaseIterable {
      case punchHole, zeroRange, zeroRangeKeepingSize, passThrough

      var value: UInt8 { self == .passThrough ? 0x77 : 0 }

      func apply(to file: OpenFile, count: Int) throws {
        switch self {
        case .punchHole: try file.change(.punchHole, at: 0, count: count)
        case .zeroRange: try file.change(.zeroRange, at: 0, count: count)
        case .zeroRangeKeepingSize: try file.change(.zeroRangeKeepingSize, at: 0, count: count)
        case .passThrough:
          for offset in stride(from: 0, to: count, by: 12288) {
            try file.passThroughWrite(0x77, count: min(12288, count - offset), at: offset)
          }
        }
      }
    }

    private let blocks = 64
    private let old: UInt8 = 0xA5
    private let new: UInt8 = 0x5A

    /// Sixty-four writes of 100 bytes, each in the middle of a block of its own, and the change at once. Either may
    /// come first in each block; what lies around the 100 bytes is old only before both.
    @Test(
      "is never undone by writes of parts of blocks that were under way",
      .needs(.fuse, .directIO), arguments: Transport.present, Change.allCases)
    func keepsOrder(transport: String, change: Change) throws {
      let options = "transport=\(transport),block_size=512"
      try withMount(options: options, imageSizeBytes: 1 << 20, limitSeconds: 120) { mount in
        let disk = try OpenFile(mount.disk, [.write, .direct])
        let queue = try AsynchronousQueue(depth: blocks)
        let data = AlignedBuffer(count: blocks * 100)
        data.fill(with: new)
        for round in 0..<24 {
          try disk.fill(old, count: blocks * 4096)
          try queue.write(
            disk, from: data, count: 100, at: (0..<blocks).map { $0 * 4096 + 700 })
          try change.apply(to: disk, count: blocks * 4096)
          #expect(try queue.wait(blocks).allSatisfy { $0 == 100 })
          for path in [mount.disk, mount.image.path] {
            let found = try OpenFile(path, .direct).content(count: blocks * 4096)
            let wrong = (0..<blocks).filter { !isLegal(found, block: $0, change.value) }
            try #require(wrong == [], "round \(round): old bytes in these blocks of \(path)")
          }
        }
      }
    }

    /// Whether a block holds the change, but for the 100 bytes, which are the change's or the write's.
    private func isLegal(_ found: AlignedBuffer, block: Int, _ value: UInt8) -> Bool {
      let start = block * 4096
      let changed = AlignedBuffer(count: 4096)
      changed.fill(with: value)
      return found.holds(changed, at: start, count: 700)
        && found.holds(changed, at: start + 800, count: 4096 - 800)
        && found.bytes(start + 700..<start + 800).allSatisfy { $0 == value || $0 == new }
    }

    /// What a program may try on a frozen mount.
    enum Attempt: String, CaseIterable {
      case punchHole, zeroRange, passThrough, directWrite, directPart, bufferedWrite, mappedWrite

      func perform(_ mount: Mount) throws {
        let disk = try OpenFile(mount.disk, .write)
        let direct = try OpenFile(mount.disk, [.write, .direct])
        switch self {
        case .punchHole: try disk.change(.punchHole, at: 4096, count: 8192)
        case .zeroRange: try disk.change(.zeroRange, at: 4096, count: 8192)
        case .passThrough: try disk.passThroughWrite(1, count: 4096, at: 4096)
        case .directWrite: try direct.fill(1, count: 4096, at: 4096)
        case .directPart: try direct.fill(1, count: 100, at: 4200)
        case .bufferedWrite:
          try disk.fill(1, count: 5000, at: 4096)
          try disk.synchronize()
        case .mappedWrite:
          let mapping = try FileMapping(of: disk, count: 65536)
          mapping.write(from: AlignedBuffer(count: 100), count: 100, at: 8192)
          try mapping.synchronize(count: 100, at: 8192)
        }
      }
    }

    @Test(
      "leaves the image alone while the mount is frozen, and goes through after the thaw",
      .needs(.fuse, .directIO, .root), arguments: Transport.present, Attempt.allCases)
    func isHeld(transport: String, attempt: Attempt) throws {
      let options = "transport=\(transport),block_size=512"
      try withMount(options: options, imageSizeBytes: 1 << 20, limitSeconds: 60) { mount in
        try OpenFile(mount.disk, [.write, .direct]).fill(old, count: 1 << 20)
        // No program is started meanwhile: it would close what this process has open, and so wait for changed pages.
        let before = try image(of: mount)
        try FuseConnection.of(mount) { connection in
          try mount.control("freeze")
          let client = Background { _ in try attempt.perform(mount) }
          try connection.awaitStandstill(orEndOf: [client])
          let isSame = try before.holds(image(of: mount), at: 0, count: 1 << 20)
          #expect(isSame, "changed while frozen")
          try mount.control("thaw")
          try client.wait(limitSeconds: 30)
        }
        #expect(try !before.holds(image(of: mount), at: 0, count: 1 << 20), "lost")
      }
    }

    /// The image's own bytes, past every cache but the host's.
    private func image(of mount: Mount) throws -> AlignedBuffer {
      try OpenFile(mount.image.path).content(count: 1 << 20)
    }

    /// Clients that write in every way without end; each has its own 64 KiB.
    private func startWriters(_ mount: Mount) -> [Background] {
      (0..<8).map { client in
        Background(again: true) { round in
          let start = client << 16
          let value = UInt8(truncatingIfNeeded: round)
          let direct = try OpenFile(mount.disk, [.write, .direct])
          switch client % 4 {
          case 0: try direct.fill(value, count: 4096, at: start + round % 16 * 4096)
          case 1: try direct.fill(value, count: 100, at: start + round % 600 * 100)
          case 2:
            let queue = try AsynchronousQueue(depth: 16)
            let data = AlignedBuffer(count: 16 * 512)
            data.fill(with: value)
            try queue.write(direct, from: data, count: 512, at: (0..<16).map { start + $0 * 4096 })
            _ = try queue.wait(16)
          default:
            try direct.fill(value, count: 8192, at: start)
            try direct.change(.punchHole, at: start, count: 4096)
          }
        }
      }
    }

    @Test(
      "has ended when freeze answers, however hard clients write", .needs(.fuse, .directIO, .root),
      arguments: Transport.present)
    func isComplete(transport: String) throws {
      let options = "transport=\(transport),block_size=512"
      try withMount(options: options, imageSizeBytes: 1 << 20, limitSeconds: 120) { mount in
        let clients = startWriters(mount)
        try FuseConnection.of(mount) { connection in
          for round in 0..<20 {
            try clients[round % clients.count].awaitRounds(10)
            try mount.control("freeze")
            let first = try image(of: mount)
            try connection.awaitStandstill(orEndOf: clients)
            let difference = try first.firstDifference(from: image(of: mount), count: 1 << 20)
            try mount.control("thaw")
            try #require(difference == nil, "round \(round): changed after freeze had answered")
          }
        }
        for client in clients { try endTolerant(client) }
        #expect(try mount.statistics().imbalances == [])
      }
    }

    /// The ring transport may tell a program to try again.
    private func endTolerant(_ client: Background) throws {
      do { try client.stop() } catch let failure as SystemFailure where failure.code == EAGAIN {}
    }

    @Test(
      "can be frozen under endless readers, and stats be read meanwhile",
      .needs(.fuse, .directIO, .fio), arguments: Transport.present,
      ["--ioengine=psync --numjobs=8 --bs=128k", "--ioengine=libaio --iodepth=64 --bs=4k"])
    func isBounded(transport: String, load: String) throws {
      try withMount(options: "transport=\(transport)", imageSizeBytes: 64 << 20, limitSeconds: 120)
      { mount in
        // What waits for readers waits for as long as they read, here 100 s; a busy machine needs no more than this.
        let bound = Duration.seconds(10)
        let before = try mount.statistics()
        let readers = try ClientProcess(
          [
            "fio", "--filename=\(mount.disk)", "--direct=1", "--rw=randread", "--size=64M",
            "--time_based", "--runtime=100", "--thread", "--allow_file_create=0", "--name=load",
          ] + load.split(separator: " ").map(String.init))
        defer { readers.end() }
        while try mount.statistics().change(of: "requests_read", since: before) < 1000 {}
        for _ in 0..<4 {
          let looker = Background(again: true) { _ in
            let seconds = try duration { _ = try mount.statistics() }
            if seconds > bound { throw TestFailure("stats took \(seconds)") }
          }
          try looker.awaitRounds(1)
          let seconds = try duration { try mount.control("freeze") }
          #expect(seconds < bound)
          try looker.awaitRounds(1)
          try mount.control("thaw")
          try looker.stop()
        }
      }
    }

    private func duration(_ body: () throws -> Void) rethrows -> Duration {
      let clock = ContinuousClock()
      return try clock.measure(body)
    }
  }
}
