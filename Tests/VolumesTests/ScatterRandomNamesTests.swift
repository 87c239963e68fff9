// Random changes of a tree of names, compared with a model that is obviously right.

import Memory
import TestSupport
import Testing

@testable import Volumes

@Suite("The tree of a scatter volume under random changes")
struct ScatterRandomNamesTests {
  @Test("is what was made of it", arguments: 1...4 as ClosedRange<UInt64>)
  func matchesShadow(seed: UInt64) throws {
    let fixture = try ScatterFixture(imageBytes: 4096 * 4096, seed: seed)
    var random = SeededGenerator(seed: seed)
    let tree = ShadowTree(fixture)
    for round in 0..<1500 {
      try tree.change(&random)
      if round % 50 == 0 { try tree.compare() }
    }
    fixture.check()
    try tree.removeAll()
    #expect(fixture.freeBlocks == 4096)
    #expect(fixture.volume.statistics().freeFiles == fixture.volume.statistics().files - 1)
    #expect(try fixture.volume.attributes(of: 1).linkCount == 2)
  }
}

/// An inode, as it should be.
private final class ShadowNode {
  let inode: UInt64
  let isDirectory: Bool
  var children: [String: ShadowNode] = [:]
  var names = 1

  init(_ inode: UInt64, isDirectory: Bool) {
    self.inode = inode
    self.isDirectory = isDirectory
  }

  var linkCount: Int {
    isDirectory ? 2 + children.values.count { $0.isDirectory } : names
  }

  func contains(_ other: ShadowNode) -> Bool {
    self === other || children.values.contains { $0.isDirectory && $0.contains(other) }
  }
}

/// The tree, as it should be. The kernel's look-ups are forgotten at once, so what has no name is gone.
private final class ShadowTree {
  private let fixture: ScatterFixture
  private var volume: ScatterVolume { fixture.volume }
  private let root = ShadowNode(1, isDirectory: true)

  init(_ fixture: ScatterFixture) { self.fixture = fixture }

  func change(_ random: inout SeededGenerator) throws {
    let parent = randomDirectory(&random)
    let name = "n\(Int.random(in: 0..<6, using: &random))"
    let old = parent.children[name]
    switch Int.random(in: 0..<12, using: &random) {
    case 0, 1: try make(name, in: parent, isDirectory: true)
    case 2, 3, 4: try make(name, in: parent, isDirectory: false)
    case 5:
      let expected: Errno? =
        old == nil ? .noSuchFile : old?.isDirectory == true ? .isDirectory : nil
      expect(expected) { () throws(Errno) in
        try volume.unlink(FileName(name), in: parent.inode)
      }
      if expected == nil { remove(name, from: parent) }
    case 6:
      let expected: Errno? =
        old == nil
        ? .noSuchFile
        : old?.isDirectory == false
          ? .notDirectory : old?.children.isEmpty == false ? .notEmpty : nil
      expect(expected) { () throws(Errno) in
        try volume.removeDirectory(FileName(name), in: parent.inode)
      }
      if expected == nil { remove(name, from: parent) }
    case 7:
      guard let old, !old.isDirectory else { return }
      let other = randomDirectory(&random)
      let newName = "n\(Int.random(in: 0..<6, using: &random))"
      let isFree = other.children[newName] == nil
      expect(isFree ? nil : .exists) { () throws(Errno) in
        _ = try volume.link(old.inode, as: FileName(newName), in: other.inode)
      }
      if !isFree { return }
      volume.forget(old.inode, lookups: 1)
      other.children[newName] = old
      old.names += 1
    default:
      let flags = ([[], [], .noReplace, .exchange] as [RenameFlags])[
        Int.random(in: 0..<4, using: &random)]
      rename(
        name, in: parent, to: "n\(Int.random(in: 0..<6, using: &random))",
        in: randomDirectory(&random), flags)
    }
  }

  private func make(_ name: String, in parent: ShadowNode, isDirectory: Bool) throws {
    let isFree = parent.children[name] == nil
    var inode: UInt64 = 0
    expect(isFree ? nil : .exists) { () throws(Errno) in
      inode =
        isDirectory
        ? try fixture.makeDirectory(name, in: parent.inode)
        : try fixture.makeFile(name, in: parent.inode)
    }
    if !isFree { return }
    parent.children[name] = ShadowNode(inode, isDirectory: isDirectory)
    if !isDirectory { try fixture.write([1], to: inode, at: 0) }
    volume.forget(inode, lookups: 1)
  }

  private func rename(
    _ name: String, in parent: ShadowNode, to newName: String, in newParent: ShadowNode,
    _ flags: RenameFlags
  ) {
    let node = parent.children[name]
    let old = newParent.children[newName]
    let expected = Self.renameError(node, old, parent, newParent, flags)
    expect(expected) { () throws(Errno) in
      try volume.rename(
        FileName(name), in: parent.inode, to: FileName(newName), in: newParent.inode, flags)
    }
    if expected != nil || node === old { return }
    if flags == .exchange {
      parent.children[name] = old
      newParent.children[newName] = node
      return
    }
    if old != nil { remove(newName, from: newParent) }
    parent.children[name] = nil
    newParent.children[newName] = node
  }

  private static func renameError(
    _ node: ShadowNode?, _ old: ShadowNode?, _ parent: ShadowNode, _ newParent: ShadowNode,
    _ flags: RenameFlags
  ) -> Errno? {
    guard let node else { return .noSuchFile }
    if flags == .noReplace && old != nil { return .exists }
    if flags == .exchange && old == nil { return .noSuchFile }
    if node === old { return nil }
    if node.isDirectory && node.contains(newParent) { return .invalidArgument }
    guard let old else { return nil }
    if flags == .exchange {
      return old.isDirectory && old.contains(parent) ? .invalidArgument : nil
    }
    if node.isDirectory != old.isDirectory {
      return old.isDirectory ? .isDirectory : .notDirectory
    }
    return old.children.isEmpty ? nil : .notEmpty
  }

  private func remove(_ name: String, from parent: ShadowNode) {
    parent.children.removeValue(forKey: name)?.names -= 1
  }

  private func expect(
    _ expected: Errno?, _ location: SourceLocation = #_sourceLocation,
    _ act: () throws(Errno) -> Void
  ) {
    do throws(Errno) {
      try act()
      #expect(expected == nil, sourceLocation: location)
    } catch {
      #expect(error == expected, sourceLocation: location)
    }
  }

  private func randomDirectory(_ random: inout SeededGenerator) -> ShadowNode {
    let all = directories(under: root)
    return all[Int.random(in: 0..<all.count, using: &random)]
  }

  /// In the order of inodes, so that a seed always means the same.
  private func directories(under node: ShadowNode) -> [ShadowNode] {
    let inner = node.children.values.filter(\.isDirectory).sorted { $0.inode < $1.inode }
    return [node] + inner.flatMap(directories(under:))
  }

  func compare() throws {
    for directory in directories(under: root) {
      var found: [String: UInt64] = [:]
      try volume.list(directory.inode, handle: 0, from: 0) { entry in
        #expect(found.updateValue(entry.inode, forKey: entry.name.text) == nil)
        return true
      }
      #expect(found == directory.children.mapValues(\.inode))
      #expect(
        try Int(volume.attributes(of: directory.inode).linkCount) == directory.linkCount)
      for (name, child) in directory.children {
        let attributes = try volume.lookup(FileName(name), in: directory.inode).attributes
        volume.forget(child.inode, lookups: 1)
        #expect(attributes.inode == child.inode && attributes.linkCount == child.linkCount)
        if child.isDirectory {
          #expect(try volume.parent(of: child.inode) == directory.inode)
        }
      }
    }
  }

  func removeAll() throws {
    for directory in directories(under: root).reversed() {
      for (name, child) in directory.children {
        if child.isDirectory {
          try volume.removeDirectory(FileName(name), in: directory.inode)
        } else {
          try volume.unlink(FileName(name), in: directory.inode)
        }
        remove(name, from: directory)
      }
    }
  }
}
