// A scatter volume over a sparse image, and the least that an engine does with its extents.

import Devices
import DirectIO
import Foundation
import Memory
import TestSupport
import Testing

@testable import Volumes

/// A volume, and the content of its device in memory: garbage at first, so that what is shown without having been
/// written is seen.
final class ScatterFixture: Sendable {
  static let caller = Caller(user: 1000, group: 100, process: 1)
  static let garbage: UInt8 = 0xEE

  let volume: ScatterVolume
  private let content: Guarded<[UInt8]>

  init(imageBytes: Int, blockBytes: Int? = nil, seed: UInt64 = 8) throws {
    volume = try withSparseImage(byteCount: imageBytes) { device in
      try ScatterVolume(
        device: device, user: 1000, group: 100, blockBytes: blockBytes, seed: seed)
    }
    content = Guarded([UInt8](repeating: Self.garbage, count: imageBytes))
  }

  var blockBytes: Int { volume.traits.blockBytes }
  var freeBlocks: Int { volume.statistics().freeBlocks }

  // MARK: Names

  func makeFile(_ name: String, in directory: UInt64 = 1) throws(Errno) -> UInt64 {
    try volume.makeNode(
      FileName(name), in: directory, mode: 0o100644, device: 0, by: Self.caller
    ).attributes.inode
  }

  func makeDirectory(_ name: String, in directory: UInt64 = 1) throws(Errno) -> UInt64 {
    try volume.makeDirectory(FileName(name), in: directory, mode: 0o755, by: Self.caller)
      .attributes.inode
  }

  func names(of directory: UInt64, handle: UInt64 = 0) throws(Errno) -> [String] {
    var names: [String] = []
    try volume.list(directory, handle: handle, from: 0) {
      names.append($0.name.text)
      return true
    }
    return names
  }

  // MARK: Data

  /// Writes as the engine does.
  /// - Returns: bytes that were written, fewer than asked for when the volume is full.
  @discardableResult func write(
    _ bytes: [UInt8], to inode: UInt64, at offset: Int
  ) throws(Errno) -> Int {
    var done = 0
    while done < bytes.count {
      let extent: Extent
      do throws(Errno) {
        extent = try extentToWrite(inode, at: offset + done, limit: bytes.count - done)
      } catch {
        if done == 0 { throw error }
        break
      }
      fill(extent, with: bytes[done..<done + extent.byteCount])
      done += extent.byteCount
    }
    _ = try volume.finishWrite(to: inode, at: offset, byteCount: done, mayBlock: false)
    return done
  }

  func extentToWrite(_ inode: UInt64, at offset: Int, limit: Int) throws(Errno) -> Extent {
    let extent = try volume.extent(
      of: inode, at: offset, limit: limit, for: .write, mayBlock: false)
    guard let extent, extent.byteCount > 0 else { throw .fileTooBig }
    #expect(extent.byteCount <= limit)
    return extent
  }

  /// Puts bytes on the device, and zeroes around them where a block is fresh.
  func fill(_ extent: Extent, with bytes: some Collection<UInt8>) {
    let start = extent.deviceOffset
    let end = start + extent.byteCount
    let blockBytes = blockBytes
    content.withLock { content in
      if extent.kind != .mapped {
        for place in start / blockBytes * blockBytes..<start { content[place] = 0 }
        for place in end..<(end + blockBytes - 1) / blockBytes * blockBytes { content[place] = 0 }
      }
      content.replaceSubrange(start..<end, with: bytes)
    }
  }

  /// Reads up to the end of the file.
  func read(_ inode: UInt64, at offset: Int = 0, limit: Int = .max) throws(Errno) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < limit {
      let extent = try volume.extent(
        of: inode, at: offset + bytes.count, limit: limit - bytes.count, for: .read,
        mayBlock: false)
      guard let extent, extent.byteCount > 0 else { break }
      let place = extent.deviceOffset
      bytes +=
        extent.kind == .mapped
        ? content.withLock { Array($0[place..<place + extent.byteCount]) }
        : [UInt8](repeating: 0, count: extent.byteCount)
    }
    return bytes
  }

  func truncate(_ inode: UInt64, to size: Int) throws(Errno) {
    var change = AttributeChange()
    change.size = size
    try perform(volume.tailToZero(of: inode, before: change), on: inode)
    _ = try volume.change(inode, to: change, by: Self.caller)
  }

  func changeStorage(
    of inode: UInt64, _ change: StorageChange, offset: Int, length: Int
  ) throws(Errno) {
    try perform(
      volume.changeStorage(of: inode, change, offset: offset, length: length), on: inode)
    _ = try volume.finishWrite(to: inode, at: offset, byteCount: 0, mayBlock: false)
  }

  /// Zeroes what a range maps.
  private func perform(_ work: StorageWork, on inode: UInt64) throws(Errno) {
    var position = work.offset
    let end = work.offset + work.byteCount
    while position < end {
      let extent = try volume.extent(
        of: inode, at: position, limit: end - position, for: .read, mayBlock: false)
      guard let extent, extent.byteCount > 0 else { break }
      if extent.kind == .mapped { fill(extent, with: repeatElement(0, count: extent.byteCount)) }
      position += extent.byteCount
    }
  }

  // MARK: Invariants

  /// No block is in two files, those of files are in use and no others, and no list is out of order.
  func check(_ location: SourceLocation = #_sourceLocation) {
    let faults = volume.locked { state in
      var faults: [String] = []
      var seen: Set<Int> = []
      for (inode, node) in state.nodes {
        var end = 0
        var count = 0
        for piece in node.file.pieces {
          if piece.start < end || piece.count < 1 { faults.append("\(inode): \(piece)") }
          end = piece.end
          count += piece.count
          for place in piece.places {
            if !seen.insert(place).inserted { faults.append("\(inode): \(place) is used twice") }
            if !state.allocator.isUsed(place) { faults.append("\(inode): \(place) is free") }
          }
        }
        if count != node.file.blockCount { faults.append("\(inode): not \(count) blocks") }
      }
      if seen.count + state.allocator.freeCount != state.allocator.blockCount {
        faults.append("\(seen.count) used, \(state.allocator.freeCount) free")
      }
      return faults
    }
    #expect(faults == [], sourceLocation: location)
  }
}

/// `SEEK_DATA` and `SEEK_HOLE`, which the C library declares for GNU programs only.
let seekData: Int32 = 3
let seekHole: Int32 = 4

/// A device on a new image without data.
@discardableResult func withSparseImage<Result>(
  byteCount: Int, data: [UInt8] = [], isReadOnly: Bool = false,
  _ body: (SynchronousDevice) throws -> Result
) throws -> Result {
  try withTemporaryDirectory { directory in
    let file = directory.appending(path: "image")
    try makeSparseFile(file, sizeBytes: byteCount)
    if !data.isEmpty {
      let handle = try FileHandle(forUpdating: file)
      try handle.write(contentsOf: Data(data))
      try handle.close()
    }
    let options = ImageFile.Options(direct: false, isReadOnly: isReadOnly, blockSize: 512)
    return try body(SynchronousDevice(image: ImageFile(path: file.path, options: options)))
  }
}
