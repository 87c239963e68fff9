// Part B: names of a tree, made, renamed and removed; links of both kinds.

import CSystem
import Foundation
import TestSupport

private let noReplace = 1
private let exchange = 2

/// Where a symbolic link leads.
func readLink(_ path: String, bufferBytes: Int = 8192) throws -> String {
  let buffer = AlignedBuffer(count: bufferBytes)
  let count = try system(SYS_readlinkat, AT_FDCWD, path, buffer, bufferBytes)
  return String(decoding: buffer.bytes(0..<count), as: UTF8.self)
}

extension PosixTable {
  static let treeNames: [PosixCheck] = [
    PosixCheck("a file is made once, and found under its name") { place in
      try place.make("a", count: 10)
      try refuses(EEXIST) { _ = try OpenFile(place["a"], .exclusive) }
      try require(try place.status("a").st_size == 10 && place.names() == ["a"])
      try refuses(ENOENT) { _ = try OpenFile(place["b"], .write) }
      try refuses(ENOENT) { try place.make("no/b") }
      try refuses(ENOTDIR) { try place.make("a/b") }
      try place.unlink("a")
      try require(!place.exists("a") && place.names().isEmpty)
      try refuses(ENOENT) { try place.unlink("a") }
    },
    PosixCheck("a directory can be removed when it is empty, and only as a directory") { place in
      try place.makeDirectory("d")
      try refuses(EEXIST) { try place.makeDirectory("d") }
      try place.make("d/f")
      try refuses(ENOTEMPTY, EEXIST) { try place.removeDirectory("d") }
      try refuses(EISDIR, EPERM) { try place.unlink("d") }
      try refuses(ENOTDIR) { try place.removeDirectory("d/f") }
      try refuses(EINVAL) { try place.removeDirectory("d/.") }
      try place.unlink("d/f")
      try place.removeDirectory("d")
      try refuses(ENOENT) { try place.removeDirectory("d") }
      try require(try place.names().isEmpty)
    },
    PosixCheck("names of 255 bytes and of any bytes are kept, longer ones refused") { place in
      let long = String(repeating: "n", count: 255)
      try place.make(long)
      try require(try place.names() == [long])
      try refuses(ENAMETOOLONG) { try place.make(long + "n") }
      try refuses(ENAMETOOLONG) { try place.makeDirectory(long + "n") }
      try refuses(ENAMETOOLONG) { try place.rename(long, long + "n") }
      try place.unlink(long)
      for tail: [UInt8] in [[0xFF, 0xFE], [0xC0, 0x80], [10], [0x5C], [0x20], [0x2C, 0x3D]] {
        let path = Array((place.directory + "/").utf8) + tail + [0]
        let file = try system(SYS_openat, AT_FDCWD, path, O_CREAT | O_EXCL | O_RDWR, 0o644)
        try system(SYS_close, file)
        try require(try place.names().count == 1)
        try system(SYS_unlinkat, AT_FDCWD, path, 0)
      }
    },
    PosixCheck("an unlinked file lives for those who have it open") { place in
      let file = try place.make("a", 5, count: 10000)
      let mapping = try FileMapping(of: file, count: 10000)
      try place.unlink("a")
      try place.make("a", 6, count: 100)
      try require(try fileStatus(file).st_nlink == 0 && file.sizeBytes() == 10000)
      try require(try holdsOnly(5, file.content(count: 10000)))
      try file.fill(7, count: 20000, at: 5000)
      let found = AlignedBuffer(count: 5000)
      mapping.read(into: found, count: 5000, at: 5000)
      try require(try holdsOnly(7, found) && file.sizeBytes() == 25000)
      try require(try holdsOnly(6, OpenFile(place["a"]).content(count: 100)))
    },
    PosixCheck("rename replaces what was there, at once and for good") { place in
      let former = try place.make("b", 2, count: 50)
      try place.make("a", 1, count: 100)
      let inode = try place.status("a").st_ino
      try place.rename("a", "b")
      try require(try place.names() == ["b"] && place.status("b").st_ino == inode)
      try require(try holdsOnly(2, former.content(count: 50)) && fileStatus(former).st_nlink == 0)
      try refuses(ENOENT) { try place.rename("a", "b") }
      try place.rename("b", "b")
      try require(try place.names() == ["b"])
    },
    PosixCheck("rename of directories replaces empty ones, and never one by its own child") {
      place in
      try place.makeDirectory("d")
      try place.makeDirectory("d/e")
      try place.makeDirectory("empty")
      try place.make("file")
      try refuses(EINVAL) { try place.rename("d", "d/e/x") }
      try refuses(EINVAL) { try place.rename("d", "d/x") }
      try refuses(ENOTEMPTY, EEXIST) { try place.rename("empty", "d") }
      try refuses(EISDIR) { try place.rename("file", "d") }
      try refuses(ENOTDIR) { try place.rename("d", "file") }
      try place.rename("d", "empty")
      try require(try place.names() == ["empty", "file"] && place.names("empty") == ["e"])
      try refuses(ENOTEMPTY, EEXIST) { try place.rename("empty/e", "empty") }
    },
    PosixCheck("rename moves directories between parents, and .. follows") { place in
      for name in ["p", "q", "p/d"] { try place.makeDirectory(name) }
      try place.make("p/d/f")
      try require(try place.status("p").st_nlink == 3 && place.status("q").st_nlink == 2)
      try place.rename("p/d", "q/d2")
      try require(try place.status("p").st_nlink == 2 && place.status("q").st_nlink == 3)
      try require(try place.status("q/d2/..").st_ino == place.status("q").st_ino)
      try require(place.exists("q/d2/f") && !place.exists("p/d"))
    },
    PosixCheck("RENAME_NOREPLACE and RENAME_EXCHANGE do as they say, or are refused") { place in
      try place.make("a", 1, count: 1)
      try place.make("b", 2, count: 2)
      try place.makeDirectory("d")
      try refuses(EEXIST) { try place.rename("a", "b", flags: noReplace) }
      try place.rename("a", "c", flags: noReplace)
      try place.rename("c", "b", flags: exchange)
      try require(try place.status("c").st_size == 2 && place.status("b").st_size == 1)
      try place.rename("d", "b", flags: exchange)
      try require(try place.status("b").st_mode & 0o170000 == 0o040000)
      try refuses(ENOENT) { try place.rename("b", "no", flags: exchange) }
      try refuses(EINVAL) { try place.rename("b", "d", flags: noReplace | exchange) }
      try refuses(EINVAL) { try place.rename("b", "d", flags: 64) }
    },
    PosixCheck("an open file is renamed and goes on being itself") { place in
      let file = try place.make("a", 1, count: 100)
      try place.makeDirectory("d")
      try place.rename("a", "d/b")
      try file.fill(2, count: 100, at: 50)
      try require(try OpenFile(place["d/b"]).sizeBytes() == 150)
      try place.rename("d", "e")
      try file.fill(3, count: 10, at: 150)
      try require(try OpenFile(place["e/b"]).sizeBytes() == 160)
    },
  ]

  static let treeLinks: [PosixCheck] = [
    PosixCheck("hard links are one file, counted") { place in
      let file = try place.make("a", 1, count: 10)
      try place.makeDirectory("d")
      try place.link("a", "b")
      try place.link("b", "d/c")
      for name in ["a", "b", "d/c"] { try require(try place.status(name).st_nlink == 3, name) }
      try require(try place.status("a").st_ino == place.status("d/c").st_ino)
      try OpenFile(place["b"], .write).fill(9, count: 20)
      try require(try file.sizeBytes() == 20)
      try refuses(EEXIST) { try place.link("a", "b") }
      try refuses(EPERM) { try place.link("d", "e") }
      try refuses(ENOENT) { try place.link("no", "e") }
      // A rename onto another name of the same file does nothing.
      try place.rename("a", "b")
      try require(try place.names() == ["a", "b", "d"])
      try place.unlink("a")
      try place.unlink("d/c")
      try require(try place.status("b").st_nlink == 1 && fileStatus(file).st_nlink == 1)
    },
    PosixCheck("symbolic links hold any target and lead where it says") { place in
      try place.make("a", 1, count: 10)
      for (number, target) in [
        "a", "./a", "nowhere", String(repeating: "x", count: 59),
        String(repeating: "y", count: 60), String(repeating: "z/", count: 2000),
      ].enumerated() {
        try system(SYS_symlinkat, target, AT_FDCWD, place["l\(number)"])
        try require(try readLink(place["l\(number)"]) == target, "\(number)")
        let status = try place.status("l\(number)")
        try require(status.st_mode & 0o170000 == 0o120000 && status.st_size == target.utf8.count)
      }
      try require(try OpenFile(place["l1"]).sizeBytes() == 10)
      try refuses(ENOENT) { _ = try OpenFile(place["l2"]) }
      try require(try readLink(place["l5"], bufferBytes: 3) == "z/z")
      try refuses(EINVAL) { _ = try readLink(place["a"]) }
      try refuses(EEXIST) { try system(SYS_symlinkat, "a", AT_FDCWD, place["l0"]) }
      try refuses(ENAMETOOLONG) {
        try system(SYS_symlinkat, String(repeating: "x", count: 4096), AT_FDCWD, place["m"])
      }
      try refuses(ELOOP) {
        try system(SYS_symlinkat, "loop", AT_FDCWD, place["loop"])
        _ = try OpenFile(place["loop"])
      }
      try refuses(ELOOP) { _ = try OpenFile(place["l0"], OpenFlags(rawValue: 0o400000)) }
      try place.link("l2", "l9")
      try require(try readLink(place["l9"]) == "nowhere")
    },
    PosixCheck("fifos, sockets and devices keep kind, number and mode") { place in
      for (name, kind, device) in [
        ("fifo", 0o010000, 0), ("socket", 0o140000, 0), ("null", 0o020000, 0x103),
        ("block", 0o060000, 0x700),
      ] {
        try system(SYS_mknodat, AT_FDCWD, place[name], kind | 0o640, device)
        let status = try place.status(name)
        try require(Int(status.st_mode) == kind | 0o640 && status.st_rdev == device, name)
        try refuses(EEXIST) { try system(SYS_mknodat, AT_FDCWD, place[name], kind, device) }
      }
      try refuses(ENXIO) { _ = try OpenFile(place["socket"]) }
      let (reader, data) = (try OpenFile(place["fifo"], .write), AlignedBuffer(count: 16))
      try system(SYS_write, reader, data, 3)
      try require(try system(SYS_read, reader, data, 16) == 3)
    },
  ]
}
