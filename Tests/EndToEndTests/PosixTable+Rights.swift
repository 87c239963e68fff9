// Part B, continued: who may do what, and which bits a change of owner or content takes away.

import CSystem
import Foundation
import TestSupport

private let nobody = 65534

private func chown(_ path: String, _ user: Int, _ group: Int) throws {
  try system(SYS_fchownat, AT_FDCWD, path, user, group, 0x100)
}

extension PosixTable {
  static let treeRights: [PosixCheck] = [
    PosixCheck("modes and owners are kept") { place in
      try place.make("a")
      try place.makeDirectory("d")
      for mode in [0, 0o777, 0o4755, 0o2755, 0o1644, 0o7777, 0o640] {
        for name in ["a", "d"] {
          try place.chmod(name, mode)
          try require(try place.mode(name) == mode, "\(name) \(mode)")
        }
      }
      try chown(place["a"], 1234, 5678)
      var status = try place.status("a")
      try require(status.st_uid == 1234 && status.st_gid == 5678)
      try chown(place["a"], -1, 99)
      status = try place.status("a")
      try require(status.st_uid == 1234 && status.st_gid == 99)
      let file = try OpenFile(place["a"], .write)
      try system(SYS_fchmod, file, 0o600)
      try system(SYS_fchown, file, 7, -1)
      try require(try place.mode("a") == 0o600 && place.status("a").st_uid == 7)
      try system(SYS_symlinkat, "a", AT_FDCWD, place["l"])
      try chown(place["l"], 5, 6)
      try require(try place.status("l").st_uid == 5 && place.status("a").st_uid == 7)
    },
    PosixCheck("umask takes away, and only when something is made") { place in
      let script = """
        umask 027; : >f; mkdir d; mkfifo p; umask 0; : >g; mkdir e; umask 077; chmod 777 g
        stat -c %a f d p g e
        """
      let result = try shell(script, in: URL(filePath: place.directory)).checked()
      try require(result.output.split(separator: "\n") == ["640", "750", "640", "777", "777"])
    },
    PosixCheck("what is made belongs to who makes it") { place in
      try place.makeDirectory("open")
      try place.chmod("open", 0o777)
      try asUser(nobody) {
        try place.make("open/f")
        try place.makeDirectory("open/d")
        try system(SYS_symlinkat, "x", AT_FDCWD, place["open/l"])
      }
      for name in ["f", "d", "l"] {
        let status = try place.status("open/\(name)")
        try require(status.st_uid == nobody && status.st_gid == nobody, name)
      }
      // A directory with the group's bit hands its group down.
      try chown(place["open"], 0, 4321)
      try place.chmod("open", 0o2777)
      try place.make("open/g")
      try place.makeDirectory("open/e")
      try require(try place.status("open/g").st_gid == 4321)
      try require(try place.status("open/e").st_gid == 4321 && place.mode("open/e") & 0o2000 != 0)
    },
    PosixCheck("modes close files and directories to others") { place in
      try place.make("private", 1, count: 10)
      try place.makeDirectory("closed")
      try place.make("closed/f")
      try place.chmod("private", 0o600)
      try place.chmod("closed", 0o700)
      try place.makeDirectory("listed")
      try place.make("listed/f")
      try place.chmod("listed", 0o744)
      try asUser(nobody) {
        try refuses(EACCES) { _ = try OpenFile(place["private"]) }
        try refuses(EACCES) { _ = try OpenFile(place["closed/f"]) }
        try refuses(EACCES) { _ = try place.status("listed/f") }
        try refuses(EACCES) { _ = try OpenFile(place["closed"]) }
        try require(try place.names("listed") == ["f"])
        try refuses(EACCES) { try place.make("new") }
        try refuses(EACCES) { try place.makeDirectory("new") }
        try refuses(EACCES) { try place.unlink("private") }
        try refuses(EACCES) { try place.rename("private", "mine") }
        try refuses(EPERM) { try place.chmod("private", 0o666) }
        try refuses(EPERM) { try chown(place["private"], nobody, nobody) }
        try refuses(EACCES) { try system(SYS_truncate, place["private"], 0) }
        try refuses(EPERM, EACCES) { try system(SYS_utimensat, AT_FDCWD, place["private"], 0, 0) }
      }
      try require(try place.status("private").st_size == 10)
    },
    PosixCheck("in a sticky directory only owners remove and rename") { place in
      try place.makeDirectory("tmp")
      try place.chmod("tmp", 0o1777)
      try asUser(1001) { try place.make("tmp/theirs") }
      try asUser(nobody) {
        try place.make("tmp/mine")
        try refuses(EPERM, EACCES) { try place.unlink("tmp/theirs") }
        try refuses(EPERM, EACCES) { try place.rename("tmp/theirs", "tmp/x") }
        try refuses(EPERM, EACCES) { try place.rename("tmp/mine", "tmp/theirs") }
        try place.rename("tmp/mine", "tmp/x")
        try place.unlink("tmp/x")
      }
      try require(try place.names("tmp") == ["theirs"])
    },
    PosixCheck("another's write and a change of owner clear the bits that lend rights") { place in
      let file = try place.make("a", 1, count: 100)
      try chown(place["a"], 1001, 1001)
      for change: @Sendable (OpenFile) throws -> Void in [
        { try $0.fill(2, count: 10) }, { try $0.resize(to: 50) },
        { try OpenFile($0.path, [.write, .direct]).fill(3, count: 512) },
      ] {
        try place.chmod("a", 0o6777)
        try asUser(nobody) { try change(OpenFile(place["a"], .write)) }
        try require(try place.mode("a") == 0o777, "a write")
      }
      try place.chmod("a", 0o6777)
      try asUser(1001) { try chown(place["a"], -1, 1001) }
      try require(try place.mode("a") & 0o4000 == 0, "chown")
      try place.chmod("a", 0o4755)
      try file.fill(1, count: 1)
      try require(try place.mode("a") == 0o4755, "root keeps them")
    },
  ]
}
