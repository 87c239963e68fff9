// Requests by reading /dev/fuse, answers by writing to it. Each worker has clones of its own of the descriptor.

import CFuse3
import CSystem
import DirectIO
import Glibc
import Memory

/// The classic transport.
@safe final class DeviceTransport: Transport {
  private let server: Server
  private let polling: FuseDevice
  private let blocking: FuseDevice
  private let freeSlots: UnsafeMutablePointer<Int>
  /// The clone that brought each slot's request: the answer must leave by the same.
  private let descriptors: UnsafeMutablePointer<Int32>
  private var freeCount: Int
  /// Writes that came while the mount was frozen, each a copy of its message.
  private var heldWrites: [(message: [UInt8], descriptor: Int32)] = []
  private var attention: Attention
  /// Requests that the last look at the device brought.
  private var lastTaken = 0

  /// Small requests that are taken before their I/O is sent off together.
  private static var batchLimit: Int { 16 }

  /// Clones the session's descriptor.
  /// - Throws: what the clone failed with.
  init(worker: Int, server: Server) throws(Errno) {
    self.server = server
    polling = try FuseDevice(cloning: server.sessionDescriptor, blocking: false)
    blocking = try FuseDevice(cloning: server.sessionDescriptor, blocking: true)
    let count = server.memory.slotsPerWorker
    unsafe freeSlots = .allocate(capacity: count)
    unsafe descriptors = .allocate(capacity: server.memory.slotCount)
    unsafe descriptors.initialize(repeating: -1, count: server.memory.slotCount)
    freeCount = count
    let first = worker * count
    for slot in 0..<count { unsafe (freeSlots + slot).initialize(to: first + count - 1 - slot) }
    attention = Attention(
      worker: worker, pulses: server.pulses,
      maximumNanoseconds: server.configuration.spinNanoseconds)
  }

  deinit {
    unsafe freeSlots.deallocate()
    unsafe descriptors.deallocate()
  }

  func open(for worker: Worker) {
    if server.configuration.workerCount == server.configuration.allowedCPUs.count {
      _ = extractfs_run_on_cpu(UInt32(server.configuration.allowedCPUs[worker.index]))
    }
  }
  func close() {}

  // MARK: Slots

  /// The most recently used free slot, which is likely in cache, or nil.
  private func takeSlot() -> Int? {
    if freeCount == 0 { return nil }
    freeCount &-= 1
    return unsafe freeSlots[freeCount]
  }

  func release(_ slot: Int) {
    unsafe freeSlots[freeCount] = slot
    freeCount &+= 1
  }

  // MARK: Taking

  func takeRequests(for worker: Worker) -> Int {
    if worker.hasEnded { return 0 }
    var taken = 0
    let engine = worker.engine
    // A lone request is not kept waiting for company; it is gathered only where there was some lately.
    let gathers = !engine.isImmediate && (lastTaken > 1 || engine.inFlightCount > 0)
    let limit = gathers ? Self.batchLimit : 1
    defer { lastTaken = taken }
    while taken < limit, let slot = takeSlot() {
      let buffer = unsafe receiveBuffer(slot: slot, of: worker)
      switch unsafe polling.receive(into: buffer) {
      case .message(let count):
        taken &+= 1
        let isLarge = unsafe dispatch(
          slot, UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]),
          from: polling.descriptor, to: worker)
        // A large one is started at once, alone.
        if isLarge { return taken }
      case .nothing:
        release(slot)
        return taken
      case .ended:
        release(slot)
        worker.hasEnded = true
        return taken
      }
    }
    return taken
  }

  private func dispatch(
    _ slot: Int, _ message: UnsafeMutableRawBufferPointer, from descriptor: Int32,
    to worker: Worker
  ) -> Bool {
    attention.noteWork()
    unsafe descriptors[slot] = descriptor
    return unsafe worker.dispatch(
      slot: slot, message: message, by: AnswerRoute(descriptor: descriptor))
  }

  /// Where a slot's next message goes: placed so that a WRITE's payload starts at the shift that is asked for.
  private func receiveBuffer(slot: Int, of worker: Worker) -> UnsafeMutableRawBufferPointer {
    let shift = server.shape.current.misalignment
    unsafe worker.slots[slot].dataOffset = shift
    let length =
      max(MessageLayout.dataHeader + server.memory.maxIOBytes, MessageLayout.minimumReceive)
    return unsafe server.memory.map.table.memory(
      at: worker.engine.payloadPage(slot).advanced(by: -1),
      offset: pageSize + shift - MessageLayout.dataHeader, length: length)
  }

  // MARK: Answering

  func answer(_ slot: Int, unique: UInt64, error: Errno) {
    unsafe Reply.error(error, to: unique, on: descriptors[slot])
  }

  func answer(_ slot: Int, unique: UInt64, written byteCount: Int) {
    unsafe Reply.written(byteCount, to: unique, on: descriptors[slot])
  }

  func answer(_ slot: Int, unique: UInt64, dataAt offset: Int, byteCount: Int) {
    let payload = unsafe server.memory.map.table.memory(
      at: server.memory.payloadPage(slot), offset: offset, length: byteCount)
    if let start = payload.baseAddress {
      unsafe Reply.data(start, byteCount: byteCount, to: unique, on: descriptors[slot])
    }
  }

  // MARK: Holding

  var holdsWrites: Bool { !heldWrites.isEmpty }

  func hold(_ slot: Int, _ message: IncomingMessage, by route: AnswerRoute) {
    heldWrites.append((message.copy(), route.descriptor))
    release(slot)
  }

  func releaseHeldWrites(for worker: Worker) -> Bool {
    var released = false
    while !heldWrites.isEmpty, let slot = takeSlot() {
      let (bytes, descriptor) = heldWrites.removeFirst()
      let buffer = unsafe receiveBuffer(slot: slot, of: worker)
      let place = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<bytes.count])
      unsafe place.copyBytes(from: bytes)
      _ = unsafe dispatch(slot, place, from: descriptor, to: worker)
      released = true
      if server.isFrozen && !worker.hasEnded { break }
    }
    return released
  }

  // MARK: Waiting

  func waitForWork(for worker: Worker) {
    if lookAgain(for: worker) { return }
    attention.noteIdle()
    let engine = worker.engine
    if engine.inFlightCount > 0 {
      engine.wait(
        readable: worker.hasEnded || freeCount == 0 ? -1 : polling.descriptor, worker.mailbox.bell)
      worker.mailbox.clearBell()
    } else if worker.hasEnded || engine.hasParkedRequests || holdsWrites {
      pollDescriptors(for: worker)
    } else {
      readBlocking(for: worker)
    }
  }

  /// Looks at the device again and again for as long as that has paid lately.
  /// - Returns: whether something came.
  private func lookAgain(for worker: Worker) -> Bool {
    if !attention.isPaid || worker.hasEnded || freeCount == 0 { return false }
    return attention.lookAround { [self] in
      takeRequests(for: worker) > 0 || worker.hasEnded
        || (worker.engine.inFlightCount > 0 && worker.engine.poll())
    }
  }

  /// Sleeps in a read of the device; the kernel wakes one reader for one request.
  ///
  /// All idle workers sleep here side by side. One that last ran on the client's CPU costs no wake-up of an idle CPU,
  /// and with several the scheduler mostly finds one: measured on two virtual CPUs, 4 KiB reads one at a time went from
  /// 22,000 to 45,000 a second against a single reader, spinning or not, and none of the deeper queues lost.
  private func readBlocking(for worker: Worker) {
    guard let slot = takeSlot() else { return }
    let buffer = unsafe receiveBuffer(slot: slot, of: worker)
    switch unsafe blocking.receive(into: buffer) {
    case .message(let count):
      _ = unsafe dispatch(
        slot, UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]),
        from: blocking.descriptor, to: worker)
    case .nothing:
      release(slot)
      if server.isStopping { worker.hasEnded = true }
    case .ended:
      release(slot)
      worker.hasEnded = true
    }
  }

  /// Sleeps until woken or until a request can be taken.
  private func pollDescriptors(for worker: Worker) {
    var descriptors = (
      pollfd(fd: worker.mailbox.bell, events: Int16(POLLIN), revents: 0),
      pollfd(fd: worker.hasEnded ? -1 : polling.descriptor, events: Int16(POLLIN), revents: 0)
    )
    unsafe withUnsafeMutableBytes(of: &descriptors) { bytes in
      let list = unsafe bytes.assumingMemoryBound(to: pollfd.self)
      _ = unsafe poll(list.baseAddress, 2, -1)
    }
    worker.mailbox.clearBell()
    if server.isStopping { worker.hasEnded = true }
  }
}
