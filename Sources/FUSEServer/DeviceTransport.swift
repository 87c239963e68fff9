// Requests by reading /dev/fuse, answers by writing to it. Each worker has clones of its own of the descriptor.

import CFuse3
import CSystem
import DirectIO
import Glibc
import Memory
import Ring

/// The classic transport.
@safe final class DeviceTransport: Transport {
  private let server: Server
  private let polling: FuseDevice
  private let blocking: FuseDevice
  private let freeSlots: FixedTable<Slot>
  /// The clone that brought each slot's request: the answer must leave by the same.
  private let descriptors: FixedTable<Int32>
  private var freeCount: Int
  /// Requests that came while the mount was frozen, each a copy of its message.
  private var heldWrites: [(message: [UInt8], descriptor: Int32)] = []
  /// Bytes of those that programs wait for.
  private var heldBytes = 0
  /// So many are kept. What the kernel writes back comes on top: it never sends more than `max_background` at once.
  private static let heldBytesLimit = 64 << 20
  private var attention: Attention
  /// Requests that the last look at the device brought.
  private var lastTaken = 0
  /// What it takes to sleep while the device has something to do.
  private let waiting: RingWaiting?

  /// The worker's ring, and what it is to watch besides.
  private struct RingWaiting {
    let ring: IORing
    let requests: DescriptorWatch
    let bell: DescriptorWatch
  }

  /// Small requests that are taken before their I/O is sent off together.
  private static var batchLimit: Int { 16 }

  /// Clones the session's descriptor.
  /// - Throws: what the clone failed with.
  init(worker: Int, server: Server, mailbox: Mailbox, ring: IORing?) throws(Errno) {
    self.server = server
    polling = try FuseDevice(cloning: server.session.descriptor, blocking: false)
    blocking = try FuseDevice(cloning: server.session.descriptor, blocking: true)
    let count = server.memory.slotsPerWorker
    let first = worker * count
    freeSlots = FixedTable(count: count) { Slot(first + count - 1 - $0) }
    descriptors = FixedTable(count: server.memory.slotCount, repeating: -1)
    freeCount = count
    attention = Attention(
      worker: worker, pulses: server.pulses, windows: server.windows,
      maximumNanoseconds: server.configuration.spinNanoseconds)
    let requests = polling.descriptor
    waiting = ring.map {
      RingWaiting(
        ring: $0, requests: DescriptorWatch(requests, on: $0),
        bell: DescriptorWatch(mailbox.bell, on: $0))
    }
  }

  func open(for worker: Worker) {
    if server.configuration.workerCount == server.configuration.allowedCPUs.count {
      _ = extractfs_run_on_cpu(UInt32(server.configuration.allowedCPUs[worker.index]))
    }
  }
  func close() {}

  // MARK: Slots

  /// The most recently used free slot, which is likely in cache, or nil.
  private func takeSlot() -> Slot? {
    if freeCount == 0 { return nil }
    freeCount &-= 1
    return freeSlots[freeCount]
  }

  func release(_ slot: Slot) {
    freeSlots[freeCount] = slot
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
      let buffer = receiveBuffer(slot: slot, of: worker)
      switch polling.receive(into: buffer) {
      case .message(let count):
        taken &+= 1
        let isLarge = dispatch(
          slot, buffer[0..<count], from: polling.descriptor, to: worker)
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
    _ slot: Slot, _ message: MemoryWindow, from descriptor: Int32, to worker: Worker
  ) -> Bool {
    attention.noteWork()
    descriptors[slot.number] = descriptor
    return worker.dispatch(
      slot: slot, message: message, by: AnswerRoute(descriptor: descriptor))
  }

  /// Where a slot's next message goes: placed so that a WRITE's payload starts at the shift that is asked for.
  private func receiveBuffer(slot: Slot, of worker: Worker) -> MemoryWindow {
    let shift = server.shape.current.misalignment
    worker.slots[slot].dataOffset = shift
    let length =
      max(MessageLayout.dataHeader + server.memory.maxIOBytes, MessageLayout.minimumReceive)
    return server.memory.window(slot, from: shift - MessageLayout.dataHeader, length: length)
  }

  // MARK: Answering

  func answer(_ slot: Slot, unique: UInt64, error: Errno) {
    Reply.error(error, to: unique, on: descriptors[slot.number])
  }

  func answer(_ slot: Slot, unique: UInt64, written byteCount: Int) {
    Reply.written(byteCount, to: unique, on: descriptors[slot.number])
  }

  func answer(_ slot: Slot, unique: UInt64, dataAt offset: Int, byteCount: Int) {
    let header = MessageLayout.replyHeader
    let answer = server.memory.window(slot, from: offset - header, length: header + byteCount)
    Reply.data(answer, to: unique, on: descriptors[slot.number])
  }

  func setAnswer(_ slot: Slot, parts: [MemoryWindow]) {
    preconditionFailure("an answer by /dev/fuse leaves at once and not through a slot")
  }

  func commit(_ slot: Slot) {
    preconditionFailure("an answer by /dev/fuse leaves at once and not through a slot")
  }

  func servePassed(_ slot: Slot, for worker: Worker) {
    preconditionFailure("requests by /dev/fuse are passed to nobody")
  }

  // MARK: Holding

  var holdsWrites: Bool { !heldWrites.isEmpty }

  func hold(_ slot: Slot, _ message: IncomingMessage, by route: AnswerRoute) {
    if !message.isWriteback {
      if heldBytes + message.byteCount > Self.heldBytesLimit {
        answer(slot, unique: message.unique, error: .wouldBlock)
        return release(slot)
      }
      heldBytes += message.byteCount
    }
    heldWrites.append((message.copy(), route.descriptor))
    release(slot)
  }

  func releaseHeldWrites(for worker: Worker) -> Bool {
    var released = false
    heldBytes = 0
    while !heldWrites.isEmpty, let slot = takeSlot() {
      let (bytes, descriptor) = heldWrites.removeFirst()
      let place = receiveBuffer(slot: slot, of: worker)[0..<bytes.count]
      place.copy(bytes)
      _ = dispatch(slot, place, from: descriptor, to: worker)
      released = true
      if server.isFrozen { break }
    }
    return released
  }

  // MARK: Waiting

  /// Answers have left already; only the device's work is on the ring.
  func sendOff() {
    guard let ring = waiting?.ring else { return }
    if ring.unsubmittedCount > 0 { ring.submit() }
    if ring.dispatch() == 0 && ring.hasNews {
      ring.submit()
      ring.dispatch()
    }
  }

  func waitForWork(for worker: Worker) {
    if lookAgain(for: worker) { return }
    attention.noteIdle()
    let engine = worker.engine
    if engine.inFlightCount > 0, let waiting {
      wait(for: worker, by: waiting)
    } else if worker.hasEnded || engine.hasParkedRequests || worker.pendingVolumeWork > 0
      || holdsWrites
    {
      pollDescriptors(for: worker)
    } else {
      readBlocking(for: worker)
    }
  }

  /// Sleeps on the ring: for the device, for a request if one can be taken, and for a letter.
  private func wait(for worker: Worker, by waiting: RingWaiting) {
    if !worker.hasEnded && freeCount > 0 { waiting.requests.arm() }
    waiting.bell.arm()
    waiting.ring.wait(isForDevice: true)
    waiting.ring.dispatch()
    worker.mailbox.clearBell()
  }

  /// Looks at the device again and again for as long as that has paid lately.
  /// - Returns: whether something came.
  private func lookAgain(for worker: Worker) -> Bool {
    if !attention.isPaid || worker.hasEnded || freeCount == 0 { return false }
    return attention.lookAround { [self] in
      if takeRequests(for: worker) > 0 || worker.hasEnded { return true }
      if worker.engine.inFlightCount == 0 { return false }
      sendOff()
      return worker.engine.poll()
    }
  }

  /// Sleeps in a read of the device; the kernel wakes one reader for one request.
  ///
  /// All idle workers sleep here side by side. One that last ran on the client's CPU costs no wake-up of an idle CPU,
  /// and with several the scheduler mostly finds one: measured on two virtual CPUs, 4 KiB reads one at a time went from
  /// 22,000 to 45,000 a second against a single reader, spinning or not, and none of the deeper queues lost.
  private func readBlocking(for worker: Worker) {
    guard let slot = takeSlot() else { return }
    let buffer = receiveBuffer(slot: slot, of: worker)
    switch blocking.receive(into: buffer) {
    case .message(let count):
      _ = dispatch(slot, buffer[0..<count], from: blocking.descriptor, to: worker)
    case .nothing: release(slot)
    case .ended:
      release(slot)
      worker.hasEnded = true
    }
  }

  /// Sleeps until woken or until a request can be taken.
  private func pollDescriptors(for worker: Worker) {
    var descriptors = (
      pollfd(fd: worker.mailbox.bell, events: Int16(POLLIN), revents: 0),
      pollfd(
        fd: worker.hasEnded || freeCount == 0 ? -1 : polling.descriptor, events: Int16(POLLIN),
        revents: 0)
    )
    unsafe withUnsafeMutableBytes(of: &descriptors) { bytes in
      let list = unsafe bytes.assumingMemoryBound(to: pollfd.self)
      _ = unsafe poll(list.baseAddress, 2, -1)
    }
    worker.mailbox.clearBell()
  }
}
