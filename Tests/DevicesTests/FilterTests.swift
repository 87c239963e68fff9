// Filters stacked on one another: each sees what it should, and who submitted sees one completion.

import Block
import Devices
import Glibc
import IOVector
import Memory
import Ring
import TestSupport
import Testing

@Suite("A filter", .serialized)
struct FilterTests {
  private static let allWays: [[CutFilter.Way]] = [
    [.split(sectors: 3)], [.clone], [.split(sectors: 3), .clone], [.clone, .split(sectors: 3)],
    [.split(sectors: 5), .split(sectors: 2)], [.split(sectors: 2), .split(sectors: 5)],
    [.clone, .split(sectors: 3), .clone, .split(sectors: 1)],
  ]
  private static let allKinds: [DeviceKind] = [.memory, .synchronous, .ring]

  /// Puts filters before a device; the first is the uppermost.
  private func stack(_ ways: [CutFilter.Way], on device: any BlockDevice) -> any BlockDevice {
    ways.reversed().reduce(device) { CutFilter(next: $0, $1) }
  }

  @Test("forwards everything that it does not change", arguments: DeviceKind.allCases)
  func forwards(_ kind: DeviceKind) throws {
    try kind.with(byteCount: 1 << 20, filledWith: 3) { device, path in
      let filter = FilterDevice(next: FilterDevice(next: device))
      #expect(filter.name == device.name && filter.limits == device.limits)
      #expect(filter.byteCount == device.byteCount)
      #expect(filter.storedByteCount == device.storedByteCount)
      #expect(filter.isReadOnly == device.isReadOnly && filter.isImmediate == device.isImmediate)
      #expect(filter.canRelax == device.canRelax && (kind != .ringMapped || filter.canRelax))
      filter.relax()
      #expect(try filter.seek(offset: 4096, whence: 3) == device.seek(offset: 4096, whence: 3))
      #expect(throws: Errno(rawValue: ENXIO)) { try filter.seek(offset: 2 << 20, whence: 3) }
      try WaitingQueue(device: filter).zero(0..<8192, keepsStorage: false)
      #expect(filter.isHole(at: 0, byteCount: 8192) == kind.isFile)
      #expect(!filter.isHole(at: 8192, byteCount: 4096))
    }
  }

  @Test("gives one completion for a bio, however it was cut", arguments: allKinds, allWays)
  func cuts(_ kind: DeviceKind, _ ways: [CutFilter.Way]) throws {
    try kind.with(byteCount: 1 << 20, filledWith: 0) { device, _ in
      let record = RecordFilter(next: device)
      let rig = try DeviceRig(stack(ways, on: record))
      var random = SeededGenerator(seed: 4)
      let written = (0..<16 << 10).map { _ in UInt8.random(in: 0...255, using: &random) }
      unsafe rig.memory(page: 16, count: written.count).copyBytes(from: written)
      try rig.submit(.write, at: 8192, count: written.count, page: 16, token: 42, flags: .fua)
      #expect(rig.outcomes() == [.init(token: 42, status: nil)])
      #expect(rig.pool.outstandingCount == 0 && rig.queue.inFlightCount == 0)
      // All of it came by once, in pieces that keep what was asked for.
      let pieces = record.entries.sorted { $0.sector < $1.sector }
      var sector: UInt64 = 16
      for piece in pieces {
        #expect(piece.sector == sector && piece.operation == .write && piece.flags == .fua)
        sector += UInt64(piece.byteCount / 512)
      }
      #expect(sector == 16 + 32)
      #expect(try rig.read(at: 8192, count: written.count) == written)
    }
  }

  @Test("hands the error of one part to the whole, once", arguments: allKinds, allWays)
  func fails(_ kind: DeviceKind, _ ways: [CutFilter.Way]) throws {
    try kind.with(byteCount: 1 << 20, filledWith: 0) { device, _ in
      for sector: UInt64 in [16, 20, 47] {
        let broken = CutFilter(next: device, .fail(sector: sector, .noSpace))
        let rig = try DeviceRig(stack(ways, on: broken))
        for token in 0..<4 {
          // Only the second of them touches the sector.
          let offset = token == 1 ? 8192 : 65536 + token * 16384
          try rig.submit(.write, at: offset, count: 16384, page: 8, token: token)
        }
        let outcomes = rig.outcomes(4).sorted { $0.token < $1.token }
        #expect(
          outcomes == (0..<4).map { .init(token: $0, status: $0 == 1 ? .noSpace : nil) },
          "sector \(sector)")
        #expect(rig.pool.outstandingCount == 0 && rig.queue.inFlightCount == 0)
      }
    }
  }

  @Test("ends a bio with ENOMEM where it can make no more, and loses none", arguments: allWays)
  func exhausted(_ ways: [CutFilter.Way]) throws {
    let device = MemoryDevice(byteCount: 1 << 20, blockSize: 512)
    for slots in 1...12 {
      let rig = try DeviceRig(stack(ways, on: device), slots: slots)
      for token in 0..<3 {
        try rig.submit(.read, at: 4096, count: 8192, page: 0, token: token)
        let outcomes = rig.outcomes()
        #expect(outcomes.count == 1 && outcomes[0].token == token)
        #expect([nil, .noMemory].contains(outcomes[0].status))
        if slots == 1 { #expect(outcomes[0].status == .noMemory) }
        #expect(rig.pool.outstandingCount == 0 && rig.queue.inFlightCount == 0)
      }
    }
  }

  @Test("delays by a timer of the ring, above one that records", arguments: allKinds)
  func delays(_ kind: DeviceKind) throws {
    try kind.with(byteCount: 1 << 20, filledWith: 7) { device, _ in
      let record = RecordFilter(next: device)
      let delay = DelayFilter(next: record, nanoseconds: 20_000_000)
      #expect(!delay.isImmediate)
      // A second one between two that cut, so that parts are delayed, too.
      let rig = try DeviceRig(
        CutFilter(
          next: DelayFilter(next: CutFilter(next: delay, .clone), nanoseconds: 10_000_000),
          .split(sectors: 4)))
      let start = ContinuousClock.now
      try rig.submit(.read, at: 0, count: 8192, page: 0, token: 5)
      rig.queue.submit(try rig.pool.makeBio(.flush, sector: 0, vectorCapacity: 0, token: 6))
      let outcomes = rig.outcomes(2).sorted { $0.token < $1.token }
      #expect(outcomes == [.init(token: 5, status: nil), .init(token: 6, status: nil)])
      #expect(ContinuousClock.now - start >= .milliseconds(30))
      #expect(rig.bytes(page: 0, count: 8192) == Array(repeating: 7, count: 8192))
      let reads = (0..<4).map {
        RecordFilter.Entry(operation: .read, sector: UInt64($0) * 4, byteCount: 2048)
      }
      #expect(record.entries == reads + [.init(operation: .flush, sector: 0, byteCount: 0)])
      #expect(rig.pool.outstandingCount == 0 && rig.queue.inFlightCount == 0)
    }
  }

  @Test("sees every operation with its place, size and flags")
  func records() throws {
    let record = RecordFilter(next: MemoryDevice(byteCount: 1 << 20, blockSize: 512))
    let rig = try DeviceRig(record)
    try rig.submit(.write, at: 512, count: 1024, page: 0, flags: [.preflush, .fua])
    try rig.submit(.read, at: 1024, count: 4096, page: 0, flags: [.cached, .registered])
    try rig.submitRange(.discard, at: 4096, count: 8192)
    try rig.submitRange(.writeZeroes, at: 8192, count: 4096, flags: .noUnmap)
    rig.queue.submit(try rig.pool.makeBio(.flush, sector: 0, vectorCapacity: 0))
    #expect(rig.outcomes(5).allSatisfy { $0.status == nil })
    #expect(
      record.entries == [
        .init(operation: .write, sector: 1, byteCount: 1024, flags: [.preflush, .fua]),
        .init(operation: .read, sector: 2, byteCount: 4096, flags: [.cached, .registered]),
        .init(operation: .discard, sector: 8, byteCount: 8192),
        .init(operation: .writeZeroes, sector: 16, byteCount: 4096, flags: .noUnmap),
        .init(operation: .flush, sector: 0, byteCount: 0),
      ])
  }
}
