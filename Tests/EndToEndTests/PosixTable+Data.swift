// Part B, continued: what data does where files can grow, shrink, and run out of space.

import CSystem
import Foundation
import TestSupport

extension PosixTable {
  static let treeData: [PosixCheck] = [
    PosixCheck("a file grows by writing, and zeros fill what was left out") { place in
      let file = try place.make("a", 1, count: 100)
      try file.fill(2, count: 5000, at: 70001)
      try require(try file.sizeBytes() == 75001)
      try require(try holdsOnly(1, file.content(count: 100)))
      try require(try holdsOnly(0, file.content(count: 69901, at: 100)))
      let direct = try OpenFile(place["a"], [.write, .direct])
      try direct.fill(3, count: 4096, at: 1 << 20)
      try require(try file.sizeBytes() == 1 << 20 + 4096)
      try require(try holdsOnly(0, file.content(count: 4096, at: 500_000 & ~4095)))
    },
    PosixCheck("what is cut off is zero when the file grows again") { place in
      let file = try place.make("a", 9, count: 20000)
      for size in [5001, 4096, 1, 0] {
        try file.fill(9, count: 20000)
        try file.resize(to: size)
        try require(try file.sizeBytes() == size)
        try file.resize(to: 20000)
        try require(try holdsOnly(9, file.content(count: size)), "\(size) kept")
        for flags: OpenFlags in [[], .direct] {
          let reader = try OpenFile(place["a"], flags)
          let tail = AlignedBuffer(count: 20480)
          try require(try reader.read(into: tail, count: 20480, at: 0) == 20000)
          try require((size..<20000).allSatisfy { tail[$0] == 0 }, "\(size): old bytes")
        }
      }
      try refuses(EINVAL) { try file.resize(to: -1) }
      try refuses(EINVAL, EBADF) { try OpenFile(place["a"]).resize(to: 0) }
    },
    PosixCheck("a mapping sees zeros past the end, and what is written there is not kept") {
      place in
      let file = try place.make("a", 1, count: 5000)
      let mapping = try FileMapping(of: file, count: 8192)
      let data = AlignedBuffer(count: 8192)
      mapping.read(into: data, count: 8192, at: 0)
      try require((5000..<8192).allSatisfy { data[$0] == 0 })
      data.fill(with: 7)
      mapping.write(from: data, count: 3000, at: 5192)
      try mapping.synchronize(count: 8192, at: 0)
      try file.resize(to: 8192)
      try require(try holdsOnly(0, file.content(count: 3192, at: 5000)))
      mapping.write(from: data, count: 100, at: 8000)
      try require(try holdsOnly(7, file.content(count: 100, at: 8000)))
    },
    PosixCheck("O_TRUNC empties, and a shorter content is the whole content") { place in
      try place.make("a", 1, count: 100_000)
      let file = try OpenFile(place["a"], [.write, .truncate])
      try require(try file.sizeBytes() == 0)
      try file.fill(2, count: 10)
      try require(try holdsOnly(2, OpenFile(place["a"]).content(count: 10)))
      try require(try OpenFile(place["a"]).sizeBytes() == 10)
      try file.resize(to: 100_000)
      try require(try holdsOnly(0, file.content(count: 99_990, at: 10)))
    },
    PosixCheck("holes are told, read as zeros, and are filled by writing") { place in
      let file = try place.make("a")
      try file.resize(to: 4 << 20)
      try file.fill(1, count: 65536, at: 1 << 20)
      try file.fill(1, count: 65536, at: 3 << 20)
      try file.synchronize()
      try require(try file.nextData(from: 0) ?? -1 <= 1 << 20)
      try require(try file.nextHole(from: 1 << 20) ?? -1 >= 1 << 20 + 65536)
      try require(try file.nextData(from: 3 << 20) == 3 << 20)
      try require(try holdsOnly(0, file.content(count: 1 << 20)))
      // Whatever is called a hole holds zeros.
      var offset = 0
      while let hole = try file.nextHole(from: offset), hole < 4 << 20 {
        let end = try file.nextData(from: hole) ?? 4 << 20
        try require(try holdsOnly(0, file.content(count: end - hole, at: hole)))
        offset = end
      }
      try file.fill(5, count: 3, at: 2 << 20)
      try require(try holdsOnly(0, file.content(count: 1000, at: 2 << 20 + 3)))
    },
    PosixCheck("fallocate allocates, keeps or grows the size, punches and zeroes") { place in
      let file = try place.make("a", 1, count: 10000)
      try system(SYS_fallocate, file, 0, 0, 20000)
      try require(
        try file.sizeBytes() == 20000 && holdsOnly(0, file.content(count: 10000, at: 10000)))
      try system(SYS_fallocate, file, 1, 20000, 50000)
      try require(try file.sizeBytes() == 20000)
      try file.change(.punchHole, at: 5, count: 9000)
      try require(try holdsOnly(0, file.content(count: 9000, at: 5)))
      try require(try holdsOnly(1, file.content(count: 995, at: 9005)))
      try file.change(.zeroRange, at: 19000, count: 5000)
      try require(try file.sizeBytes() == 24000)
      try file.change(.zeroRangeKeepingSize, at: 23000, count: 5000)
      try require(try file.sizeBytes() == 24000)
      try file.fill(6, count: 24000)
      try require(try holdsOnly(6, file.content(count: 24000)))
    },
    PosixCheck("offsets beyond 4 GiB are offsets, and not their lower half") { place in
      let file = try place.make("a", 1, count: 4096)
      let far = 5 << 30
      try file.fill(2, count: 5000, at: far + 100)
      try require(try file.sizeBytes() == far + 5100)
      try require(try holdsOnly(1, file.content(count: 4096)))
      try require(try holdsOnly(2, file.content(count: 5000, at: far + 100)))
      try require(try holdsOnly(0, file.content(count: 5000, at: 1 << 30)))
      try require(try Int(place.status("a").st_blocks) < 1 << 20, "not sparse")
      try refuses(EINVAL) { try file.fill(1, count: 1, at: -5) }
    },
    PosixCheck("copy_file_range copies between files") { place in
      let (from, to) = (try place.make("a", 3, count: 300_000), try place.make("b"))
      var copied = 0
      while copied < 300_000 {
        let count = try system(SYS_copy_file_range, from, 0, to, 0, 300_000 - copied, 0)
        try require(count > 0)
        copied += count
      }
      try require(try to.sizeBytes() == 300_000 && holdsOnly(3, to.content(count: 300_000)))
      try require(try system(SYS_copy_file_range, from, 0, to, 0, 10, 0) == 0)
    },
    PosixCheck("appends of two processes do not overwrite one another") { place in
      try place.make("log")
      let line = "sh -c 'i=0; while [ $i -lt 200 ]; do echo $0$0$0$0$0$0$0 >>log; i=$((i+1)); done'"
      try shell("\(line) a & \(line) b; wait", in: URL(filePath: place.directory)).checked()
      let text = try String(contentsOfFile: place["log"], encoding: .utf8)
      let lines = text.split(separator: "\n")
      try require(lines.count == 400 && lines.allSatisfy { ["aaaaaaa", "bbbbbbb"].contains($0) })
      let file = try OpenFile(place["log"], .append)
      try system(SYS_pwrite64, file, [UInt8](repeating: 1, count: 4), 4, 0)
      try require(try file.sizeBytes() == 3204)
    },
    PosixCheck("a full volume says so, loses nothing, and has its space back afterwards") { place in
      var one = statvfs()
      let answer = unsafe statvfs(place.directory, &one)
      if answer != 0 { throw SystemFailure("statvfs") }
      let free = Int(one.f_bfree) * Int(one.f_frsize)
      // A large volume is not filled: a test must not fill the machine's disk.
      guard free < 1 << 30 else { return }
      try place.make("kept", 5, count: 1 << 20).synchronize()
      let file = try OpenFile(place["filler"], [.write, .create, .direct])
      let data = AlignedBuffer(count: 1 << 20)
      var written = 0
      try refuses(ENOSPC) {
        while written < 2 << 30 {
          let count = try system(SYS_pwrite64, file, data, data.count, written)
          if count == 0 { break }
          written += count
        }
      }
      try require(written > 0 && file.sizeBytes() >= written)
      try require(try holdsOnly(5, OpenFile(place["kept"]).content(count: 1 << 20)))
      try OpenFile(place["kept"], .write).fill(6, count: 1 << 20)
      try place.unlink("filler")
      _ = consume file
      try place.make("again", 7, count: 1 << 20).synchronize()
      try require(try holdsOnly(6, OpenFile(place["kept"]).content(count: 1 << 20)))
    },
    PosixCheck("mapped, buffered and direct writers of one growing file agree") { place in
      let file = try place.make("a")
      let direct = try OpenFile(place["a"], [.write, .direct])
      for round in 0..<16 {
        let value = UInt8(round + 1)
        try (round % 2 == 0 ? file : direct).fill(value, count: 8192, at: round * 8192)
        try file.resize(to: (round + 1) * 8192)
        let mapping = try FileMapping(of: file, count: (round + 1) * 8192)
        let found = AlignedBuffer(count: 8192)
        mapping.read(into: found, count: 8192, at: round * 8192)
        try require(holdsOnly(value, found), "round \(round)")
        found.fill(with: value &+ 100)
        mapping.write(from: found, count: 4096, at: round * 8192)
        try require(try holdsOnly(value &+ 100, direct.content(count: 4096, at: round * 8192)))
      }
    },
  ]
}
