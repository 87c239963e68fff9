// Names, attributes and handles of a scatter volume.

import Memory
import TestSupport
import Testing

@testable import Volumes

@Suite("Names of a scatter volume")
struct ScatterNamesTests {
  let fixture: ScatterFixture
  var volume: ScatterVolume { fixture.volume }

  init() throws { fixture = try ScatterFixture(imageBytes: 64 * 4096) }

  private func links(_ inode: UInt64) throws -> UInt32 {
    try volume.attributes(of: inode).linkCount
  }

  @Test("keep an inode alive together with look-ups and handles, and its blocks with it")
  func outliveNames() throws {
    let file = try fixture.makeFile("a")
    try fixture.write([1, 2, 3], to: file, at: 0)
    let handle = try volume.open(file, flags: 0, by: ScatterFixture.caller)
    _ = try volume.lookup(FileName("a"), in: 1)
    try volume.unlink(FileName("a"), in: 1)
    #expect(try links(file) == 0)
    volume.forget(file, lookups: 2)
    #expect(try fixture.read(file) == [1, 2, 3])
    #expect(volume.cachedInodes() == [])
    volume.close(file, handle: handle)
    #expect(throws: Errno.noSuchFile) { try volume.attributes(of: file) }
    #expect(fixture.freeBlocks == 64)
    #expect(volume.statistics().freeFiles == volume.statistics().files - 1)
    #expect(try fixture.makeFile("a") != file)
  }

  @Test("can be given to a file that was made without one, not to one that lost its last")
  func linksUnnamed() throws {
    let file = try volume.makeUnnamed(in: 1, mode: 0o100600, by: ScatterFixture.caller)
      .attributes.inode
    #expect(try fixture.names(of: 1) == [])
    #expect(try volume.link(file, as: FileName("a"), in: 1).attributes.linkCount == 1)
    #expect(throws: Errno.exists) { try volume.link(file, as: FileName("a"), in: 1) }
    #expect(throws: Errno.notPermitted) { try volume.link(1, as: FileName("b"), in: 1) }
    try volume.unlink(FileName("a"), in: 1)
    #expect(throws: Errno.noSuchFile) { try volume.link(file, as: FileName("b"), in: 1) }
    let lost = try volume.makeUnnamed(in: 1, mode: 0o100600, by: ScatterFixture.caller)
      .attributes.inode
    volume.forget(lost, lookups: 1)
    #expect(throws: Errno.noSuchFile) { try volume.attributes(of: lost) }
  }

  @Test("count as links, up to a limit")
  func countLinks() throws {
    let directory = try fixture.makeDirectory("d")
    let inner = try fixture.makeDirectory("e", in: directory)
    #expect(try links(1) == 3 && links(directory) == 3 && links(inner) == 2)
    #expect(throws: Errno.notEmpty) { try volume.removeDirectory(FileName("d"), in: 1) }
    #expect(throws: Errno.isDirectory) { try volume.unlink(FileName("d"), in: 1) }
    try volume.removeDirectory(FileName("e"), in: directory)
    #expect(try links(directory) == 2 && links(inner) == 0)
    #expect(throws: Errno.noSuchFile) { try fixture.makeFile("x", in: inner) }
    let file = try fixture.makeFile("a")
    #expect(throws: Errno.notDirectory) { try volume.removeDirectory(FileName("a"), in: 1) }
    #expect(throws: Errno.notDirectory) { try fixture.makeFile("x", in: file) }
    for number in 1..<ScatterVolume.maximumLinks {
      _ = try volume.link(file, as: FileName("l\(number)"), in: directory)
    }
    #expect(try links(file) == ScatterVolume.maximumLinks)
    #expect(throws: Errno.tooManyLinks) { try volume.link(file, as: FileName("x"), in: 1) }
  }

  @Test("move over others by the rules of rename")
  func renames() throws {
    let first = try fixture.makeDirectory("d")
    let second = try fixture.makeDirectory("e")
    let inner = try fixture.makeDirectory("i", in: first)
    let file = try fixture.makeFile("a")
    func rename(
      _ name: String, _ directory: UInt64, _ newName: String, _ newDirectory: UInt64,
      _ flags: RenameFlags = []
    ) throws(Errno) {
      try volume.rename(
        FileName(name), in: directory, to: FileName(newName), in: newDirectory, flags)
    }
    #expect(throws: Errno.isDirectory) { try rename("a", 1, "e", 1) }
    #expect(throws: Errno.notDirectory) { try rename("e", 1, "a", 1) }
    #expect(throws: Errno.notEmpty) { try rename("e", 1, "d", 1) }
    #expect(throws: Errno.notEmpty) { try rename("i", first, "d", 1) }
    #expect(throws: Errno.invalidArgument) { try rename("d", 1, "x", inner) }
    #expect(throws: Errno.invalidArgument) { try rename("i", first, "d", 1, .exchange) }
    #expect(throws: Errno.invalidArgument) { try rename("a", 1, "b", 1, [.noReplace, .exchange]) }
    #expect(throws: Errno.invalidArgument) {
      try rename("a", 1, "b", 1, RenameFlags(rawValue: 4))
    }
    #expect(throws: Errno.exists) { try rename("a", 1, "d", 1, .noReplace) }
    #expect(throws: Errno.noSuchFile) { try rename("a", 1, "x", 1, .exchange) }
    #expect(throws: Errno.noSuchFile) { try rename("x", 1, "a", 1) }
    try rename("i", first, "e", 1)
    #expect(try links(first) == 2 && links(1) == 4 && links(second) == 0)
    #expect(try volume.parent(of: inner) == 1)
    try rename("a", 1, "b", first)
    try rename("e", 1, "b", first, .exchange)
    #expect(try links(first) == 3 && links(1) == 3 && volume.parent(of: inner) == first)
    #expect(try volume.lookup(FileName("e"), in: 1).attributes.inode == file)
    #expect(try volume.lookup(FileName(".."), in: inner).attributes.inode == first)
    _ = try volume.link(file, as: FileName("f"), in: 1)
    try rename("e", 1, "f", 1)
    #expect(try fixture.names(of: 1) == ["d", "e", "f"] && links(file) == 2)
  }

  @Test("are listed once each, whatever is made and removed meanwhile")
  func listsStably() throws {
    for number in 0..<200 { _ = try fixture.makeFile("f\(number)") }
    let handle = try volume.open(1, flags: 0, by: ScatterFixture.caller)
    var seen: [String] = []
    var cookie: UInt64 = 0
    var isDone = false
    while !isDone {
      isDone = true
      var taken: [DirectoryEntry] = []
      try volume.list(1, handle: handle, from: cookie) { entry in
        if taken.count == 3 { return false }
        taken.append(entry)
        return true
      }
      for entry in taken {
        isDone = false
        cookie = entry.cookie
        seen.append(entry.name.text)
        // Without an end of its own the listing would meet these for ever.
        try volume.rename(
          entry.name, in: 1, to: FileName("new" + entry.name.text), in: 1, [])
      }
    }
    #expect(seen == (0..<200).map { "f\($0)" })
    #expect(try fixture.names(of: 1, handle: handle) == seen.map { "new" + $0 })
    volume.close(1, handle: handle)
    let file = try fixture.makeFile("file")
    #expect(throws: Errno.notDirectory) { try fixture.names(of: file) }
  }

  @Test("have modes and groups from their directory and their maker")
  func inheritsGroup() throws {
    let directory = try fixture.makeDirectory("d")
    var change = AttributeChange()
    change.permissions = 0o2775
    change.group = 7
    _ = try volume.change(directory, to: change, by: ScatterFixture.caller)
    let inner = try volume.attributes(of: fixture.makeDirectory("i", in: directory))
    #expect(inner.group == 7 && inner.permissions == 0o2755 && inner.user == 1000)
    let node = try volume.makeNode(
      FileName("n"), in: inner.inode, mode: 0o020600, device: 0x103, by: ScatterFixture.caller
    ).attributes
    #expect(node.group == 7 && node.device == 0x103 && node.type == .characterDevice)
    let link = try volume.makeSymbolicLink(
      FileName("l"), in: 1, to: Array("a/b".utf8), by: ScatterFixture.caller
    ).attributes
    #expect(link.group == 100 && link.size == 3 && link.permissions == 0o777)
    #expect(try volume.target(of: link.inode) == Array("a/b".utf8))
    #expect(throws: Errno.invalidArgument) { try volume.target(of: node.inode) }
    #expect(throws: Errno.invalidArgument) {
      try volume.makeNode(FileName("x"), in: 1, mode: 0o130000, device: 0, by: .mount)
    }
  }

  @Test("lose set-ID bits with their owner")
  func dropsSetID() throws {
    let file = try fixture.makeFile("a")
    func change(_ set: (inout AttributeChange) -> Void) throws -> FileAttributes {
      var change = AttributeChange()
      set(&change)
      return try volume.change(file, to: change, by: ScatterFixture.caller)
    }
    #expect(try change { $0.permissions = 0o6755 }.permissions == 0o6755)
    let owned = try change { $0.user = 5 }
    #expect(owned.permissions == 0o755 && owned.user == 5 && owned.group == 100)
    _ = try change { $0.permissions = 0o6745 }
    #expect(try change { $0.group = 5 }.permissions == 0o2745)
    let old = Timestamp(seconds: 1, nanoseconds: 2)
    let touched = try change {
      $0.accessed = old
      $0.modified = old
    }
    #expect(touched.accessed == old && touched.modified == old && touched.changed > old)
  }

  @Test("have times by POSIX")
  func keepsTimes() throws {
    let past = Timestamp(seconds: 1, nanoseconds: 0)
    let file = try fixture.makeFile("a")
    /// What changed since all times were put back.
    func changed(_ inode: UInt64, by act: () throws -> Void) throws -> String {
      volume.locked { state in
        guard let node = state.nodes[inode] else { return }
        node.attributes.accessed = past
        node.attributes.modified = past
        node.attributes.changed = past
      }
      try act()
      let now = try volume.attributes(of: inode)
      return (now.accessed > past ? "a" : "") + (now.modified > past ? "m" : "")
        + (now.changed > past ? "c" : "")
    }
    #expect(try changed(1) { _ = try fixture.makeFile("b") } == "mc")
    #expect(try changed(1) { try volume.unlink(FileName("b"), in: 1) } == "mc")
    #expect(try changed(1) { _ = try fixture.names(of: 1) } == "a")
    #expect(try changed(file) { _ = try volume.link(file, as: FileName("b"), in: 1) } == "c")
    #expect(try changed(file) { try volume.unlink(FileName("b"), in: 1) } == "c")
    #expect(
      try changed(file) {
        try volume.rename(FileName("a"), in: 1, to: FileName("c"), in: 1, [])
      } == "c")
    #expect(try changed(file) { try fixture.write([1], to: file, at: 0) } == "mc")
    #expect(try changed(file) { _ = try fixture.read(file) } == "a")
    #expect(try changed(file) { try fixture.truncate(file, to: 9) } == "mc")
    let attribute = FileName("user.x")
    #expect(
      try changed(file) { try volume.setExtendedAttribute(attribute, of: file, to: [], .any) }
        == "c")
    #expect(
      try changed(file) {
        try fixture.changeStorage(of: file, .punchHole, offset: 0, length: 4096)
      } == "mc")
  }

  @Test("have extended attributes")
  func keepsExtendedAttributes() throws {
    let name = FileName("user.a")
    let big = [UInt8](repeating: 1, count: 64 << 10)
    #expect(throws: Errno.noData) { try volume.extendedAttribute(name, of: 1) }
    #expect(throws: Errno.noData) { try volume.removeExtendedAttribute(name, of: 1) }
    #expect(throws: Errno.noData) { try volume.setExtendedAttribute(name, of: 1, to: [], .present) }
    try volume.setExtendedAttribute(name, of: 1, to: [1], .absent)
    #expect(throws: Errno.exists) { try volume.setExtendedAttribute(name, of: 1, to: [], .absent) }
    try volume.setExtendedAttribute(name, of: 1, to: big, .present)
    #expect(try volume.extendedAttribute(name, of: 1) == big)
    #expect(throws: Errno.tooBig) {
      try volume.setExtendedAttribute(name, of: 1, to: big + [1], .any)
    }
    for space in ["trusted.b", "security.c"] {
      try volume.setExtendedAttribute(FileName(space), of: 1, to: big, .any)
    }
    #expect(throws: Errno.noSpace) {
      try volume.setExtendedAttribute(FileName("user.d"), of: 1, to: big, .any)
    }
    #expect(throws: Errno.notSupported) {
      try volume.setExtendedAttribute(
        FileName("system.posix_acl_access"), of: 1, to: [], .any)
    }
    try volume.removeExtendedAttribute(name, of: 1)
    #expect(
      try volume.extendedAttributeNames(of: 1).map(\.text) == ["trusted.b", "security.c"])
  }
}
