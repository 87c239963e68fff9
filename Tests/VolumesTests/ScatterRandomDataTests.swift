// Random changes of a few files' data, compared with arrays of bytes.

import DirectIO
import Memory
import TestSupport
import Testing

@testable import Volumes

@Suite("Files of a scatter volume under random changes")
struct ScatterRandomDataTests {
  @Test(
    "are what was made of them",
    arguments: [(512, 1), (512, 2), (1024, 3), (4096, 4)] as [(Int, UInt64)])
  func matchShadow(blockBytes: Int, seed: UInt64) throws {
    // So small that the volume is full now and then.
    let fixture = try ScatterFixture(
      imageBytes: 96 * blockBytes, blockBytes: blockBytes, seed: seed)
    var random = SeededGenerator(seed: seed)
    var shadows: [ShadowFile] = []
    for number in 0..<3 {
      shadows.append(
        ShadowFile(inode: try fixture.makeFile("f\(number)"), blockBytes: blockBytes))
    }
    for _ in 0..<200 {
      let index = Int.random(in: 0..<shadows.count, using: &random)
      if Int.random(in: 0..<60, using: &random) == 0 {
        // A file goes, and its blocks come back in others.
        try fixture.volume.unlink(FileName("f\(index)"), in: 1)
        fixture.volume.forget(shadows[index].inode, lookups: 1)
        shadows[index] = ShadowFile(
          inode: try fixture.makeFile("f\(index)"), blockBytes: blockBytes)
      } else {
        try shadows[index].change(through: fixture, &random)
      }
      fixture.check()
      for shadow in shadows { try shadow.compare(with: fixture, &random) }
    }
    for (index, shadow) in shadows.enumerated() {
      try fixture.volume.unlink(FileName("f\(index)"), in: 1)
      fixture.volume.forget(shadow.inode, lookups: 1)
    }
    #expect(fixture.freeBlocks == 96)
  }
}

/// What a file should be: its bytes, and what is known of each block.
private struct ShadowFile {
  enum Block { case hole, unwritten, written }

  let inode: UInt64
  let blockBytes: Int
  var bytes: [UInt8] = []
  var blocks: [Block]
  private let limit: Int

  init(inode: UInt64, blockBytes: Int) {
    self.inode = inode
    self.blockBytes = blockBytes
    limit = 60 * blockBytes
    blocks = Array(repeating: .hole, count: 60)
  }

  mutating func change(
    through fixture: ScatterFixture, _ random: inout SeededGenerator
  ) throws {
    let range = randomRange(&random)
    let offset = range.lowerBound
    let needed = touched(range).count { blocks[$0] == .hole }
    let fits = needed <= fixture.freeBlocks
    switch Int.random(in: 0..<10, using: &random) {
    case 0..<4: try write(range, UInt8.random(in: 1...200, using: &random), fixture)
    case 4: try failToWrite(range, fixture)
    case 5: try truncate(to: offset, fixture)
    case 6:
      try fixture.changeStorage(of: inode, .punchHole, offset: offset, length: range.count)
      zero(range)
      for block in inside(range) { blocks[block] = .hole }
    case 7, 8:
      let keepsSize = Bool.random(using: &random)
      let zeroes = Bool.random(using: &random)
      let change: StorageChange =
        zeroes ? .zero(keepsSize: keepsSize) : .allocate(keepsSize: keepsSize)
      if !fits {
        #expect(throws: Errno.noSpace) {
          try fixture.changeStorage(of: inode, change, offset: offset, length: range.count)
        }
        return
      }
      try fixture.changeStorage(of: inode, change, offset: offset, length: range.count)
      for block in touched(range) where blocks[block] == .hole { blocks[block] = .unwritten }
      if zeroes {
        zero(range)
        for block in inside(range) { blocks[block] = .unwritten }
      }
      if !keepsSize { grow(to: range.upperBound) }
    default: try truncate(to: min(bytes.count + range.count, limit), fixture)
    }
  }

  private mutating func write(
    _ range: Range<Int>, _ value: UInt8, _ fixture: ScatterFixture
  ) throws {
    let data = (0..<range.count).map { value &+ UInt8(truncatingIfNeeded: $0 % 50) }
    var done = 0
    do throws(Errno) {
      done = try fixture.write(data, to: inode, at: range.lowerBound)
    } catch {
      #expect(error == .noSpace)
    }
    #expect(done == range.count || fixture.freeBlocks == 0)
    if done == 0 { return }
    let end = range.lowerBound + done
    grow(to: end)
    bytes.replaceSubrange(range.lowerBound..<end, with: data[..<done])
    for block in touched(range.lowerBound..<end) { blocks[block] = .written }
  }

  /// Leaves garbage in fresh blocks, and says nothing of it.
  private mutating func failToWrite(_ range: Range<Int>, _ fixture: ScatterFixture) throws {
    var offset = range.lowerBound
    while offset < range.upperBound {
      let extent: Extent
      do throws(Errno) {
        extent = try fixture.extentToWrite(
          inode, at: offset, limit: range.upperBound - offset)
      } catch {
        #expect(error == .noSpace && fixture.freeBlocks == 0)
        return
      }
      let part = touched(offset..<offset + extent.byteCount)
      if extent.kind == .mapped {
        #expect(part.allSatisfy { blocks[$0] == .written })
      } else {
        fixture.fill(extent, with: repeatElement(0xBB, count: extent.byteCount))
        #expect(part.allSatisfy { blocks[$0] == (extent.kind == .new ? .hole : .unwritten) })
        for block in part { blocks[block] = .unwritten }
      }
      offset += extent.byteCount
    }
  }

  private mutating func truncate(to size: Int, _ fixture: ScatterFixture) throws {
    try fixture.truncate(inode, to: size)
    if size > bytes.count { return grow(to: size) }
    bytes.removeSubrange(size...)
    for block in touched(0..<size).upperBound..<blocks.count { blocks[block] = .hole }
  }

  private mutating func grow(to size: Int) {
    if size > bytes.count { bytes += [UInt8](repeating: 0, count: size - bytes.count) }
  }

  private mutating func zero(_ range: Range<Int>) {
    for place in range.clamped(to: 0..<bytes.count) { bytes[place] = 0 }
  }

  func compare(with fixture: ScatterFixture, _ random: inout SeededGenerator) throws {
    let attributes = try fixture.volume.attributes(of: inode)
    #expect(attributes.size == bytes.count)
    #expect(attributes.blocks512 == blocks.count { $0 != .hole } * blockBytes / 512)
    try #require(fixture.read(inode) == bytes)
    if bytes.isEmpty { return }
    let offset = Int.random(in: 0..<bytes.count, using: &random)
    let isWritten = { (block: Int) in blocks[block] == .written }
    let all = touched(offset..<bytes.count)
    let data = all.first { isWritten($0) }.map { max(offset, $0 * blockBytes) }
    let hole = all.first { !isWritten($0) }.map { max(offset, $0 * blockBytes) } ?? bytes.count
    if let data {
      #expect(try fixture.volume.seek(inode, offset: offset, whence: seekData) == data)
    } else {
      #expect(throws: Errno.noSuchAddress) {
        try fixture.volume.seek(inode, offset: offset, whence: seekData)
      }
    }
    #expect(try fixture.volume.seek(inode, offset: offset, whence: seekHole) == hole)
  }

  private func randomRange(_ random: inout SeededGenerator) -> Range<Int> {
    // Whole blocks half of the time.
    let unit = Bool.random(using: &random) ? blockBytes : 1
    let start = Int.random(in: 0..<limit / unit, using: &random) * unit
    let most = min(limit - start, 24 * blockBytes) / unit
    return start..<start + Int.random(in: 1...most, using: &random) * unit
  }

  private func touched(_ range: Range<Int>) -> Range<Int> {
    range.lowerBound / blockBytes..<(range.upperBound + blockBytes - 1) / blockBytes
  }

  private func inside(_ range: Range<Int>) -> Range<Int> {
    let first = (range.lowerBound + blockBytes - 1) / blockBytes
    return first..<max(first, range.upperBound / blockBytes)
  }
}
