// A worker: one thread that takes requests from its transport, starts their I/O, and answers them.

import Block
import CFuse3
import DirectIO
import Glibc
import IOVector
import Memory
import Ring
import Volumes

/// One thread's share of the work. All fields belong to that thread, but for the mailbox.
@safe final class Worker: @unchecked Sendable {
  // Guard of the unchecked Sendable: only `run()`'s thread touches the fields; the mailbox is made for sharing.
  let index: Int
  let server: Server
  let counters: CounterBlock
  /// Which files this worker's requests are on.
  let activity: FileActivity
  let mailbox: Mailbox
  /// The one ring of this thread, for its transport, its device queue and their timers; nil where io_uring is not to be
  /// had.
  let ring: IORing?
  let engine: DirectIOEngine
  /// All slots of the mount; one is in the hands of one worker at a time.
  let slots: SlotTable
  /// Their buffers, states and extents.
  let buffers: RequestBuffers
  let transport: any Transport
  /// Where the steps of requests are noted while somebody reads.
  let trace: TraceRing
  /// Whether clients' buffers are looked at again.
  let watch: BufferWatch
  /// Whether requests come that a freeze had held.
  var isThawing = false
  // The server's, kept here too: what stands in the worker itself is reached without counting references.
  let volume: any Volume
  let shape: ShapeSetting
  let memory: RequestMemory
  let traits: VolumeTraits
  /// What writes into fresh space do.
  let zeroing: Zeroing
  let isReadOnly: Bool
  let isDebugging: Bool
  /// The bits of an offset within a logical block.
  let blockMask: Int
  /// The slot whose message libfuse is looking at.
  var currentSlot: Slot?
  /// Requests that wait for the volume's queue or, with a change of storage, for a file's gate.
  var pendingVolumeWork = 0
  /// Set when the device says that the mount is gone.
  var hasEnded = false

  /// Makes a worker and all it will need; called on the worker's own thread.
  /// - Throws: the errno of a clone, an eventfd or a ring.
  init(index: Int, server: Server) throws(Errno) {
    self.index = index
    self.server = server
    counters = server.counters.blocks[index]
    activity = server.activity[index]
    mailbox = try Mailbox()
    let memory = server.memory
    self.memory = memory
    volume = server.volume
    shape = server.shape
    trace = server.traces.rings[index]
    watch = server.bufferWatch
    traits = volume.traits
    zeroing =
      traits.asksDeviceForHoles
      ? .ask(blockBytes: traits.blockBytes)
      : traits.allocatesBlocks ? .typed(blockBytes: traits.blockBytes) : .off
    isReadOnly = server.configuration.isReadOnly
    isDebugging = server.configuration.isDebugging
    blockMask = server.device.limits.logicalBlockSize - 1
    ring = try Self.makeRing(server)
    engine = try DirectIOEngine(
      worker: index, buffers: server.buffers, device: server.device, ring: ring,
      ledger: server.ledger, defects: server.defects,
      context: MemoryContext(
        pages: memory.map.table, user: memory.space.view, kernel: .linear, era: .v8,
        counters: counters), trace: trace,
      passThroughLimits: server.configuration.passThroughLimits)
    slots = server.slots
    buffers = server.buffers
    if server.usesRing, let ring {
      transport = try RingTransport(worker: index, server: server, mailbox: mailbox, ring: ring)
    } else {
      transport = try DeviceTransport(worker: index, server: server, mailbox: mailbox, ring: ring)
    }
  }

  /// A ring, or nil where the kernel has none for us and requests do not come by one.
  private static func makeRing(_ server: Server) throws(Errno) -> IORing? {
    do throws(Errno) {
      return try IORing(
        entries: 2 * max(server.memory.slotsPerWorker, 64), isWide: server.usesRing)
    } catch {
      if server.usesRing { throw error }
      let isMissing = [ENOSYS, EPERM, EACCES].contains(error.rawValue)
      if isMissing { return nil }
      throw error
    }
  }

  /// Serves until the mount is gone and everything taken has been given back.
  ///
  /// This is the way of all data: completions go to their owners (requests to the transport, the image's to the
  /// device queue, timers to their filters); requests go down to the engine and its bios to the device queue; what was
  /// prepared is sent off; the engine takes the bios that are through; and answers leave. Only then is there time to
  /// sleep.
  func run() {
    while true {
      // Once the mount is to end nothing new is taken: files that are still open would bring requests for ever.
      if server.isStopping { hasEnded = true }
      // Nobody can ask for a thaw any more.
      if hasEnded && server.isFrozen { server.thaw() }
      ring?.dispatch()
      let taken = transport.takeRequests(for: self)
      let progressed = advance()
      if hasEnded && isIdle && !transport.holdsWrites { break }
      if taken == 0 && !progressed { transport.waitForWork(for: self) }
    }
    engine.close()
    transport.close()
    CurrentThread.worker = nil
  }

  /// Moves everything that can move: completions, parked writes, thawed writes.
  private func advance() -> Bool {
    var progressed = openMail()
    if transport.holdsWrites && !server.isFrozen {
      isThawing = true
      if transport.releaseHeldWrites(for: self) { progressed = true }
      isThawing = false
    }
    transport.sendOff()
    if engine.poll() { progressed = true }
    while let slot = engine.nextStale() { remap(slot) }
    while let finished = engine.nextFinished() { finish(finished) }
    return progressed
  }

  /// Whether no request is under way, in the engine or elsewhere on this worker's behalf.
  var isIdle: Bool { engine.isIdle && pendingVolumeWork == 0 }

  /// The engine is through with a slot: what it was for goes on.
  private func finish(_ finished: FinishedRequest) {
    let slot = finished.slot
    switch slots[slot].job {
    case .data:
      finishData(slot, error: finished.error, latencyNanoseconds: finished.latencyNanoseconds)
    case .flush:
      counters.record(finished.latencyNanoseconds, in: .flushNanoseconds)
      finishFlush(slot, error: finished.error)
    case .passThrough: finishPassThrough(slot, error: finished.error)
    case .storage: finishStorage(slot, error: finished.error)
    case .none: preconditionFailure("the engine was given a request without a job")
    }
  }

  /// A file's gate has let a slot's request in.
  private func resume(_ slot: Slot) {
    if slots[slot].storage.map({ !$0.holdsGate }) ?? false {
      changeStorage(slot)
    } else {
      engine.resume(slot)
    }
  }

  /// The slot whose message libfuse is looking at, for callbacks that give it a job.
  var servedSlot: Slot {
    guard let slot = currentSlot else { preconditionFailure("no message is being served") }
    return slot
  }

  private func openMail() -> Bool {
    if !mailbox.isFilled { return false }
    for letter in mailbox.open() {
      switch letter {
      case .resume(let slot): resume(slot)
      case .commit(let slot): transport.commit(slot)
      case .serve(let slot): transport.servePassed(slot, for: self)
      case .run(let body): body(self)
      }
    }
    return true
  }
}
