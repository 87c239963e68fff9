// Pages, a pool and a ring of one thread before any device; and the devices that tests are made over.

import Block
import Devices
import Foundation
import Glibc
import IOVector
import Memory
import Ring
import TestSupport
import Testing

/// What a worker has around its device queue.
final class DeviceRig {
  let map: MemoryMap
  let space = AddressSpace([])
  let counters = CounterSet(count: 1)
  let context: MemoryContext
  let pool: BioPool
  let ring: IORing
  let queue: any DeviceQueue

  /// What has come back: a token and how it went.
  struct Outcome: Equatable {
    let token: Int
    let status: Errno?
  }

  init(
    _ device: any BlockDevice, pages: Int = 1024, slots: Int = 256, hasRing: Bool = true
  ) throws {
    map = MemoryMap(pageCount: pages, hasMemory: true)
    context = MemoryContext(
      pages: map.table, user: space.view, kernel: .linear, era: .v8, counters: counters.blocks[0])
    pool = BioPool(slotCount: slots, context: context)
    ring = try IORing(entries: 64, isWide: false)
    queue = try device.makeQueue(
      pool: pool, depth: slots, context: context, ring: hasRing ? ring : nil)
  }

  deinit { queue.close() }

  func memory(page: Int, count: Int) -> UnsafeMutableRawBufferPointer {
    unsafe map.table.memory(at: Page(page), offset: 0, length: count)
  }

  func bytes(page: Int, count: Int) -> [UInt8] { unsafe Array(memory(page: page, count: count)) }

  /// Submits a transfer of memory from a page on, cut into as many segments.
  func submit(
    _ operation: BioOperation, at offset: Int, count: Int, page: Int, segments: Int = 1,
    token: Int = 0, flags: BioFlags = []
  ) throws {
    var bio = try pool.makeBio(
      operation, sector: UInt64(offset / 512), token: token, flags: flags)
    for segment in 0..<segments {
      // A page is left out between two segments, so that they do not merge.
      let length = UInt32(count / segments)
      let first = Page(page + segment * (Int(length) / pageSize + 2))
      #expect(bio.add(page: first, length: length, offset: 0) == length)
    }
    queue.submit(bio)
  }

  /// Submits what has a range and no bytes.
  func submitRange(
    _ operation: BioOperation, at offset: Int, count: Int, flags: BioFlags = []
  ) throws {
    queue.submit(
      try pool.makeBio(
        operation, sector: UInt64(offset / 512), byteCount: UInt32(count), flags: flags))
  }

  /// Takes completions as a worker does until so many bios are through.
  func outcomes(_ count: Int = 1) -> [Outcome] {
    var outcomes: [Outcome] = []
    while outcomes.count < count {
      while let bio = queue.nextCompleted() {
        outcomes.append(Outcome(token: bio.token, status: bio.status))
        bio.end()
      }
      if outcomes.count >= count { break }
      if !ring.wait(isForDevice: true, seconds: 20) {
        Issue.record("nothing completes any more: \(outcomes.count) of \(count) bios are through")
        break
      }
      ring.dispatch()
    }
    return outcomes
  }

  /// The status of the one bio under way; nothing else may come back.
  func outcome() -> Errno? {
    let all = outcomes()
    #expect(all.count == 1 && queue.inFlightCount == 0 && pool.outstandingCount == 0)
    return all.first?.status
  }

  /// What a device has from some byte on.
  func read(at offset: Int, count: Int, flags: BioFlags = []) throws -> [UInt8] {
    unsafe memory(page: 0, count: count).initializeMemory(as: UInt8.self, repeating: 0x77)
    try submit(.read, at: offset, count: count, page: 0, flags: flags)
    #expect(outcome() == nil)
    return bytes(page: 0, count: count)
  }
}

/// A device to run a test over.
enum DeviceKind: CaseIterable, CustomTestStringConvertible, Sendable {
  case memory
  case synchronous, synchronousInMemory
  case ring, ringInMemory, ringMapped
  case ringWithoutRing

  var testDescription: String { "\(self)" }

  var isFile: Bool { self != .memory }
  var liesInMemory: Bool {
    self == .synchronousInMemory || self == .ringInMemory || self == .ringMapped
  }

  /// Runs a test over a device of this kind, filled with a byte.
  /// - Parameter body: takes the device, and the image's path if there is one.
  func with(
    byteCount: Int, filledWith byte: UInt8, _ body: (any BlockDevice, String?) throws -> Void
  ) throws {
    if self == .memory {
      let device = MemoryDevice(byteCount: byteCount, blockSize: 512)
      unsafe device.content.initializeMemory(as: UInt8.self, repeating: byte)
      return try body(device, nil)
    }
    let run = { (directory: URL) in
      let path = directory.appending(path: "image").path
      try Data(repeating: byte, count: byteCount).write(to: URL(filePath: path))
      // Else blocks that are still to be allocated are not counted.
      let file = try OpenFile(path)
      try file.synchronize()
      let image = try ImageFile(
        path: path, options: .init(direct: true, isReadOnly: false, blockSize: nil))
      try body(device(image), path)
    }
    try liesInMemory ? withMemoryDirectory(run) : withTemporaryDirectory(run)
  }

  private func device(_ image: ImageFile) -> any BlockDevice {
    switch self {
    case .synchronous, .synchronousInMemory: SynchronousDevice(image: image)
    default: UringDevice(image: image, mapsMemory: self == .ringMapped)
    }
  }
}
