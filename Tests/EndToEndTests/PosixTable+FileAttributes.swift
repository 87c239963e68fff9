// Part A, continued: what is told of a file and of the directory that it is in.

import CSystem
import Foundation
import TestSupport

/// Sets times by utimensat(2); nil leaves the time out of it with UTIME_OMIT.
func setTimes(_ path: String, access: Int?, modification: Int?, nanoseconds: Int = 0) throws {
  let omit = (1 << 30) - 2
  let set = AlignedBuffer(count: 32)
  for (index, time) in [access, modification].enumerated() {
    set.store(Int64(time ?? 0), at: index * 16)
    set.store(Int64(time == nil ? omit : nanoseconds), at: index * 16 + 8)
  }
  try system(SYS_utimensat, AT_FDCWD, path, set, 0x100)
}

extension PosixTable {
  static let fileAttributes: [PosixCheck] = [
    PosixCheck("times can be set, left out, and set to now") { place in
      try setTimes(place.file, access: 1_000_000_000, modification: 1_100_000_000, nanoseconds: 5)
      var status = try fileStatus(place.file)
      try require(status.st_mtim.nanoseconds == 1_100_000_000_000_000_005)
      try require(status.st_atim.tv_sec == 1_000_000_000)
      try setTimes(place.file, access: nil, modification: 1_200_000_000)
      status = try fileStatus(place.file)
      try require(status.st_atim.tv_sec == 1_000_000_000 && status.st_mtim.tv_sec == 1_200_000_000)
      try setTimes(place.file, access: 1_300_000_000, modification: nil)
      status = try fileStatus(place.file)
      try require(status.st_atim.tv_sec == 1_300_000_000 && status.st_mtim.tv_sec == 1_200_000_000)
      try system(SYS_utimensat, AT_FDCWD, place.file, 0, 0)
      try require(try fileStatus(place.file).st_mtim.tv_sec > 1_500_000_000)
      try refuses(EINVAL) {
        try setTimes(place.file, access: 1, modification: 1, nanoseconds: 1_000_000_000)
      }
      let file = try OpenFile(place.file, .write)
      try system(SYS_utimensat, file, 0, 0, 0)
    },
    PosixCheck("a write sets mtime and ctime, a read does not") { place in
      try setTimes(place.file, access: 1_000_000_000, modification: 1_000_000_000)
      let before = try fileStatus(place.file)
      let file = try OpenFile(place.file, .write)
      _ = try file.content(count: 4096)
      try require(try fileStatus(place.file).st_mtim.tv_sec == 1_000_000_000)
      try file.fill(1, count: 10)
      let after = try fileStatus(place.file)
      try require(after.st_mtim.tv_sec > 1_500_000_000, "mtime")
      try require(after.st_ctim.nanoseconds >= before.st_ctim.nanoseconds, "ctime")
    },
    PosixCheck("stat, fstat and statx agree") { place in
      let file = try OpenFile(place.file)
      let (one, other) = (try fileStatus(place.file), try fileStatus(file))
      let extended = AlignedBuffer(count: 256)
      try system(SYS_statx, AT_FDCWD, place.file, 0, 0x7FF, extended)
      try require(one.st_ino == other.st_ino && one.st_size == other.st_size)
      try require(one.st_mode == other.st_mode && one.st_nlink == other.st_nlink)
      try require(one.st_mtim.nanoseconds == other.st_mtim.nanoseconds)
      try require(extended.load(32, as: UInt64.self) == UInt64(one.st_ino))
      try require(extended.load(40, as: Int.self) == Int(one.st_size))
      try require(extended.load(28, as: UInt16.self) == UInt16(one.st_mode))
      try require(extended.load(16, as: UInt32.self) == UInt32(one.st_nlink))
      try require(extended.load(4, as: UInt32.self) == UInt32(one.st_blksize))
      try require(extended.load(112, as: Int.self) == one.st_mtim.tv_sec)
      try require(one.st_size == PosixPlace.fileBytes && one.st_mode & 0o170000 == 0o100000)
    },
    PosixCheck("access agrees with the mode, for others too") { place in
      try system(SYS_access, place.file, R_OK | W_OK)
      try refuses(EACCES) { try system(SYS_access, place.file, X_OK) }
      try system(SYS_access, place.directory, X_OK | R_OK)
      let mode = try fileStatus(place.file).st_mode
      try asUser(65534) {
        if mode & 0o004 != 0 { try system(SYS_access, place.file, R_OK) }
        if mode & 0o002 == 0 {
          try refuses(EACCES) { try system(SYS_access, place.file, W_OK) }
          try refuses(EACCES) { _ = try OpenFile(place.file, .write) }
        }
      }
    },
    PosixCheck("a directory can be read in small pieces and from any place again") { place in
      let directory = try OpenFile(place.directory)
      let all = try directoryEntries(directory)
      try require(Set(all.map(\.name)).isSuperset(of: [".", ".."]))
      try require(all.count == Set(all.map(\.name)).count, "a name comes twice")
      try system(SYS_lseek, directory, 0, SEEK_SET)
      try require(try directoryEntries(directory, bufferBytes: 280) == all, "small pieces")
      for (index, entry) in all.enumerated() {
        try system(SYS_lseek, directory, entry.next, SEEK_SET)
        try require(try directoryEntries(directory) == Array(all[(index + 1)...]), entry.name)
      }
      try system(SYS_lseek, directory, 0, SEEK_SET)
      try refuses(EINVAL) { _ = try directoryEntries(directory, bufferBytes: 20) }
      let inode = try fileStatus(place.file).st_ino
      try require(all.contains { $0.inode == UInt64(inode) && $0.type == 8 })
    },
    PosixCheck("statvfs tells sizes that the file fits into") { place in
      var one = statvfs()
      let answer = unsafe statvfs(place.file, &one)
      if answer != 0 { throw SystemFailure("statvfs") }
      try require(one.f_frsize > 0 && one.f_bsize > 0 && one.f_namemax >= 255)
      try require(Int(one.f_blocks) * Int(one.f_frsize) >= PosixPlace.fileBytes)
      try require(one.f_bfree <= one.f_blocks && one.f_bavail <= one.f_bfree)
    },
    PosixCheck("open keeps to what the flags say of the kind of file") { place in
      try refuses(ENOTDIR) { _ = try OpenFile(place.file, .directory) }
      try refuses(ENOTDIR) { _ = try OpenFile(place.file + "/x") }
      try refuses(ENOTDIR) { _ = try OpenFile(place.file + "/") }
      try refuses(ENOTDIR) { _ = try OpenFile(place.file + "/..") }
      try refuses(EISDIR) { _ = try OpenFile(place.directory, .write) }
      let data = AlignedBuffer(count: 4096)
      try refuses(EISDIR) { try system(SYS_read, try OpenFile(place.directory), data, 4096) }
      let handle = try OpenFile(place.file, .path)
      try refuses(EBADF) { try system(SYS_read, handle, data, 10) }
      try require(try fileStatus(handle).st_size == PosixPlace.fileBytes)
      do {
        _ = try OpenFile(place.directory, OpenFlags(rawValue: 0o20000000 | O_DIRECTORY | O_RDWR))
      } catch let failure as SystemFailure {
        try require([EOPNOTSUPP, EISDIR, ENOENT, EROFS, EPERM].contains(failure.code), "O_TMPFILE")
      }
      try refuses(EEXIST) { _ = try OpenFile(place.file, .exclusive) }
    },
    PosixCheck("names may be long and of any bytes, and those that are not there are not") {
      place in
      try refuses(ENOENT) { _ = try fileStatus(place[String(repeating: "n", count: 255)]) }
      try refuses(ENAMETOOLONG) { _ = try fileStatus(place[String(repeating: "n", count: 256)]) }
      try refuses(ENAMETOOLONG) { _ = try OpenFile(place[String(repeating: "n", count: 256)]) }
      for tail: [UInt8] in [
        [0xFF, 0xFE], [0xC0, 0x80], [10], [0x5C], [0x2A], [0xED, 0xA0, 0x80],
      ] {
        let path = Array((place.directory + "/").utf8) + tail + [0]
        try refuses(ENOENT) { try system(SYS_openat, AT_FDCWD, path, O_RDONLY, 0) }
      }
      try refuses(ENOENT) { try system(SYS_openat, AT_FDCWD, "", O_RDONLY, 0) }
      let name = place.file.split(separator: "/").last.map(String.init) ?? ""
      let direct = try fileStatus(place.file).st_ino
      for way in ["./\(name)", ".//./\(name)"] {
        try require(try fileStatus(place[way]).st_ino == direct)
      }
      try require(try fileStatus(place["."]).st_ino == fileStatus(place.directory).st_ino)
    },
    PosixCheck("extended attributes that are not there are not there") { place in
      let buffer = AlignedBuffer(count: 256)
      try refuses(ENODATA, EOPNOTSUPP) {
        try system(SYS_getxattr, place.file, "user.nothing", buffer, 256)
      }
      try refuses(ENODATA, EOPNOTSUPP, EPERM) {
        try system(SYS_removexattr, place.file, "user.nothing")
      }
    },
    PosixCheck("advice is taken, and the file is always ready") { place in
      let file = try OpenFile(place.file, .write)
      for advice in 0...5 { try system(SYS_fadvise64, file, 0, 65536, advice) }
      try system(SYS_readahead, file, 0, 65536)
      let poll = AlignedBuffer(count: 8)
      poll.store(CInt(file.withWord { $0 }), at: 0)
      poll.store(UInt16(5), at: 4)
      let time = AlignedBuffer(count: 16)
      try require(try system(SYS_ppoll, poll, 1, time, 0, 8) == 1)
      try require(poll.load(6, as: UInt16.self) & 5 == 5)
    },
  ]
}
