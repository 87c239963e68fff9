// Part A: what a single file's data does, however it is reached. The file keeps its size.

import Memory
import CSystem
import Foundation
import TestSupport

/// A seeded buffer.
private func randomBytes(_ count: Int, seed: UInt64) -> AlignedBuffer {
  let buffer = AlignedBuffer(count: count)
  var generator = SeededGenerator(seed: seed)
  buffer.fill(count: count, using: &generator)
  return buffer
}

/// Writes by one descriptor and expects the same bytes by another.
private func roundTrip(_ writer: OpenFile, _ reader: OpenFile, at offset: Int, count: Int) throws {
  let data = randomBytes(count, seed: UInt64(offset &+ count))
  try require(try writer.write(from: data, count: count, at: offset) == count)
  let found = try reader.content(count: count, at: offset)
  try require(found.firstDifference(from: data, count: count) == nil, "\(count) at \(offset)")
}

/// A list of segments for preadv(2) and its kin.
private func vectors(_ parts: [(AlignedBuffer, Int)]) -> AlignedBuffer {
  let list = AlignedBuffer(count: parts.count * 16)
  for (index, part) in parts.enumerated() {
    list.store(part.0.address(), at: index * 16)
    list.store(UInt64(part.1), at: index * 16 + 8)
  }
  return list
}

extension PosixTable {
  static let fileData: [PosixCheck] = [
    PosixCheck("pwrite and pread take any offset and length") { place in
      let file = try OpenFile(place.file, .write)
      for (offset, count) in [(0, 1), (511, 2), (4095, 4098), (65537, 70001), (1 << 20, 2 << 20)] {
        try roundTrip(file, file, at: offset, count: count)
      }
    },
    PosixCheck("read and write advance the offset that descriptors of dup share") { place in
      let file = try OpenFile(place.file, .write)
      let twin = try system(SYS_dup, file)
      defer { _ = try? system(SYS_close, twin) }
      let data = AlignedBuffer(count: 100)
      try system(SYS_write, file, data, 100)
      try require(try system(SYS_lseek, twin, 0, SEEK_CUR) == 100)
      try system(SYS_read, twin, data, 50)
      try require(try system(SYS_lseek, file, 0, SEEK_CUR) == 150)
      try file.read(into: data, count: 10, at: 5000)
      try require(try system(SYS_lseek, file, 0, SEEK_CUR) == 150, "pread moved it")
    },
    PosixCheck("O_APPEND writes at the end or finds no space, whatever offset is given") { place in
      let file = try OpenFile(place.file, .append)
      let first = try file.content(count: 4096)
      let data = randomBytes(512, seed: 9)
      do {
        try system(SYS_pwrite64, file, data, 512, 0)
        try require(try file.sizeBytes() == PosixPlace.fileBytes + 512)
        try OpenFile(place.file, .write).resize(to: PosixPlace.fileBytes)
      } catch let failure as SystemFailure { try require(failure.code == ENOSPC) }
      let found = try file.content(count: 4096)
      try require(found.firstDifference(from: first, count: 4096) == nil)
    },
    PosixCheck("preadv and pwritev move segments of any length at any offset") { place in
      let file = try OpenFile(place.file, .write)
      let (a, b) = (randomBytes(5000, seed: 1), randomBytes(333, seed: 2))
      let list = vectors([(a, 5000), (a, 0), (b, 333), (a, 1)])
      try require(try system(SYS_pwritev, file, list, 4, 777, 0) == 5334)
      let (c, d) = (AlignedBuffer(count: 17), AlignedBuffer(count: 5317))
      try require(try system(SYS_preadv, file, vectors([(c, 17), (d, 5317)]), 2, 777, 0) == 5334)
      try require(a.holds(c, at: 0, count: 17) && d[5316] == a[0] && d[4983] == b[0])
      try refuses(EINVAL) { try system(SYS_preadv, file, list, -1, 0, 0) }
    },
    PosixCheck("a shared mapping and read and write see the same bytes") { place in
      let file = try OpenFile(place.file, .write)
      let direct = try OpenFile(place.file, [.write, .direct])
      let mapping = try FileMapping(of: file, count: 1 << 20)
      let (data, found) = (randomBytes(8192, seed: 3), AlignedBuffer(count: 8192))
      for (writer, offset) in [(file, 4096), (direct, 16384), (file, 5000), (direct, 32768)] {
        mapping.read(into: found, count: 8192, at: offset)
        try writer.write(from: data, count: 8192, at: offset)
        mapping.read(into: found, count: 8192, at: offset)
        try require(found.firstDifference(from: data, count: 8192) == nil, "write at \(offset)")
      }
      for reader in [file, direct] {
        data.fill(with: data[0] &+ 1)
        mapping.write(from: data, count: 8192, at: 65536)
        let found = try reader.content(count: 8192, at: 65536)
        try require(found.firstDifference(from: data, count: 8192) == nil, "read of a mapping")
      }
    },
    PosixCheck("a private mapping keeps its changes to itself") { place in
      let file = try OpenFile(place.file, .write)
      try file.fill(7, count: 4096)
      let address = try system(
        SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, Int(MAP_PRIVATE), file, 0)
      defer { _ = try? system(SYS_munmap, address, 4096) }
      // The kernel itself writes to the mapping: read(2) into it.
      try system(SYS_pread64, try OpenFile("/dev/zero"), address, 4096, 0)
      try system(SYS_msync, address, 4096, CInt(MS_SYNC))
      try require(try holdsOnly(7, file.content(count: 4096)))
      try refuses(EINVAL) { try system(SYS_msync, address + 1, 4096, CInt(MS_SYNC)) }
      try refuses(EACCES) {
        let reader = try OpenFile(place.file)
        try system(SYS_mmap, 0, 4096, PROT_WRITE, Int(MAP_SHARED), reader, 0)
      }
    },
    PosixCheck("fsync and its kin work on files and directories, open for reading too") { place in
      for path in [place.file, place.directory] {
        let file = try OpenFile(path)
        for number in [SYS_fsync, SYS_fdatasync, SYS_syncfs] { try system(number, file) }
      }
      let file = try OpenFile(place.file, .write)
      try file.fill(1, count: 8192)
      try system(SYS_sync_file_range, file, 0, 8192, 7)
    },
    PosixCheck("lseek knows its whences and refuses what lies before the start") { place in
      let (file, size) = (try OpenFile(place.file), PosixPlace.fileBytes)
      try require(try system(SYS_lseek, file, 100, SEEK_SET) == 100)
      try require(try system(SYS_lseek, file, -50, SEEK_CUR) == 50)
      try require(try system(SYS_lseek, file, 10, SEEK_END) == size + 10)
      for (offset, whence) in [(-1, 0), (-size - 1, 2), (0, 99)] {
        try refuses(EINVAL) { try system(SYS_lseek, file, offset, whence) }
      }
      for whence in [3, 4] {
        try refuses(ENXIO) { try system(SYS_lseek, file, size, whence) }
        try refuses(ENXIO) { try system(SYS_lseek, file, -1, whence) }
      }
    },
    PosixCheck("holes read as zeros and end where data begins") { place in
      let file = try OpenFile(place.file, .write)
      try file.fill(1, count: 4 << 20)
      try file.change(.punchHole, at: 1 << 20, count: 1 << 20)
      try file.synchronize()
      let hole = try file.nextHole(from: 0) ?? 0
      try require(hole >= 1 << 20 && hole <= PosixPlace.fileBytes)
      if hole == 1 << 20 { try require(try file.nextData(from: hole) == 2 << 20) }
      try require(try holdsOnly(0, file.content(count: 1 << 20, at: 1 << 20)))
      try require(try holdsOnly(1, file.content(count: 1 << 20, at: 2 << 20)))
      try require(try file.nextData(from: 2 << 20) == 2 << 20)
    },
    PosixCheck("punch and zero keep what lies beside them, to the byte") { place in
      let file = try OpenFile(place.file, .write)
      let direct = try OpenFile(place.file, [.write, .direct])
      for mode in [AllocationMode.punchHole, .zeroRangeKeepingSize] {
        try file.fill(9, count: 1 << 20)
        try file.change(mode, at: 4097, count: 20000)
        for reader in [file, direct] {
          let found = try reader.content(count: 65536)
          let isRight = (0..<65536).allSatisfy {
            found[$0] == ((4097..<24097).contains($0) ? 0 : 9)
          }
          try require(isRight, "\(mode)")
        }
      }
      try require(try file.sizeBytes() == PosixPlace.fileBytes)
      try refuses(EINVAL) { try file.change(.punchHole, at: 0, count: 0) }
      try refuses(EINVAL) { try file.change(.punchHole, at: -1, count: 10) }
      try refuses(EBADF) { try OpenFile(place.file).change(.punchHole, at: 0, count: 4096) }
      try refuses(EOPNOTSUPP, EINVAL) { try system(SYS_fallocate, file, 0x40, 0, 4096) }
    },
    PosixCheck("flock and locks of descriptors exclude one another") { place in
      let (one, other) = (try OpenFile(place.file, .write), try OpenFile(place.file, .write))
      try system(SYS_flock, one, LOCK_EX)
      try refuses(EWOULDBLOCK) { try system(SYS_flock, other, LOCK_EX | LOCK_NB) }
      try system(SYS_flock, one, LOCK_UN)
      try system(SYS_flock, other, LOCK_SH | LOCK_NB)
      // F_OFD_SETLK with a struct flock: type, whence, start, length.
      let lock = AlignedBuffer(count: 32)
      lock.store(UInt16(F_WRLCK), at: 0)
      lock.store(Int64(100), at: 8)
      lock.store(Int64(50), at: 16)
      try system(SYS_fcntl, one, 37, lock)
      try refuses(EAGAIN) { try system(SYS_fcntl, other, 37, lock) }
      lock.store(Int64(150), at: 8)
      try system(SYS_fcntl, other, 37, lock)
    },
    PosixCheck("reads end at the end, and nothing is read beyond it") { place in
      let data = AlignedBuffer(count: 8192)
      for flags: OpenFlags in [[], .direct] {
        let (file, size) = (try OpenFile(place.file, flags), PosixPlace.fileBytes)
        try require(try system(SYS_pread64, file, data, 8192, size - 4096) == 4096)
        for offset in [size, size + 4096, 1 << 45] {
          try require(try system(SYS_pread64, file, data, 8192, offset) == 0)
        }
        try require(try system(SYS_pread64, file, data, 0, 0) == 0)
        try refuses(EINVAL) { try system(SYS_pread64, file, data, 10, -1) }
      }
    },
    PosixCheck("a descriptor allows what it was opened for, and memory must be there") { place in
      let data = AlignedBuffer(count: 4096)
      try refuses(EBADF) { try system(SYS_pwrite64, try OpenFile(place.file), data, 10, 0) }
      let writer = try OpenFile(place.file, .writeOnly)
      try refuses(EBADF) { try system(SYS_pread64, writer, data, 10, 0) }
      for flags: OpenFlags in [.write, [.write, .direct]] {
        let file = try OpenFile(place.file, flags)
        try refuses(EFAULT) { try system(SYS_pwrite64, file, 4096, 4096, 0) }
        try file.fill(1, count: 4096)
        try refuses(EFAULT) { try system(SYS_pread64, file, 4096, 4096, 0) }
      }
      try refuses(ENOTTY) { try system(SYS_ioctl, writer, 0x5401, data) }
    },
    PosixCheck("copy_file_range and splice copy the bytes") { place in
      let file = try OpenFile(place.file, .write)
      let data = randomBytes(50000, seed: 4)
      try file.write(from: data, count: 50000, at: 300)
      let (from, to) = (AlignedBuffer(count: 8), AlignedBuffer(count: 8))
      from.store(Int64(300), at: 0)
      to.store(Int64(1 << 20), at: 0)
      while to.load(0, as: Int.self) < 1 << 20 + 50000 {
        let left = 1 << 20 + 50000 - to.load(0, as: Int.self)
        try require(try system(SYS_copy_file_range, file, from, file, to, left, 0) > 0)
      }
      try require(data.holds(try file.content(count: 50000, at: 1 << 20), at: 0, count: 50000))
      to.store(Int64(400), at: 0)
      from.store(Int64(300), at: 0)
      try refuses(EINVAL) { try system(SYS_copy_file_range, file, from, file, to, 1000, 0) }
      let ends = AlignedBuffer(count: 8)
      try system(SYS_pipe2, ends, 0)
      let (reader, writer) = (Int(ends.load(0, as: CInt.self)), Int(ends.load(4, as: CInt.self)))
      defer { for end in [reader, writer] { _ = try? system(SYS_close, end) } }
      from.store(Int64(300), at: 0)
      let moved = try system(SYS_splice, file, from, writer, 0, 5000, 0)
      let found = AlignedBuffer(count: moved)
      try require(try system(SYS_read, reader, found, moved) == moved && moved > 0)
      try require(data.holds(found, at: 0, count: moved))
    },
    PosixCheck("two writers of neighbouring bytes lose nothing") { place in
      for flags: OpenFlags in [.write, [.write, .direct]] {
        try OpenFile(place.file, .write).fill(0, count: 65536)
        try onThreads(4) { index in
          let file = try OpenFile(place.file, flags)
          for step in 0..<64 {
            let offset = step * 1000 + index * 250
            do { try file.fill(UInt8(index + 1), count: 250, at: offset) } catch let failure
              as SystemFailure where failure.code == EINVAL && flags.contains(.direct)
            {
              // Many filesystems want whole blocks.
              try OpenFile(place.file, .write).fill(UInt8(index + 1), count: 250, at: offset)
            }
          }
        }
        let found = try OpenFile(place.file).content(count: 64000)
        try require((0..<64000).allSatisfy { Int(found[$0]) == $0 % 1000 / 250 + 1 }, "\(flags)")
      }
    },
  ]
}
