// What a bio can ask of a device, over every device that stores anything.

import Block
import Devices
import Foundation
import Glibc
import IOVector
import Memory
import Ring
import TestSupport
import Testing

@Suite("A device", .serialized)
struct OperationTests {
  /// Not whole blocks.
  private static let byteCount = (1 << 20) + 1000

  private func rig(_ kind: DeviceKind, _ device: any BlockDevice) throws -> DeviceRig {
    try DeviceRig(device, hasRing: kind != .ringWithoutRing)
  }

  /// The content that tells where zeroes are.
  private func expect(
    _ rig: DeviceRig, zeroesIn range: Range<Int>, of whole: Range<Int>,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let bytes = try rig.read(at: whole.lowerBound, count: whole.count)
    let wrong = zip(whole, bytes).first { $1 != (range.contains($0) ? 0 : 0xA5) }
    #expect(wrong == nil, sourceLocation: sourceLocation)
  }

  @Test("gives storage back for a discard", arguments: DeviceKind.allCases)
  func discards(_ kind: DeviceKind) throws {
    try kind.with(byteCount: Self.byteCount, filledWith: 0xA5) { device, path in
      let rig = try rig(kind, device)
      let stored = device.storedByteCount
      try rig.submitRange(.discard, at: 65536, count: 65536)
      #expect(rig.outcome() == nil)
      try expect(rig, zeroesIn: 65536..<131072, of: 0..<262144)
      if kind.isFile { #expect(device.storedByteCount == stored - 65536) }
    }
  }

  @Test(
    "writes zeroes, keeping the storage where that is asked for", arguments: DeviceKind.allCases,
    [BioFlags.noUnmap, [], .fua])
  func zeroes(_ kind: DeviceKind, _ flags: BioFlags) throws {
    try kind.with(byteCount: Self.byteCount, filledWith: 0xA5) { device, path in
      let rig = try rig(kind, device)
      let stored = device.storedByteCount
      try rig.submitRange(.writeZeroes, at: 4096, count: 512 << 10, flags: flags)
      #expect(rig.outcome() == nil)
      try expect(rig, zeroesIn: 4096..<4096 + (512 << 10), of: 0..<(1 << 20))
      let isLess = device.storedByteCount < stored
      if kind.isFile { #expect(isLess == !flags.contains(.noUnmap)) }
    }
  }

  @Test(
    "does so up to its very end, which is no whole block", arguments: DeviceKind.allCases,
    [BioOperation.discard, .writeZeroes])
  func clearsTail(_ kind: DeviceKind, _ operation: BioOperation) throws {
    let flags: [BioFlags] = operation == .discard ? [[]] : [[], .noUnmap]
    for flags in flags {
      try kind.with(byteCount: Self.byteCount, filledWith: 0xA5) { device, path in
        let rig = try rig(kind, device)
        // Whole blocks before it, and more than there is.
        try rig.submitRange(operation, at: (1 << 20) - 8192, count: 8192 + 1024, flags: flags)
        #expect(rig.outcome() == nil)
        try expect(
          rig, zeroesIn: (1 << 20) - 8192..<(1 << 20), of: (1 << 20) - 16384..<(1 << 20))
        #expect(try rig.read(at: 1 << 20, count: 1024).prefix(1000).allSatisfy { $0 == 0 })
        if let path { #expect(try OpenFile(path).sizeBytes() == Self.byteCount) }
      }
    }
  }

  @Test("refuses to erase for good")
  func refusesSecureErase() throws {
    for kind: DeviceKind in [.synchronous, .ring] {
      try kind.with(byteCount: Self.byteCount, filledWith: 0xA5) { device, _ in
        let rig = try rig(kind, device)
        try rig.submitRange(.secureErase, at: 0, count: 4096)
        #expect(rig.outcome() == .notSupported)
        try expect(rig, zeroesIn: 0..<0, of: 0..<4096)
      }
    }
  }

  @Test(
    "takes flushes before, behind and without a write", arguments: DeviceKind.allCases,
    [
      BioFlags.preflush, .fua, [.preflush, .fua], .cached, [.cached, .preflush, .fua], .registered,
    ])
  func flushes(_ kind: DeviceKind, _ flags: BioFlags) throws {
    try kind.with(byteCount: Self.byteCount, filledWith: 0xA5) { device, path in
      let rig = try rig(kind, device)
      unsafe rig.memory(page: 0, count: 32768).initializeMemory(as: UInt8.self, repeating: 0)
      // One segment, several, and the end.
      try rig.submit(.write, at: 4096, count: 8192, page: 0, flags: flags)
      #expect(rig.outcome() == nil)
      unsafe rig.memory(page: 0, count: 32768).initializeMemory(as: UInt8.self, repeating: 0)
      try rig.submit(.write, at: 12288, count: 12288, page: 0, segments: 3, flags: flags)
      #expect(rig.outcome() == nil)
      unsafe rig.memory(page: 0, count: 32768).initializeMemory(as: UInt8.self, repeating: 0)
      try rig.submit(.write, at: 1 << 20, count: 1024, page: 0, flags: flags)
      #expect(rig.outcome() == nil)
      try expect(rig, zeroesIn: 4096..<24576, of: 0..<65536)
      #expect(try rig.read(at: 1 << 20, count: 1024).prefix(1000).allSatisfy { $0 == 0 })
      if let path { #expect(try OpenFile(path).sizeBytes() == Self.byteCount) }
      rig.queue.submit(try rig.pool.makeBio(.flush, sector: 0, vectorCapacity: 0))
      #expect(rig.outcome() == nil)
      rig.queue.submit(
        try rig.pool.makeBio(.write, sector: 0, vectorCapacity: 0, flags: .preflush))
      #expect(rig.outcome() == nil)
    }
  }

  @Test("serves many bios of many segments at once", arguments: DeviceKind.allCases)
  func crowds(_ kind: DeviceKind) throws {
    try kind.with(byteCount: Self.byteCount, filledWith: 0xA5) { device, _ in
      let rig = try rig(kind, device)
      for token in 0..<100 {
        let page = token * 9
        for segment in 0..<3 {
          unsafe rig.memory(page: page + segment * 2, count: 4096)
            .initializeMemory(as: UInt8.self, repeating: UInt8(token + segment))
        }
        try rig.submit(
          .write, at: token * 8192, count: 1536, page: page, segments: 3, token: token)
      }
      let outcomes = rig.outcomes(100)
      #expect(Set(outcomes.map(\.token)) == Set(0..<100))
      #expect(outcomes.allSatisfy { $0.status == nil })
      for token in 0..<100 {
        let bytes = try rig.read(at: token * 8192, count: 1536)
        let expected = (0..<3).flatMap { [UInt8](repeating: UInt8(token + $0), count: 512) }
        let isRight = bytes == expected
        #expect(isRight, "bio \(token)")
      }
    }
  }

  @Test("registers memory once for all queues, and reads and writes through it")
  func registers() throws {
    try DeviceKind.ring.with(byteCount: Self.byteCount, filledWith: 0xA5) { device, _ in
      let rigs = try [DeviceRig(device), DeviceRig(device)]
      // Two queues over the same memory, as two workers have them.
      let first = rigs[0]
      let other = try device.makeQueue(
        pool: first.pool, depth: 8, context: first.context, ring: rigs[1].ring)
      #expect(try first.read(at: 0, count: 8192, flags: .registered).allSatisfy { $0 == 0xA5 })
      let pages = first.counters.sum(.fixedBufferPages)
      #expect(pages == 1024)
      var bio = try first.pool.makeBio(.read, sector: 0, flags: .registered)
      #expect(bio.add(page: Page(50), length: 4096, offset: 0) == 4096)
      other.submit(bio)
      while other.inFlightCount > 0 {
        rigs[1].ring.wait(isForDevice: true)
        rigs[1].ring.dispatch()
        while let bio = other.nextCompleted() {
          #expect(bio.status == nil)
          bio.end()
        }
      }
      #expect(first.bytes(page: 50, count: 4096).allSatisfy { $0 == 0xA5 })
      #expect(first.counters.sum(.fixedBufferPages) == pages * (RingTraits.clonesBuffers ? 1 : 2))
    }
  }

  @Test("zeroes any bytes for those who wait", arguments: DeviceKind.allCases)
  func zeroesAnyBytes(_ kind: DeviceKind) throws {
    let end = Self.byteCount
    for range in [1..<2, 500..<513, 512..<1024, 100..<20_000, 4096..<5000, end - 1100..<end] {
      for keepsStorage in [false, true] {
        try kind.with(byteCount: end, filledWith: 0xA5) { device, _ in
          try WaitingQueue(device: device).zero(range, keepsStorage: keepsStorage)
          let rig = try rig(kind, device)
          try expect(rig, zeroesIn: range, of: 0..<65536)
          try expect(rig, zeroesIn: range, of: (1 << 20) - 65536..<(1 << 20))
          let tail = try rig.read(at: 1 << 20, count: 1024).prefix(1000)
          #expect(tail.allSatisfy { $0 == (range.upperBound == end ? 0 : 0xA5) })
        }
      }
    }
  }
}

/// What the kernel's rings can do.
enum RingTraits {
  static let clonesBuffers: Bool = {
    do throws(Errno) {
      let holder = try IORing(entries: 8, isWide: false, use: .anyThread)
      let page = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
      defer { unsafe page.deallocate() }
      unsafe try holder.register(buffer: page)
      try IORing(entries: 8, isWide: false).cloneBuffers(of: holder)
      return true
    } catch {
      return false
    }
  }()
}
