// A worker: one thread that takes requests from its own /dev/fuse clone, starts their I/O, and answers them.

import Block
import CFuse3
import CSystem
import DirectIO
import Glibc
import IOVector
import Memory
import Synchronization
import Volumes

/// What a request slot remembers between the arrival of its request and the answer.
@safe struct RequestSlot {
  var unique: UInt64 = 0
  var inode: UInt64 = 0
  var isWrite = false
  /// The descriptor that delivered the request and must take the answer.
  var descriptor: Int32 = -1
  /// Where the data starts after the payload's first byte.
  var dataOffset = 0
  var requestedBytes = 0
  /// The libfuse request that a flush or a pass-through request answers, or nil.
  var flushRequest: fuse_req_t?
  /// The pass-through request under way, or nil.
  var passThrough: PassThroughCall?
}

/// One thread's share of the work. All fields belong to that thread, but for the mailbox.
@safe final class Worker: @unchecked Sendable {
  // Guard of the unchecked Sendable: only `run()`'s thread touches the fields; `mail` and `wakeEvent` are shared.
  let index: Int
  unowned let server: Server
  let counters: CounterBlock
  let polling: FuseDevice
  let blocking: FuseDevice
  let wakeEvent: Int32
  private let mail = Mutex<[Int]>([])

  let engine: DirectIOEngine
  let slots: UnsafeMutablePointer<RequestSlot>
  private let freeSlots: UnsafeMutablePointer<Int>
  private(set) var freeCount: Int
  /// The slot whose message libfuse is looking at, or -1.
  var currentSlot = -1
  /// Writes that came while the mount was frozen, each a copy of its message.
  var heldWrites: [(message: [UInt8], descriptor: Int32)] = []
  /// Set when the device says that the mount is gone.
  var hasEnded = false
  var spin: SpinBudget
  /// Requests that the last look at the device brought.
  var lastTaken = 0

  /// Makes a worker and all it will need; called on the worker's own thread.
  /// - Throws: the errno of a clone, an eventfd or the device's queue.
  init(index: Int, server: Server) throws(Errno) {
    self.index = index
    self.server = server
    counters = server.counters.blocks[index]
    polling = try FuseDevice(cloning: server.sessionDescriptor, blocking: false)
    blocking = try FuseDevice(cloning: server.sessionDescriptor, blocking: true)
    wakeEvent = eventfd(0, EXTRACTFS_EFD_FLAGS)
    if wakeEvent < 0 { throw Errno(rawValue: errno) }
    let memory = server.memory
    engine = try DirectIOEngine(
      worker: index, requestCount: memory.slotsPerWorker, maxIOBytes: memory.maxIOBytes,
      device: server.device, gate: server.gate, ledger: server.ledger, defects: server.defects,
      context: MemoryContext(
        pages: memory.map.table, user: memory.space.view, kernel: .linear, era: .v8,
        counters: counters), passThroughLimits: server.configuration.passThroughLimits,
      userBase: RequestMemory.userBase,
      payloadPage: { memory.payloadPage(worker: index, slot: $0) },
      bouncePage: { memory.bouncePage(worker: index, slot: $0) })
    unsafe slots = .allocate(capacity: memory.slotsPerWorker)
    unsafe slots.initialize(repeating: RequestSlot(), count: memory.slotsPerWorker)
    unsafe freeSlots = .allocate(capacity: memory.slotsPerWorker)
    freeCount = memory.slotsPerWorker
    for slot in 0..<freeCount { unsafe (freeSlots + slot).initialize(to: freeCount - 1 - slot) }
    spin = SpinBudget(maximumNanoseconds: server.configuration.spinNanoseconds)
  }

  deinit {
    close(wakeEvent)
    unsafe slots.deallocate()
    unsafe freeSlots.deallocate()
  }

  /// Serves until the mount is gone and everything taken has been given back.
  func run() {
    CurrentThread.worker = self
    while true {
      let taken = hasEnded ? 0 : takeRequests()
      let progressed = advance()
      if hasEnded && engine.isIdle && heldWrites.isEmpty { break }
      if taken == 0 && !progressed { waitForWork() }
    }
    engine.close()
    CurrentThread.worker = nil
  }

  /// Moves everything that can move: completions, parked writes, thawed writes.
  private func advance() -> Bool {
    var progressed = openMail()
    if !heldWrites.isEmpty && (!server.isFrozen || hasEnded) {
      releaseHeldWrites()
      progressed = true
    }
    if engine.poll() { progressed = true }
    while let finished = engine.nextFinished() { answer(finished) }
    return progressed
  }

  // MARK: Slots

  /// The most recently used free slot, which is likely in cache, or nil.
  func takeSlot() -> Int? {
    if freeCount == 0 { return nil }
    freeCount &-= 1
    return unsafe freeSlots[freeCount]
  }

  /// Gives a slot back.
  func freeSlot(_ slot: Int) {
    unsafe freeSlots[freeCount] = slot
    freeCount &+= 1
  }

  // MARK: Mail

  /// Tells this worker, from any thread, that a parked request may go on.
  func post(request: Int) {
    mail.withLock { $0.append(request) }
    wake()
  }

  /// Wakes this worker from any thread.
  func wake() {
    var one: UInt64 = 1
    _ = unsafe write(wakeEvent, &one, 8)
  }

  /// Takes back wake-ups that have been noticed.
  func clearWakeEvent() {
    var count: UInt64 = 0
    _ = unsafe read(wakeEvent, &count, 8)
  }

  private func openMail() -> Bool {
    if !engine.hasParkedRequests { return false }
    let letters = mail.withLock { box in
      let letters = box
      box.removeAll(keepingCapacity: true)
      return letters
    }
    for request in letters { engine.resume(request) }
    return !letters.isEmpty
  }
}

/// How long to look for work before sleeping: grows while looking pays, shrinks while it does not.
struct SpinBudget {
  let maximumNanoseconds: Int
  private(set) var nanoseconds: Int

  init(maximumNanoseconds: Int) {
    self.maximumNanoseconds = maximumNanoseconds
    nanoseconds = maximumNanoseconds / 4
  }

  /// Work came while spinning.
  mutating func hit() { nanoseconds = min(maximumNanoseconds, nanoseconds * 2 + 1000) }

  /// The budget was spent for nothing. It never falls to zero, so that better times are noticed.
  mutating func miss() {
    nanoseconds = max(min(2000, maximumNanoseconds), nanoseconds / 2)
  }
}
