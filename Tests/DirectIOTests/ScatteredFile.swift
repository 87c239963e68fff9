// A file in scattered blocks, as plain arrays: what the engine's transfers are compared with.

import DirectIO
import Memory
import TestSupport

/// A file whose blocks lie anywhere on a device, are holes, or were never written.
struct ScatteredFile {
  struct Block {
    var kind: ExtentKind
    var deviceOffset: Int
  }

  let blockBytes: Int
  private(set) var blocks: [Block]
  /// What the file reads as.
  private(set) var bytes: [UInt8]
  /// Device blocks that belong to nobody.
  private(set) var free: [Int]

  /// Scatters a file over all of a device.
  /// - Parameter shift: where the device's first block begins.
  init(
    blockCount: Int, blockBytes: Int, shift: Int, device: ScriptedDevice,
    _ generator: inout SeededGenerator
  ) {
    self.blockBytes = blockBytes
    let room = (device.byteCount - shift) / blockBytes
    var places = (0..<room).map { shift + $0 * blockBytes }
    // Runs of up to eight blocks stay together.
    let runs = stride(from: 0, to: room, by: 8).map { Array(places[$0..<min($0 + 8, room)]) }
    places = runs.shuffled(using: &generator).flatMap { $0 }
    blocks = []
    bytes = []
    var kind = ExtentKind.mapped
    for index in 0..<blockCount {
      if generator.next() % 4 == 0 {
        kind = [.mapped, .mapped, .hole, .unwritten][Int(generator.next() % 4)]
      }
      blocks.append(Block(kind: kind, deviceOffset: places[index]))
      let old = device.bytes[places[index]..<places[index] + blockBytes]
      bytes += kind == .mapped ? Array(old) : Array(repeating: 0, count: blockBytes)
    }
    free = Array(places[blockCount...])
  }

  /// The extents of a range, as many as a list takes, in the pieces of single blocks.
  func extents(of range: Range<Int>) -> [Extent] {
    var list = ExtentList()
    var result: [Extent] = []
    var position = range.lowerBound
    while position < range.upperBound {
      let block = blocks[position / blockBytes]
      let end = min(range.upperBound, (position / blockBytes + 1) * blockBytes)
      let extent = Extent(
        deviceOffset: block.deviceOffset + position % blockBytes, byteCount: end - position,
        kind: block.kind)
      if !list.append(extent) { break }
      result.append(extent)
      position = end
    }
    return result
  }

  /// Gives the holes of a range new blocks.
  mutating func allocate(_ range: Range<Int>) {
    for index in touched(range) where blocks[index].kind == .hole { blocks[index].kind = .new }
  }

  /// What was given to a range and not written is unwritten from now on.
  mutating func settle(_ range: Range<Int>) {
    if range.isEmpty { return }
    for index in touched(range) where blocks[index].kind == .new { blocks[index].kind = .unwritten }
  }

  /// Notes a write.
  mutating func write(_ data: [UInt8], at offset: Int) {
    bytes.replaceSubrange(offset..<offset + data.count, with: data)
    for index in touched(offset..<offset + data.count) { blocks[index].kind = .mapped }
  }

  /// Notes that a range was zeroed: only what has data changes on the device.
  mutating func zero(_ range: Range<Int>) {
    bytes.replaceSubrange(range, with: repeatElement(0, count: range.count))
  }

  /// Notes that whole blocks of the device were discarded.
  mutating func discard(_ range: Range<Int>, deviceBlock: Int) {
    let first = (range.lowerBound + deviceBlock - 1) / deviceBlock * deviceBlock
    let end = range.upperBound / deviceBlock * deviceBlock
    for offset in first..<max(first, end) where blocks[offset / blockBytes].kind == .mapped {
      bytes[offset] = 0xdd
    }
  }

  private func touched(_ range: Range<Int>) -> ClosedRange<Int> {
    range.lowerBound / blockBytes...(range.upperBound - 1) / blockBytes
  }

  /// Mapped blocks whose bytes on the device are not the file's.
  func wrongBlocks(on device: [UInt8]) -> [Int] {
    blocks.indices.filter { index in
      let place = blocks[index].deviceOffset
      let file = index * blockBytes
      return blocks[index].kind == .mapped
        && device[place..<place + blockBytes] != bytes[file..<file + blockBytes]
    }
  }
}
