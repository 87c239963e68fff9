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
@safe final class RingTransport: Transport, CompletionOwner {
  let server: Server
  private let memory: RequestMemory
  private let shape: ShapeSetting
  /// When each worker last had a request of its own queue.
  let ownWork: Pulses
  let entries: RingEntries
  let ring: IORing
  private var tag: UInt64 = 0
  private let file: Int32
  private let mailbox: Mailbox
  private let bell: DescriptorWatch
  /// Requests that have come and that nobody has looked at.
  let arrived: FixedTable<Slot>
  private var arrivedCount = 0
  /// Why the kernel has given an entry up, and with it the mount, if it has.
  private var loss: Errno?
  /// Requests that wait for a thaw; their slots stay taken.
  private var held: [HeldRequest] = []
  /// What still comes by /dev/fuse; the first worker alone reads it.
  private let remainder: DeviceRemainder?
  private let remainderWatch: DescriptorWatch?
  private var attention: Attention
  var sharing = Sharing()
  private let canRelax: Bool
  /// Whether the device was told so after the last request.
  private var isRelaxed = false

  private struct HeldRequest {
    let slot: Slot
    let messageBytes: Int
    /// Whether it was counted as one that programs wait for.
    let isCounted: Bool
  }

  /// Prepares a worker's share; nothing is registered yet.
  /// - Throws: what the ring or the device refused.
  init(worker: Int, server: Server, mailbox: Mailbox, ring: IORing) throws(Errno) {
    self.ring = ring
    self.mailbox = mailbox
    bell = DescriptorWatch(mailbox.bell, on: ring)
    self.server = server
    memory = server.memory
    shape = server.shape
    ownWork = server.ownWork
    canRelax = server.device.canRelax
    guard let entries = server.ringEntries else {
      preconditionFailure("a ring transport without entries")
    }
    self.entries = entries
    file = try ring.register(file: server.session.descriptor)
    remainder = worker == 0 ? try DeviceRemainder(server: server) : nil
    remainderWatch = remainder.map { DescriptorWatch($0.descriptor, on: ring) }
    arrived = FixedTable(count: memory.slotCount, repeating: Slot(0))
    attention = Attention(
      worker: worker, pulses: server.pulses, windows: server.windows,
      maximumNanoseconds: server.configuration.spinNanoseconds)
    tag = ring.addOwner(self)
  }

  deinit { ring.removeOwner(tag) }

  /// Registers the worker's entries. The kernel uses the one that came last first, so the first slots stay in use
  /// and in cache.
  func open(for worker: Worker) throws(Errno) {
    // Where each CPU has a worker, that one stays on it: a request is then served where its sender runs.
    if server.configuration.workerCount == server.configuration.allowedCPUs.count {
      _ = extractfs_run_on_cpu(UInt32(server.configuration.allowedCPUs[worker.index]))
    }
    let count = memory.slotsPerWorker
    for slot in (worker.index * count..<(worker.index + 1) * count).reversed() {
      unsafe entries.prepare(
        ring.nextEntry(), command: RingProtocol.register, slot: Slot(slot), file: file,
        data: tag | UInt64(slot))
    }
    bell.arm()
    remainderWatch?.arm()
    ring.submit()
    ring.dispatch()
    if let loss { throw loss }
  }

  func close() { ring.unregisterFiles() }

  // MARK: Taking

  /// An entry has come back with a request, or for good.
  func complete(_ data: UInt64, result: Int32) {
    if result < 0 {
      loss = Errno(rawValue: -result)
      return
    }
    arrived[arrivedCount] = Slot(Int(data))
    arrivedCount &+= 1
  }

  func takeRequests(for worker: Worker) -> Int {
    if bell.hasFired { answerBell() }
    if loss != nil || !takeRemainder() { worker.hasEnded = true }
    let count = arrivedCount
    arrivedCount = 0
    // At the end new ones are left to the kernel, which gives them up with the connection.
    if count == 0 || worker.hasEnded { return 0 }
    attention.noteWork()
    isRelaxed = false
    let kept = share(count: count, of: worker)
    for place in 0..<kept { serve(arrived[place], for: worker) }
    return count
  }

  private func answerBell() {
    bell.hasFired = false
    mailbox.clearBell()
    bell.arm()
  }

  /// Takes what has come by /dev/fuse.
  /// - Returns: false if the mount is gone.
  private func takeRemainder() -> Bool {
    guard let remainder, let watch = remainderWatch, watch.hasFired else { return true }
    watch.hasFired = false
    if !remainder.drain() { return false }
    watch.arm()
    return true
  }

  /// All leaves together, with the next sleep.
  func sendOff() {}

  /// Serves a request that another worker has passed on.
  func servePassed(_ slot: Slot, for worker: Worker) {
    if worker.hasEnded { return }
    attention.noteWork()
    if entries.home(slot) == worker.index && !entries.isOfControl(slot) {
      ownWork.beat(worker.index, at: monotonicNanoseconds())
    }
    serve(slot, for: worker)
  }

  /// Serves the request that lies in a slot.
  func serve(_ slot: Slot, for worker: Worker) {
    let shift = shape.current.misalignment
    let route = AnswerRoute(slot: slot, of: worker)
    worker.slots[slot].route = route
    worker.slots[slot].dataOffset = shift
    guard let message = entries.message(slot, in: memory, shift: shift) else {
      let unique = entries.header(slot).load(UInt64.self, at: 8)
      answer(slot, unique: unique, error: .invalidArgument)
      return
    }
    _ = worker.dispatch(slot: slot, message: message, by: route)
  }

  // MARK: Answering

  func answer(_ slot: Slot, unique: UInt64, error: Errno) {
    entries.setAnswer(slot, error: -error.rawValue, unique: unique, payloadBytes: 0)
    commit(slot)
  }

  func answer(_ slot: Slot, unique: UInt64, written byteCount: Int) {
    memory.payload(slot).store(fuse_write_out(size: UInt32(byteCount), padding: 0))
    entries.setAnswer(
      slot, error: 0, unique: unique, payloadBytes: MemoryLayout<fuse_write_out>.size)
    commit(slot)
  }

  func answer(_ slot: Slot, unique: UInt64, dataAt offset: Int, byteCount: Int) {
    if offset > 0 {
      memory.payload(slot).copy(memory.window(slot, from: offset, length: byteCount))
    }
    entries.setAnswer(slot, error: 0, unique: unique, payloadBytes: byteCount)
    commit(slot)
  }

  func setAnswer(_ slot: Slot, parts: [MemoryWindow]) {
    entries.setAnswer(slot, parts: parts, payload: memory.payload(slot))
  }

  /// Gives a slot with its answer to the kernel, at the next system call.
  func commit(_ slot: Slot) {
    unsafe entries.prepare(
      ring.nextEntry(), command: RingProtocol.commitAndFetch, slot: slot, file: file,
      data: tag | UInt64(slot.number))
  }

  /// A slot is free when its answer is committed.
  func release(_ slot: Slot) {}

  // MARK: Holding

  var holdsWrites: Bool { !held.isEmpty }

  /// Keeps a request in its slot. Some slots stay free, else the thaw itself could not be asked for: then a program's
  /// request is told to try again. What the kernel writes back has slots enough (`RingEntries`).
  func hold(_ slot: Slot, _ message: IncomingMessage, by route: AnswerRoute) {
    let isWriteback = message.isWriteback
    if isWriteback || entries.hold(slot) {
      held.append(
        HeldRequest(
          slot: slot, messageBytes: message.byteCount, isCounted: !isWriteback))
    } else {
      answer(slot, unique: message.unique, error: .wouldBlock)
    }
  }

  func releaseHeldWrites(for worker: Worker) -> Bool {
    let requests = held
    held = []
    for request in requests {
      if request.isCounted { entries.letGo(request.slot) }
      // Where `serve` had put it: a WRITE's headers end where its data begins.
      let header = entries.header(request.slot)
      let isWrite = header.load(UInt32.self, at: 4) == Opcode.write
      let shift = isWrite ? worker.slots[request.slot].dataOffset : 0
      let payloadBytes = Int(header.load(UInt32.self, at: RingProtocol.payloadSizeOffset))
      let message = memory.window(
        request.slot, from: shift + payloadBytes - request.messageBytes,
        length: request.messageBytes)
      _ = worker.dispatch(
        slot: request.slot, message: message, by: worker.slots[request.slot].route)
    }
    return !requests.isEmpty
  }

  // MARK: Waiting

  /// Idle seconds after which the device is told to relax.
  private static let secondsToRelax = 2

  /// Sleeps until there is a completion. When nobody had work for a while, the device is told to relax.
  private func sleep(of worker: Worker) {
    let isForDevice = worker.engine.inFlightCount > 0
    if isRelaxed || !canRelax {
      ring.wait(isForDevice: isForDevice)
      return
    }
    if ring.wait(isForDevice: isForDevice, seconds: Self.secondsToRelax) { return }
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
  }
}
