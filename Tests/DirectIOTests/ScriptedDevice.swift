// A device for tests: bytes in memory, completions in an order drawn from a seed, and errors on request.

import Block
import Devices
import IOVector
import Memory
import TestSupport

/// A filter before a device in memory, with any number of queues of one thread.
final class ScriptedDevice: FilterDevice, @unchecked Sendable {
  // Guard of the unchecked Sendable: a test uses it from one thread.
  private let memory: MemoryDevice
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

  override var name: String { "scripted" }
  override var isImmediate: Bool { false }
  override var limits: QueueLimits {
    get { ownLimits }
    set { ownLimits = newValue }
  }
  private var ownLimits: QueueLimits

  /// What it stores.
  var bytes: [UInt8] {
    get { unsafe Array(memory.content) }
    set { unsafe memory.content.copyBytes(from: newValue) }
  }

  init(byteCount: Int, blockSize: Int, seed: UInt64) {
    memory = MemoryDevice(byteCount: byteCount, blockSize: blockSize)
    ownLimits = memory.limits
    ownLimits.dmaAlignment = 511
    generator = SeededGenerator(seed: seed)
    super.init(next: memory)
  }

  override func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: AnyObject?
  ) throws(Errno) -> any DeviceQueue {
    ScriptedQueue(
      device: self,
      next: try next.makeQueue(pool: pool, depth: depth, context: context, ring: ring), pool: pool)
  }

  /// Finds data only, which is all that anybody asks for.
  override func seek(offset: Int, whence: Int32) throws(Errno) -> Int {
    guard let written else { return offset }
    guard let sector = written[(offset / 512)...].firstIndex(of: true) else {
      throw Errno(rawValue: 6)  // ENXIO
    }
    return max(offset, sector * 512)
  }

  override func isHole(at offset: Int, byteCount: Int) -> Bool {
    isHoleBySeeking(at: offset, byteCount: byteCount)
  }

  /// Notes what a bio is about to do.
  /// - Returns: the error that the script has for it.
  fileprivate func note(_ bio: borrowing Bio) -> Errno? {
    if bio.operation == .flush {
      flushes += 1
      return nil
    }
    transfers += 1
    if failureInterval > 0 && transfers % failureInterval == 0 { return .ioError }
    let offset = Int(bio.sector) * 512
    precondition(offset % limits.logicalBlockSize == 0, "a bio starts within a block")
    precondition(bio.byteCount % limits.logicalBlockSize == 0, "a bio ends within a block")
    if bio.operation == .read || bio.operation == .driverIn {
      reads += 1
    } else {
      for sector in offset / 512..<(offset + bio.byteCount) / 512 { written?[sector] = true }
    }
    return nil
  }
}

/// Holds bios back and completes them in random order; the data moves at completion.
final class ScriptedQueue: FilterQueue {
  private let device: ScriptedDevice
  private var waiting: [BioIndex] = []

  init(device: ScriptedDevice, next: any DeviceQueue, pool: BioPool) {
    self.device = device
    super.init(next: next, pool: pool)
  }

  override var isImmediate: Bool { false }
  override var inFlightCount: Int { waiting.count + super.inFlightCount }
  override func submit(_ bio: consuming Bio) { waiting.append(bio.detach()) }

  override func nextCompleted() -> Bio? {
    // Now and then nothing is ready, so that requests pile up.
    if waiting.isEmpty || device.generator.next() % 3 == 0 { return nil }
    let place = Int(device.generator.next() % UInt64(waiting.count))
    let bio = pool.adopt(waiting.remove(at: place))
    if let error = device.note(bio) {
      finish(bio, error)
    } else {
      next.submit(bio)
    }
    return super.nextCompleted()
  }
}
