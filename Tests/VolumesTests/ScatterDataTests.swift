// Where a scatter volume puts data, and what of it can be read.

import DirectIO
import Memory
import TestSupport
import Testing

@testable import Volumes

@Suite("Data of a scatter volume")
struct ScatterDataTests {
  @Test("is put into many extents, the same ones for a seed")
  func isScattered() throws {
    var layouts: [[Extent]] = []
    for seed in [8, 8, 9] as [UInt64] {
      let fixture = try ScatterFixture(imageBytes: 16 << 20, seed: seed)
      let file = try fixture.makeFile("a")
      try fixture.write([UInt8](repeating: 1, count: 1 << 20), to: file, at: 0)
      var extents: [Extent] = []
      var offset = 0
      while offset < 1 << 20 {
        let extent = try #require(
          try fixture.volume.extent(
            of: file, at: offset, limit: 1 << 20, for: .read, mayBlock: false))
        #expect(extent.kind == .mapped)
        extents.append(extent)
        offset += extent.byteCount
      }
      #expect(extents.count >= 16)
      layouts.append(extents)
    }
    #expect(layouts[0] == layouts[1])
    #expect(layouts[0] != layouts[2])
  }

  @Test("fills the volume to the last block, and no further")
  func fillsVolume() throws {
    let fixture = try ScatterFixture(imageBytes: 64 * 4096)
    let file = try fixture.makeFile("a")
    let count = try fixture.write([UInt8](repeating: 7, count: 65 * 4096), to: file, at: 10)
    #expect(count == 64 * 4096 - 10)
    #expect(fixture.freeBlocks == 0)
    #expect(throws: Errno.noSpace) { try fixture.write([1], to: file, at: 1 << 40) }
    let other = try fixture.makeFile("b")
    #expect(throws: Errno.noSpace) {
      try fixture.changeStorage(of: other, .allocate(keepsSize: false), offset: 0, length: 1)
    }
    #expect(try fixture.volume.attributes(of: other).size == 0)
    #expect(
      try fixture.read(file)
        == [UInt8](repeating: 0, count: 10) + [UInt8](repeating: 7, count: count))
    fixture.check()
  }

  @Test("of a write that failed, or of a removed file, is not shown")
  func hidesGarbage() throws {
    let fixture = try ScatterFixture(imageBytes: 32 * 4096)
    let first = try fixture.makeFile("a")
    try fixture.write([UInt8](repeating: 7, count: 32 * 4096), to: first, at: 0)
    try fixture.volume.unlink(FileName("a"), in: 1)
    fixture.volume.forget(first, lookups: 1)
    #expect(fixture.freeBlocks == 32)
    let file = try fixture.makeFile("b")
    try fixture.truncate(file, to: 4 * 4096)
    let new = try fixture.extentToWrite(file, at: 5000, limit: 100)
    #expect(new.kind == .new)
    #expect(try fixture.extentToWrite(file, at: 4096, limit: 10).kind == .unwritten)
    #expect(try fixture.read(file) == [UInt8](repeating: 0, count: 4 * 4096))
    try fixture.changeStorage(of: file, .allocate(keepsSize: true), offset: 0, length: 4 * 4096)
    #expect(try fixture.read(file) == [UInt8](repeating: 0, count: 4 * 4096))
    try fixture.write([1], to: file, at: 5000)
    let expected = (0..<4 * 4096).map { UInt8($0 == 5000 ? 1 : 0) }
    #expect(try fixture.read(file) == expected)
    fixture.check()
  }

  @Test("written in part counts up to the block where it ended")
  func finishesInPart() throws {
    let fixture = try ScatterFixture(imageBytes: 64 * 4096)
    let file = try fixture.makeFile("a")
    var offset = 0
    while offset < 8 * 4096 {
      let extent = try fixture.extentToWrite(file, at: offset, limit: 8 * 4096 - offset)
      fixture.fill(extent, with: repeatElement(5, count: extent.byteCount))
      offset += extent.byteCount
    }
    _ = try fixture.volume.finishWrite(to: file, at: 0, byteCount: 3 * 4096, mayBlock: false)
    #expect(try fixture.read(file) == [UInt8](repeating: 5, count: 3 * 4096))
    try fixture.truncate(file, to: 8 * 4096 - 1)
    #expect(
      try fixture.read(file, at: 3 * 4096) == [UInt8](repeating: 0, count: 5 * 4096 - 1))
    #expect(try fixture.volume.attributes(of: file).blocks512 == 8 * 8)
  }

  @Test("that was cut off stays away when the file grows again")
  func cutsTail() throws {
    let fixture = try ScatterFixture(imageBytes: 64 * 4096)
    let file = try fixture.makeFile("a")
    try fixture.write([UInt8](repeating: 5, count: 10_000), to: file, at: 0)
    try fixture.truncate(file, to: 5000)
    #expect(try fixture.volume.attributes(of: file).blocks512 == 16)
    try fixture.truncate(file, to: 10_000)
    let expected = (0..<10_000).map { UInt8($0 < 5000 ? 5 : 0) }
    #expect(try fixture.read(file) == expected)
    var change = AttributeChange()
    change.size = 12_000
    #expect(try fixture.volume.tailToZero(of: file, before: change).byteCount == 0)
    change.size = 4096
    #expect(try fixture.volume.tailToZero(of: file, before: change).byteCount == 0)
    change.size = 4097
    let work = try fixture.volume.tailToZero(of: file, before: change)
    #expect(work.offset == 4097 && work.byteCount == 4095)
  }

  @Test("may lie far out, and is found by seeking")
  func reachesFar() throws {
    let fixture = try ScatterFixture(imageBytes: 64 * 4096)
    let volume = fixture.volume
    let file = try fixture.makeFile("a")
    let far = volume.maximumBytes - 100
    try fixture.write([1, 2, 3], to: file, at: far)
    #expect(try volume.attributes(of: file).size == far + 3)
    #expect(try volume.attributes(of: file).blocks512 == 8)
    #expect(try volume.seek(file, offset: 5, whence: seekData) == far / 4096 * 4096)
    #expect(try volume.seek(file, offset: 5, whence: seekHole) == 5)
    #expect(try volume.seek(file, offset: far, whence: seekHole) == far + 3)
    #expect(throws: Errno.noSuchAddress) {
      try volume.seek(file, offset: far + 3, whence: seekData)
    }
    let hole = try #require(
      try volume.extent(of: file, at: 7, limit: 1 << 40, for: .read, mayBlock: false))
    #expect(hole.kind == .hole && hole.byteCount == 1 << 40)
    #expect(throws: Errno.fileTooBig) {
      try fixture.write([1], to: file, at: volume.maximumBytes)
    }
    #expect(throws: Errno.fileTooBig) { try fixture.truncate(file, to: .max) }
    #expect(throws: Errno.fileTooBig) {
      try fixture.changeStorage(of: file, .zero(keepsSize: true), offset: far, length: 101)
    }
    try fixture.changeStorage(of: file, .punchHole, offset: 0, length: .max)
    #expect(try volume.attributes(of: file).blocks512 == 0)
    #expect(throws: Errno.noSuchAddress) { try volume.seek(file, offset: 0, whence: seekData) }
    #expect(throws: Errno.notTypewriter) { try volume.passThroughRange(of: file) }
    fixture.check()
  }

  @Test("is for regular files")
  func wantsRegularFile() throws {
    let fixture = try ScatterFixture(imageBytes: 64 * 4096)
    #expect(throws: Errno.isDirectory) { try fixture.read(1) }
    #expect(throws: Errno.noSuchFile) { try fixture.read(99) }
    let pipe = try fixture.volume.makeNode(
      FileName("p"), in: 1, mode: 0o010644, device: 0, by: ScatterFixture.caller)
    #expect(throws: Errno.invalidArgument) { try fixture.read(pipe.attributes.inode) }
  }

  @Test("is not written over that of an image in use")
  func refusesImage() throws {
    try withSparseImage(byteCount: 1 << 20, data: [1]) { device in
      #expect(throws: Errno.exists) { try ScatterVolume(device: device, user: 0, group: 0) }
      let volume = try ScatterVolume(device: device, user: 0, group: 0, mayOverwrite: true)
      #expect(volume.statistics().freeBlocks == 256)
    }
    try withSparseImage(byteCount: 1 << 20, isReadOnly: true) { device in
      #expect(throws: Errno.readOnlyFileSystem) {
        try ScatterVolume(device: device, user: 0, group: 0)
      }
    }
    try withSparseImage(byteCount: 2048) { device in
      #expect(throws: Errno.noSpace) { try ScatterVolume(device: device, user: 0, group: 0) }
      #expect(throws: Errno.invalidArgument) {
        _ = try ScatterVolume(device: device, user: 0, group: 0, blockBytes: 256)
      }
      let volume = try ScatterVolume(device: device, user: 0, group: 0, blockBytes: 1024)
      #expect(volume.statistics().blocks == 2 && volume.traits.blockBytes == 1024)
    }
  }
}
