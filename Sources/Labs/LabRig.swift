// A machine for labs: processes, a disk, and bios between them, all of it the project's own code.

import Block
import Devices
import IOVector
import Memory

/// A machine with processes and a disk; direct I/O is started, held, and completed when the story wants it.
final class LabRig {
  let memory: VirtualMemory
  let disk: LabDisk
  private let counterSet = CounterSet(count: 1)
  private let era: Era
  private let bugs: ModelBugs
  private var pools: [Int: BioPool] = [:]

  /// A transfer that the device has and has not finished.
  struct Transfer {
    let process: ProcessID
    let bio: BioIndex
    let pages: [Page]
    let byteCount: Int
  }

  init(
    _ setup: LabSetup, era: Era = .v8, frames: Int = 64, movableFrames: Int = 0, pages: Int = 16,
    filePages: Int = 0, blockSize: Int = 512, bugs extra: ModelBugs = []
  ) {
    bugs = setup.bugs.union(extra)
    self.era = setup.era ?? era
    memory = VirtualMemory(
      frameCount: frames, movableFrameCount: movableFrames, processPageCount: pages,
      filePageCount: filePages, bugs: bugs)
    disk = LabDisk(byteCount: 128 << 10, blockSize: blockSize, seed: setup.seed)
  }

  var counters: CounterBlock { counterSet.blocks[0] }

  func context(of process: ProcessID) -> MemoryContext {
    var context = MemoryContext(
      pages: memory.map.table, user: memory.view(of: process), kernel: .linear, era: era,
      counters: counters)
    context.bugs = bugs
    return context
  }

  func pool(of process: ProcessID) -> BioPool {
    if let pool = pools[process.index] { return pool }
    let pool = BioPool(slotCount: 64, vectorsPerBio: 64, context: context(of: process))
    pools[process.index] = pool
    return pool
  }

  // MARK: Transfers

  /// Starts a direct read or write: the bio is filled by extraction, and is at the device afterwards.
  func start(
    _ operation: BioOperation, _ process: ProcessID, at address: UInt64, count: Int,
    sector: UInt64 = 0, _ cleanup: CleanupPolicy
  ) throws(Errno) -> Transfer {
    var iterator = IOVIter(
      userBuffer: address, count: count,
      direction: operation == .read ? .destination : .source)
    return try start(operation, process, &iterator, sector: sector, cleanup)
  }

  /// Starts a direct read or write of what an iterator stands at.
  func start(
    _ operation: BioOperation, _ process: ProcessID, _ iterator: inout IOVIter,
    sector: UInt64 = 0, passThrough: Bool = false, _ cleanup: CleanupPolicy
  ) throws(Errno) -> Transfer {
    var bio = try pool(of: process).makeBio(operation, sector: sector, vectorCapacity: 64)
    do throws(Errno) {
      if passThrough {
        try bio.mapUser(from: &iterator, limits: disk.limits, policy: cleanup)
      } else {
        try bio.fill(from: &iterator, limits: disk.limits, policy: cleanup)
      }
    } catch {
      bio.end(error)
      throw error
    }
    // Pages of a read are dirty as soon as the device may write to them, as `iomap_dio_bio_iter()` has it.
    if operation == .read && !bio.flags.cleanupMode.isEmpty { bio.setPagesDirty() }
    var pages: [Page] = []
    bio.forEachSegment { pages.append($0.page) }
    let count = bio.byteCount
    return Transfer(process: process, bio: bio.detach(), pages: pages, byteCount: count)
  }

  /// The device moves the data, and the bio ends.
  func finish(_ transfer: Transfer) {
    let bio = pool(of: transfer.process).adopt(transfer.bio)
    disk.perform(bio, pages: memory.map.table)
    bio.end()
  }

  // MARK: What is held

  /// Pins taken and not given back, of the whole machine.
  var pinsHeld: Int {
    counters.value(of: .simPinAcquired) - counters.value(of: .simPinReleased)
  }

  /// References taken and not given back, of the whole machine.
  var referencesHeld: Int {
    counters.value(of: .simGetAcquired) - counters.value(of: .simGetReleased)
  }

  /// Pins and references that page frames show.
  var countsOnPages: Int {
    (0..<memory.map.table.count).reduce(0) {
      let extra = memory.extraReferences(of: Page($1))
      let pin = Int(pinCountingBias)
      return $0 + extra / pin + extra % pin
    }
  }

  /// Bytes of a process that are not what the disk has.
  func wrongBytes(
    _ process: ProcessID, at address: UInt64, count: Int, diskOffset: Int = 0
  ) throws(Errno) -> Int {
    let seen = try memory.read(process, at: address, count: count)
    return differences(seen, Array(disk.bytes[diskOffset..<diskOffset + count]))
  }
}

/// A disk of bytes in memory, filled from a seed. It has its own idea of when a transfer happens: when told.
final class LabDisk: FilterDevice, @unchecked Sendable {
  // Guard of the unchecked Sendable: a lab uses its disk from one thread.
  private let memory: MemoryDevice

  override var name: String { "lab" }
  override var isImmediate: Bool { false }
  override var limits: QueueLimits {
    var limits = next.limits
    limits.dmaAlignment = 511
    return limits
  }

  /// What it stores.
  var bytes: [UInt8] { unsafe Array(memory.content) }

  init(byteCount: Int, blockSize: Int, seed: UInt64) {
    memory = MemoryDevice(byteCount: byteCount, blockSize: blockSize)
    var generator = SeededGenerator(seed: seed)
    // No byte is zero, so that data is never mistaken for memory that nobody wrote.
    for place in 0..<byteCount / 8 {
      let word = generator.next() | 0x0101_0101_0101_0101
      unsafe memory.content.storeBytes(of: word, toByteOffset: place * 8, as: UInt64.self)
    }
    super.init(next: memory)
  }

  /// Moves a bio's bytes.
  func perform(_ bio: borrowing Bio, pages: PageTable) { memory.perform(bio, pages: pages) }

  override func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: AnyObject?
  ) throws(Errno) -> any DeviceQueue {
    LabQueue(
      next: try next.makeQueue(pool: pool, depth: depth, context: context, ring: ring), pool: pool)
  }
}

/// Completes bios in the order in which they came, when it is asked.
private final class LabQueue: FilterQueue {
  private var waiting: [BioIndex] = []

  override var isImmediate: Bool { false }
  override var inFlightCount: Int { waiting.count + super.inFlightCount }
  override func submit(_ bio: consuming Bio) { waiting.append(bio.detach()) }

  override func nextCompleted() -> Bio? {
    if !waiting.isEmpty { next.submit(pool.adopt(waiting.removeFirst())) }
    return super.nextCompleted()
  }
}

/// In how many places two arrays differ.
func differences(_ one: [UInt8], _ other: [UInt8]) -> Int {
  one == other ? 0 : zip(one, other).count { $0 != $1 }
}

/// `right`, or how many bytes are wrong.
func rightOrWrong(_ wrongBytes: Int) -> String {
  wrongBytes == 0 ? "right" : "\(wrongBytes) bytes wrong"
}
