// Requests and answers by FUSE over io_uring (Linux 6.14): one system call takes a batch of answers to the kernel and
// brings the next requests, and the image's I/O goes with it.

import CFuse3
import CSystem
import DirectIO
import Glibc
import Memory
import Ring

/// A worker's share of the ring entries. An entry is a request slot that the kernel fills.
///
/// Every entry is with the kernel, waiting for a request, or here, being served; answering a request and waiting for
/// the next is one command. Whoever answers has the entry on its own ring from then on.
@safe final class RingTransport: Transport {
  let server: Server
  private let memory: RequestMemory
  private let shape: ShapeSetting
  /// When each worker last had a request of its own queue.
  let ownWork: Pulses
  let entries: RingEntries
  let ring: IORing
  private let file: Int32
  /// Requests that have come and that nobody has looked at.
  private let arrived: UnsafeMutablePointer<Int>
  private var arrivedCount = 0
  /// Requests that wait for a thaw; their slots stay taken.
  private var held: [HeldRequest] = []
  /// What still comes by /dev/fuse; the first worker alone reads it.
  private let remainder: DeviceRemainder?
  private var attention: Attention
  var sharing = Sharing()
  private let canRelax: Bool
  /// Whether the device was told so after the last request.
  private var isRelaxed = false

  private struct HeldRequest {
    let slot: Int
    let messageBytes: Int
  }

  private static let bellMark = RingOwner.poll
  private static let deviceMark = RingOwner.poll | 1

  /// Prepares a worker's share; nothing is registered yet.
  /// - Throws: what the ring or the device refused.
  init(worker: Int, server: Server, ring: IORing) throws(Errno) {
    self.ring = ring
    self.server = server
    memory = server.memory
    shape = server.shape
    ownWork = server.ownWork
    canRelax = server.device.canRelax
    guard let entries = server.ringEntries else {
      preconditionFailure("a ring transport without entries")
    }
    self.entries = entries
    file = try ring.register(file: server.sessionDescriptor)
    remainder = worker == 0 ? try DeviceRemainder(server: server) : nil
    unsafe arrived = .allocate(capacity: memory.slotCount)
    attention = Attention(
      worker: worker, pulses: server.pulses,
      maximumNanoseconds: server.configuration.spinNanoseconds)
  }

  deinit { unsafe arrived.deallocate() }

  /// Registers the worker's entries. The kernel uses the one that came last first, so the first slots stay in use
  /// and in cache.
  func open(for worker: Worker) throws(Errno) {
    // Where each CPU has a worker, that one stays on it: a request is then served where its sender runs.
    if server.configuration.workerCount == server.configuration.allowedCPUs.count {
      _ = extractfs_run_on_cpu(UInt32(server.configuration.allowedCPUs[worker.index]))
    }
    let count = memory.slotsPerWorker
    for slot in (worker.index * count..<(worker.index + 1) * count).reversed() {
      guard let entry = unsafe ring.nextEntry() else { throw .wouldBlock }
      unsafe entries.prepare(
        entry, command: RingProtocol.register, slot: slot, file: file,
        data: RingOwner.transport | UInt64(slot))
    }
    ring.poll(worker.mailbox.bell, data: Self.bellMark)
    if let remainder { ring.poll(remainder.descriptor, data: Self.deviceMark) }
    ring.submit()
    while let completion = ring.nextCompletion() {
      let isEntry = RingOwner.of(completion.data) == RingOwner.transport
      if isEntry && completion.result < 0 { throw Errno(rawValue: -completion.result) }
      note(completion, for: worker)
    }
  }

  func close() { ring.unregisterFiles() }

  // MARK: Taking

  func takeRequests(for worker: Worker) -> Int {
    while let completion = ring.nextCompletion() { note(completion, for: worker) }
    let count = arrivedCount
    if count == 0 { return 0 }
    attention.noteWork()
    isRelaxed = false
    arrivedCount = 0
    let kept = unsafe share(arrived, count: count, of: worker)
    for place in 0..<kept { unsafe serve(arrived[place], for: worker) }
    return count
  }

  private func note(_ completion: RingCompletion, for worker: Worker) {
    switch RingOwner.of(completion.data) {
    case RingOwner.transport:
      if completion.result < 0 {
        // The entry is gone, and with it the mount.
        worker.hasEnded = true
        return
      }
      unsafe arrived[arrivedCount] = Int(completion.data & ~RingOwner.transport)
      arrivedCount &+= 1
    case RingOwner.poll: notePoll(completion.data, for: worker)
    default: worker.engine.note(completion)
    }
  }

  private func notePoll(_ mark: UInt64, for worker: Worker) {
    if mark == Self.bellMark {
      worker.mailbox.clearBell()
      ring.poll(worker.mailbox.bell, data: mark)
      return
    }
    guard let remainder else { return }
    if remainder.drain() {
      ring.poll(remainder.descriptor, data: mark)
    } else {
      worker.hasEnded = true
    }
  }

  /// Serves a request that another worker has passed on.
  func servePassed(_ slot: Int, for worker: Worker) {
    attention.noteWork()
    if entries.home(slot) == worker.index {
      ownWork.beat(worker.index, at: monotonicNanoseconds())
    }
    serve(slot, for: worker)
  }

  /// Serves the request that lies in a slot.
  func serve(_ slot: Int, for worker: Worker) {
    let shift = shape.current.misalignment
    let route = AnswerRoute(slot: slot, of: worker)
    unsafe worker.slots[slot].route = route
    unsafe worker.slots[slot].dataOffset = shift
    let message = unsafe entries.message(slot, payload: memory.payload(slot), shift: shift)
    guard let message = unsafe message else {
      let unique = unsafe entries.header(slot).load(fromByteOffset: 8, as: UInt64.self)
      answer(slot, unique: unique, error: .invalidArgument)
      return
    }
    _ = unsafe worker.dispatch(slot: slot, message: message, by: route)
  }

  // MARK: Answering

  func answer(_ slot: Int, unique: UInt64, error: Errno) {
    entries.setAnswer(slot, error: -error.rawValue, unique: unique, payloadBytes: 0)
    commit(slot)
  }

  func answer(_ slot: Int, unique: UInt64, written byteCount: Int) {
    let answer = fuse_write_out(size: UInt32(byteCount), padding: 0)
    unsafe memory.payload(slot).storeBytes(of: answer, as: fuse_write_out.self)
    entries.setAnswer(
      slot, error: 0, unique: unique, payloadBytes: MemoryLayout<fuse_write_out>.size)
    commit(slot)
  }

  func answer(_ slot: Int, unique: UInt64, dataAt offset: Int, byteCount: Int) {
    if offset > 0, let start = unsafe memory.payload(slot).baseAddress {
      unsafe memmove(start, start + offset, byteCount)
    }
    entries.setAnswer(slot, error: 0, unique: unique, payloadBytes: byteCount)
    commit(slot)
  }

  /// Gives a slot with its answer to the kernel, at the next system call.
  func commit(_ slot: Int) {
    guard let entry = unsafe ring.nextEntry() else {
      preconditionFailure("a ring has no entry right after it was sent off")
    }
    unsafe entries.prepare(
      entry, command: RingProtocol.commitAndFetch, slot: slot, file: file,
      data: RingOwner.transport | UInt64(slot))
  }

  /// A slot is free when its answer is committed.
  func release(_ slot: Int) {}

  // MARK: Holding

  var holdsWrites: Bool { !held.isEmpty }

  /// Keeps a request in its slot. Some slots stay free, else the thaw itself could not be asked for: then a write is
  /// told to try again.
  func hold(_ slot: Int, _ message: IncomingMessage, by route: AnswerRoute) {
    if entries.hold(slot) {
      held.append(HeldRequest(slot: slot, messageBytes: message.byteCount))
    } else {
      answer(slot, unique: message.unique, error: .wouldBlock)
    }
  }

  func releaseHeldWrites(for worker: Worker) -> Bool {
    let requests = held
    held = []
    for request in requests {
      entries.letGo(request.slot)
      let data = unsafe memory.payload(request.slot)
      let offset = unsafe worker.slots[request.slot].dataOffset
      // Where `serve` had put it: a WRITE's headers end where its data begins.
      guard let start = data.baseAddress else { continue }
      let isWrite =
        unsafe entries.header(request.slot).load(fromByteOffset: 4, as: UInt32.self)
        == Opcode.write
      let payloadBytes = unsafe Int(
        entries.header(request.slot).load(
          fromByteOffset: RingProtocol.payloadSizeOffset, as: UInt32.self))
      let first = unsafe start + (isWrite ? offset : 0) + payloadBytes - request.messageBytes
      _ = unsafe worker.dispatch(
        slot: request.slot,
        message: UnsafeMutableRawBufferPointer(start: first, count: request.messageBytes),
        by: worker.slots[request.slot].route)
    }
    return !requests.isEmpty
  }

  // MARK: Waiting

  /// Idle seconds after which the device is told to relax.
  private static let secondsToRelax = 2

  /// Sleeps until there is a completion. When nobody had work for a while, the device is told to relax.
  private func sleep(of worker: Worker) {
    if isRelaxed || !canRelax { return ring.submitAndWait() }
    if ring.submitAndWait(seconds: Self.secondsToRelax) { return }
    if server.isStopping { return }
    let idle = monotonicNanoseconds() &- ownWork.latest
    if idle > Self.secondsToRelax * 1_000_000_000 && worker.engine.isIdle {
      server.device.relax()
      isRelaxed = true
    }
  }

  func waitForWork(for worker: Worker) {
    if attention.isPaid {
      if ring.unsubmittedCount > 0 { ring.submit() }
      let mailbox = worker.mailbox
      if attention.lookAround(until: { [ring] in ring.hasNews || mailbox.isFilled }) {
        if ring.hasNews { ring.submit() }
        return
      }
    }
    attention.noteIdle()
    if worker.mailbox.fallAsleep() {
      sleep(of: worker)
      worker.mailbox.wakeUp()
    }
    if server.isStopping { worker.hasEnded = true }
  }
}
