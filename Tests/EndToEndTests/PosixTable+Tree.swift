// Part B, continued: times, extended attributes, and much of everything.

import CSystem
import Foundation
import TestSupport

private func setAttribute(_ path: String, _ name: String, _ value: [UInt8], flags: Int = 0) throws {
  try system(SYS_setxattr, path, name, value, value.count, flags)
}

private func attribute(_ path: String, _ name: String, limit: Int = 65536) throws -> [UInt8] {
  let buffer = AlignedBuffer(count: 65536)
  return buffer.bytes(0..<(try system(SYS_getxattr, path, name, buffer, limit)))
}

private func attributeNames(_ path: String) throws -> [String] {
  let buffer = AlignedBuffer(count: 65536)
  let count = try system(SYS_listxattr, path, buffer, buffer.count)
  return buffer.bytes(0..<count).split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
    .filter { $0.hasPrefix("user.") }.sorted()
}

extension PosixTable {
  static let treeAttributes: [PosixCheck] = [
    PosixCheck("times keep their nanoseconds, whatever the year") { place in
      try place.make("a")
      for (time, part) in [(1_700_000_000, 123_456_789), (0, 1), (4_000_000_000, 999_999_999)] {
        try setTimes(place["a"], access: time, modification: time, nanoseconds: part)
        let status = try place.status("a")
        for found in [status.st_mtim, status.st_atim] {
          try require(found.tv_sec == time && found.tv_nsec == part, "\(time)")
        }
      }
      try setTimes(place["a"], access: -1000, modification: -1000)
      try require(try place.status("a").st_mtim.tv_sec == -1000, "before 1970")
    },
    PosixCheck("what changes a directory sets its times") { place in
      try place.makeDirectory("d")
      try place.makeDirectory("e")
      try place.make("f")
      for (text, change) in [
        ("make", { try place.make("d/a") }), ("mkdir", { try place.makeDirectory("d/b") }),
        ("link", { try place.link("f", "d/c") }),
        ("symlink", { try system(SYS_symlinkat, "x", AT_FDCWD, place["d/l"]) }),
        ("rename", { try place.rename("d/a", "d/z") }), ("out", { try place.rename("d/z", "e/z") }),
        ("unlink", { try place.unlink("d/l") }), ("rmdir", { try place.removeDirectory("d/b") }),
      ] as [(String, () throws -> Void)] {
        try setTimes(place["d"], access: 1_000_000_000, modification: 1_000_000_000)
        try change()
        try require(try place.status("d").st_mtim.tv_sec > 1_500_000_000, text)
      }
      try require(try place.status("e").st_mtim.tv_sec > 1_500_000_000)
    },
    PosixCheck("a change of mode or links sets ctime and leaves mtime") { place in
      try place.make("a")
      for change in [
        { try place.chmod("a", 0o600) }, { try place.link("a", "b") }, { try place.unlink("b") },
        {
          try place.rename("a", "c"); try place.rename("c", "a")
        },
      ] as [() throws -> Void] {
        try setTimes(place["a"], access: 1_000_000_000, modification: 1_000_000_000)
        let before = try place.status("a").st_ctim.nanoseconds
        try change()
        let after = try place.status("a")
        try require(after.st_mtim.tv_sec == 1_000_000_000 && after.st_ctim.nanoseconds >= before)
      }
    },
    PosixCheck("extended attributes are set, told, listed and removed") { place in
      try place.make("a")
      try place.makeDirectory("d")
      for path in [place["a"], place["d"]] {
        try setAttribute(path, "user.one", [1, 0, 2])
        try setAttribute(path, "user.two", [])
        try require(try attribute(path, "user.one") == [1, 0, 2])
        try require(try attribute(path, "user.two") == [])
        try require(try attributeNames(path) == ["user.one", "user.two"])
        try require(try system(SYS_getxattr, path, "user.one", 0, 0) == 3)
        try refuses(ERANGE) { _ = try attribute(path, "user.one", limit: 2) }
        try refuses(ERANGE) { try system(SYS_listxattr, path, AlignedBuffer(count: 3), 3) }
        try refuses(EEXIST) { try setAttribute(path, "user.one", [9], flags: 1) }
        try refuses(ENODATA) { try setAttribute(path, "user.three", [9], flags: 2) }
        try setAttribute(path, "user.one", [8], flags: 2)
        try require(try attribute(path, "user.one") == [8])
        try system(SYS_removexattr, path, "user.one")
        try refuses(ENODATA) { _ = try attribute(path, "user.one") }
        try refuses(ENODATA) { try system(SYS_removexattr, path, "user.one") }
        try refuses(ERANGE) {
          try setAttribute(path, "user." + String(repeating: "n", count: 251), [1])
        }
        try setAttribute(path, "user." + String(repeating: "n", count: 200), [1])
        try setAttribute(path, "user.kilobyte", [UInt8](repeating: 3, count: 1024))
        try require(try attribute(path, "user.kilobyte").count == 1024)
        try refuses(E2BIG, ENOSPC, ERANGE) {
          try setAttribute(path, "user.huge", [UInt8](repeating: 3, count: 65537))
        }
      }
      try refuses(EOPNOTSUPP) { try setAttribute(place["a"], "nonsense", [1]) }
    },
  ]

  static let treeMany: [PosixCheck] = [
    PosixCheck("five thousand names are each read once, also while others are removed") { place in
      for number in 0..<5000 { try place.make("name-\(number)") }
      let directory = try OpenFile(place.directory)
      let all = try directoryEntries(directory, bufferBytes: 1024).map(\.name)
      try require(all.count == 5002 && Set(all).count == 5002)
      // Read a piece, remove what it told, and so on: every name comes, none twice.
      try system(SYS_lseek, directory, 0, SEEK_SET)
      let buffer = AlignedBuffer(count: 2048)
      var removed = 0
      while true {
        let count = try system(SYS_getdents64, directory, buffer, buffer.count)
        if count == 0 { break }
        var offset = 0
        while offset < count {
          let length = Int(buffer.load(offset + 16, as: UInt16.self))
          let bytes = buffer.bytes(offset + 19..<offset + length).prefix { $0 != 0 }
          let name = String(decoding: bytes, as: UTF8.self)
          if name != "." && name != ".." {
            try place.unlink(name)
            removed += 1
          }
          offset += length
        }
      }
      try require(removed == 5000 && place.names().isEmpty, "\(removed) removed")
    },
    PosixCheck("a place in a directory holds though names come and go") { place in
      for number in 0..<300 { try place.make("\(number)") }
      let directory = try OpenFile(place.directory)
      let first = try directoryEntries(directory)
      let middle = first[150]
      for entry in first[20..<100] where entry.name != "." && entry.name != ".." {
        try place.unlink(entry.name)
      }
      for number in 0..<50 { try place.make("new\(number)") }
      try system(SYS_lseek, directory, middle.next, SEEK_SET)
      let rest = Set(try directoryEntries(directory).map(\.name))
      try require(rest.isSuperset(of: first[151...].map(\.name)), "names were left out")
      try require(rest.isDisjoint(with: first[..<150].map(\.name)), "names came twice")
    },
    PosixCheck("a thousand files are open at once, each with its own bytes") { place in
      try place.makeDirectory("many")
      var files: [OpenFile] = []
      for number in 0..<500 {
        files.append(try place.make("many/\(number)", UInt8(number % 255 + 1), count: 700))
      }
      for (number, file) in files.enumerated() where number % 2 == 0 {
        try place.unlink("many/\(number)")
        try file.fill(0, count: 100, at: 600)
      }
      for (number, file) in files.enumerated() {
        try require(try holdsOnly(UInt8(number % 255 + 1), file.content(count: 600)), "\(number)")
      }
      try require(try place.names("many").count == 250)
    },
    PosixCheck("paths may be as deep as a path may be long") { place in
      var current = try OpenFile(place.directory, .directory)
      for _ in 0..<200 {
        try system(SYS_mkdirat, current, "directory", 0o755)
        let next = try system(SYS_openat, current, "directory", O_DIRECTORY, 0)
        current = try OpenFile("/proc/self/fd/\(next)", .directory)
        try system(SYS_close, next)
      }
      try system(SYS_mknodat, current, "file", 0o100644, 0)
      let path = place.directory + String(repeating: "/directory", count: 200) + "/file"
      try require(try fileStatus(path).st_size == 0)
      var up = path.replacing("/file", with: "")
      for _ in 0..<200 { up += "/.." }
      if up.utf8.count < 4096 {
        try require(try fileStatus(up).st_ino == fileStatus(place.directory).st_ino)
      }
    },
    PosixCheck("threads that make, rename and remove leave what they say") { place in
      for name in ["x", "y"] { try place.makeDirectory(name) }
      try onThreads(4) { thread in
        for round in 0..<100 {
          let name = "\(thread)-\(round)"
          try place.make("x/\(name)", UInt8(thread + 1), count: 100)
          try place.rename("x/\(name)", "y/\(name)")
          if round % 2 == 0 { try place.unlink("y/\(name)") }
        }
      }
      try require(try place.names("x").isEmpty && place.names("y").count == 200)
      for name in try place.names("y") {
        let thread = UInt8(name.prefix(1)) ?? 0
        try require(try holdsOnly(thread + 1, OpenFile(place["y/" + name]).content(count: 100)))
      }
    },
  ]
}
