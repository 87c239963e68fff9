// A device for tests: bytes in memory, completions in an order drawn from a seed, and errors on request.

import Block
import IOVector
import Memory
import TestSupport

/// Shared bytes behind any number of queues of one thread.
final class ScriptedDevice: BlockDevice, @unchecked Sendable {
  // Guard of the unchecked Sendable: a test uses it from one thread.
  let name = "scripted"
  var limits: QueueLimits
  let isReadOnly = false
  var bytes: [UInt8]
  var generator: SeededGenerator
  /// Every so many transfers fail with EIO; 0 for never.
  var failureInterval = 0
  /// Transfers so far.
  var transfers = 0
  var flushes = 0
  /// Transfers from the device.
  var reads = 0
  /// Which sectors were written; nil for a device that calls all of it data.
  var written: [Bool]?

  /// Every bio in the order in which they ended, if it is asked for.
  var record: [RecordedBio]?
  /// The most bios under way.
  var mostInFlight = 0
  /// A size without bytes behind it, for bios that are only recorded.
  var pretendedByteCount: Int?

  var byteCount: Int { pretendedByteCount ?? bytes.count }

  init(byteCount: Int, blockSize: Int, seed: UInt64) {
    bytes = [UInt8](repeating: 0, count: byteCount)
    var limits = QueueLimits()
    limits.logicalBlockSize = blockSize
    limits.dmaAlignment = 511
    self.limits = limits
    generator = SeededGenerator(seed: seed)
  }

  func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: AnyObject?
  ) throws(Errno) -> any DeviceQueue {
    ScriptedQueue(device: self, pool: pool, context: context)
  }

  let isImmediate = false
  let canRelax = false
  func relax() {}
  var storedByteCount: Int { byteCount }
  func isHole(at offset: Int, byteCount: Int) -> Bool {
    isHoleBySeeking(at: offset, byteCount: byteCount)
  }
  /// Finds data only, which is all that anybody asks for.
  func seek(offset: Int, whence: Int32) throws(Errno) -> Int {
    guard let written else { return offset }
    guard let sector = written[(offset / 512)...].firstIndex(of: true) else {
      throw Errno(rawValue: 6)  // ENXIO
    }
    return max(offset, sector * 512)
  }

  /// Moves a bio's bytes, or fails as the script says.
  func perform(_ bio: borrowing Bio, pages: PageTable) -> Errno? {
    transfers += 1
    if failureInterval > 0 && transfers % failureInterval == 0 { return .ioError }
    var offset = Int(bio.sector) * 512
    precondition(offset % limits.logicalBlockSize == 0, "a bio starts within a block")
    precondition(bio.byteCount % limits.logicalBlockSize == 0, "a bio ends within a block")
    if bio.operation.hasNoSegments { return clear(bio, at: offset) }
    let isWrite = bio.operation == .write || bio.operation == .driverOut
    if bio.flags.contains(.cached) {
      let isWhole = bio.byteCount % pageSize == 0 || offset + bio.byteCount >= byteCount
      precondition(offset % pageSize == 0 && isWhole, "a page of the host is shared")
    }
    if isWrite {
      for sector in offset / 512..<(offset + bio.byteCount) / 512 { written?[sector] = true }
    } else {
      reads += 1
    }
    var position = bio.iterator
    while let vector = bio.nextVector(&position) {
      let memory = unsafe pages.memory(
        at: vector.page, offset: Int(vector.offset), length: Int(vector.length))
      unsafe bytes.withUnsafeMutableBytes { bytes in
        let place = unsafe UnsafeMutableRawBufferPointer(
          rebasing: bytes[offset..<offset + memory.count])
        if isWrite {
          unsafe place.copyMemory(from: UnsafeRawBufferPointer(memory))
        } else {
          unsafe memory.copyMemory(from: UnsafeRawBufferPointer(place))
        }
      }
      offset += memory.count
    }
    return nil
  }
}

/// What a device was asked.
struct RecordedBio: Equatable {
  let operation: BioOperation
  let offset: Int
  let byteCount: Int
  let flags: BioFlags
}

extension ScriptedDevice {
  /// Makes a range zeroes, or, if it is discarded, what nobody can mistake for data.
  private func clear(_ bio: borrowing Bio, at offset: Int) -> Errno? {
    if pretendedByteCount != nil { return nil }
    let value: UInt8 = bio.operation == .discard ? 0xdd : 0
    let range = offset..<offset + bio.byteCount
    bytes.replaceSubrange(range, with: repeatElement(value, count: range.count))
    return nil
  }

  func note(_ bio: borrowing Bio) {
    record?.append(
      RecordedBio(
        operation: bio.operation, offset: Int(bio.sector) * 512, byteCount: bio.byteCount,
        flags: bio.flags.subtracting([.pagePinned, .pageReffed, .cloned])))
  }
}

/// Holds bios back and completes them in random order; the data moves at completion.
final class ScriptedQueue: DeviceQueue {
  private let device: ScriptedDevice
  private let pool: BioPool
  private let context: MemoryContext
  private var waiting: [BioIndex] = []

  init(device: ScriptedDevice, pool: BioPool, context: MemoryContext) {
    self.device = device
    self.pool = pool
    self.context = context
  }

  let isImmediate = false
  var inFlightCount: Int { waiting.count }
  func submit(_ bio: consuming Bio) {
    waiting.append(bio.detach())
    device.mostInFlight = max(device.mostInFlight, waiting.count)
  }
  func close() {}

  func nextCompleted() -> Bio? {
    // Now and then nothing is ready, so that requests pile up.
    if waiting.isEmpty || device.generator.next() % 3 == 0 { return nil }
    let place = Int(device.generator.next() % UInt64(waiting.count))
    let bio = pool.adopt(waiting.remove(at: place))
    device.note(bio)
    if bio.operation == .flush {
      device.flushes += 1
    } else if let error = device.perform(bio, pages: context.pages) {
      bio.status = error
    }
    return bio
  }
}
