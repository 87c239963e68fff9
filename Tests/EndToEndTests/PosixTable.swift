// A table of what POSIX and Linux promise of files, name by name, for any volume: a check is given a place and nothing
// else, so that the same rows run on a mount and, to prove the rows themselves, on the machine's own filesystem.

import CSystem
import Foundation
import TestSupport
import Testing

/// One row: a promise, and what a program sees if it is kept.
struct PosixCheck: Sendable {
  let name: String
  let check: @Sendable (PosixPlace) throws -> Void

  init(_ name: String, _ check: @escaping @Sendable (PosixPlace) throws -> Void) {
    self.name = name
    self.check = check
  }
}

/// Where a check works: a directory and, for part A, a file in it of a fixed size that is its own for the moment.
struct PosixPlace: Sendable {
  static let fileBytes = 8 << 20

  let directory: String
  let file: String

  /// A path below the directory.
  subscript(name: String) -> String { directory + "/" + name }

  /// Makes a file of equal bytes.
  @discardableResult
  func make(_ name: String, _ value: UInt8 = 1, count: Int = 0) throws -> OpenFile {
    let file = try OpenFile(self[name], [.write, .create])
    if count > 0 { try file.fill(value, count: count) }
    return file
  }

  /// Makes a directory.
  func makeDirectory(_ name: String, mode: Int = 0o755) throws {
    try system(SYS_mkdirat, AT_FDCWD, self[name], mode)
  }

  func rename(_ old: String, _ new: String, flags: Int = 0) throws {
    try system(SYS_renameat2, AT_FDCWD, self[old], AT_FDCWD, self[new], flags)
  }

  func link(_ old: String, _ new: String) throws {
    try system(SYS_linkat, AT_FDCWD, self[old], AT_FDCWD, self[new], 0)
  }

  func unlink(_ name: String) throws { try system(SYS_unlinkat, AT_FDCWD, self[name], 0) }

  func removeDirectory(_ name: String) throws {
    try system(SYS_unlinkat, AT_FDCWD, self[name], 0x200)
  }

  func chmod(_ name: String, _ mode: Int) throws {
    try system(SYS_fchmodat, AT_FDCWD, self[name], mode)
  }

  func exists(_ name: String) -> Bool { (try? status(name)) != nil }

  /// What lstat(2) says.
  func status(_ name: String) throws -> stat { try fileStatus(self[name]) }

  /// The permission bits.
  func mode(_ name: String) throws -> Int { try Int(status(name).st_mode) & 0o7777 }

  /// The names in a directory, but for `.` and `..`.
  func names(_ name: String = ".") throws -> Set<String> {
    try Set(directoryEntries(OpenFile(self[name])).map(\.name)).subtracting([".", ".."])
  }
}

/// What lstat(2) says of a path.
func fileStatus(_ path: String) throws -> stat {
  var status = stat()
  guard unsafe lstat(path, &status) == 0 else { throw SystemFailure("lstat \(path)") }
  return status
}

/// What fstat(2) says of a descriptor.
func fileStatus(_ file: OpenFile) throws -> stat {
  var status = stat()
  let code = CInt(file.withWord { $0 })
  guard unsafe fstat(code, &status) == 0 else { throw SystemFailure("fstat \(file.path)") }
  return status
}

extension timespec {
  var nanoseconds: Int { tv_sec * 1_000_000_000 + tv_nsec }
}

/// One entry as getdents64(2) tells it.
struct DirectoryEntry: Equatable {
  var name: String
  var inode: UInt64
  var next: Int
  var type: UInt8
}

/// The entries from a descriptor's place on, fetched with a buffer of so many bytes.
func directoryEntries(_ file: OpenFile, bufferBytes: Int = 32768) throws -> [DirectoryEntry] {
  let buffer = AlignedBuffer(count: bufferBytes)
  var entries: [DirectoryEntry] = []
  while true {
    let count = try system(SYS_getdents64, file, buffer, bufferBytes)
    if count == 0 { return entries }
    var offset = 0
    while offset < count {
      let length = Int(buffer.load(offset + 16, as: UInt16.self))
      let bytes = buffer.bytes(offset + 19..<offset + length).prefix { $0 != 0 }
      entries.append(
        DirectoryEntry(
          name: String(decoding: bytes, as: UTF8.self), inode: buffer.load(offset),
          next: Int(buffer.load(offset + 8, as: Int64.self)), type: buffer[offset + 18]))
      offset += length
    }
  }
}

/// Fails the check unless a condition holds.
func require(_ condition: Bool, _ text: String = "", line: Int = #line) throws {
  if !condition { throw TestFailure("line \(line): not as promised \(text)") }
}

/// Fails the check unless a call fails with one of these errors.
func refuses(_ codes: CInt..., line: Int = #line, _ body: () throws -> Void) throws {
  do { try body() } catch let failure as SystemFailure {
    if codes.contains(failure.code) { return }
    throw TestFailure("line \(line): \(failure)")
  }
  throw TestFailure("line \(line): let through what should fail with \(codes)")
}

extension OpenFlags {
  static let exclusive: OpenFlags = [.write, .create, OpenFlags(rawValue: O_EXCL)]
  static let append: OpenFlags = [.write, OpenFlags(rawValue: O_APPEND)]
  static let directory = OpenFlags(rawValue: O_DIRECTORY)
  static let writeOnly = OpenFlags(rawValue: O_WRONLY)
  /// O_PATH, which Swift's view of the C library leaves out.
  static let path = OpenFlags(rawValue: 0o10000000)
}

/// The whole table.
enum PosixTable {
  /// Part A: a single file of a fixed size, and the directory around it.
  static let file = fileData + fileAttributes

  /// Part B: a tree that can be changed.
  static let tree = treeNames + treeLinks + treeData + treeRights + treeAttributes + treeMany

  /// Runs rows one after the other, each of part B in a directory of its own, and records each that fails.
  static func run(_ rows: [PosixCheck], in directory: String, file: String) {
    for (number, row) in rows.enumerated() {
      do {
        var place = PosixPlace(directory: directory, file: file)
        if file.isEmpty {
          let own = "\(directory)/row\(number)"
          try system(SYS_mkdirat, AT_FDCWD, own, 0o755)
          place = PosixPlace(directory: own, file: "")
        }
        try row.check(place)
      } catch {
        Issue.record("\(row.name): \(error)")
      }
    }
  }
}

extension EndToEnd {
  @Suite("The table of POSIX behaviour")
  struct PosixTests {
    @Test("holds for one file on the machine's own filesystem")
    func ownFile() throws {
      try withTemporaryDirectory { scratch in
        let file = scratch.appending(path: "disk").path
        try makeSparseFile(URL(filePath: file), sizeBytes: PosixPlace.fileBytes)
        PosixTable.run(PosixTable.file, in: scratch.path, file: file)
      }
    }

    @Test("holds for a tree on the machine's own filesystem", .needs(.root))
    func ownTree() throws {
      try withTemporaryDirectory { scratch in
        PosixTable.run(PosixTable.tree, in: scratch.path, file: "")
      }
    }

    @Test(
      "holds for the raw disk", .needs(.fuse, .directIO, .root), arguments: Transport.present,
      ["", ",iter=iovec,segs=3,misalign=512", ",workers=1,queue_depth=2"])
    func raw(transport: String, more: String) throws {
      try withMount(
        options: "allow_other,transport=\(transport)\(more)", imageSizeBytes: PosixPlace.fileBytes
      ) { mount throws in
        PosixTable.run(PosixTable.file, in: mount.directory.path, file: mount.disk)
        // What the kernel reads ahead may still be under way.
        let start = ContinuousClock.now
        while try mount.statistics().imbalances != [], ContinuousClock.now - start < .seconds(10) {
          sched_yield()
        }
        #expect(try mount.statistics().imbalances == [])
      }
    }

    /// Whether the executable under test has the volume of scattered extents.
    private static let hasScatter: Bool = {
      let result = try? withMount(options: "volume=scatter", imageSizeBytes: 64 << 20) { _ in true }
      return result ?? false
    }()

    @Test(
      "holds for a tree in scattered extents", .needs(.fuse, .directIO, .root),
      .enabled("needs volume=scatter") { hasScatter }, arguments: Transport.present)
    func scatter(transport: String) throws {
      try withMount(
        options: "allow_other,volume=scatter,transport=\(transport)", imageSizeBytes: 256 << 20
      ) { mount throws in
        let file = mount.directory.appending(path: "one-file").path
        try OpenFile(file, [.write, .create]).resize(to: PosixPlace.fileBytes)
        PosixTable.run(PosixTable.file, in: mount.directory.path, file: file)
        PosixTable.run(PosixTable.tree, in: mount.directory.path, file: "")
        #expect(try mount.statistics().imbalances == [])
      }
    }
  }
}
