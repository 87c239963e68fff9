// A worker: one thread that takes requests from its transport, starts their I/O, and answers them.

import Block
import CFuse3
import DirectIO
import Glibc
import IOVector
import Memory
import Ring
import Volumes

/// What a request slot remembers between the arrival of its request and the answer.
@safe struct RequestSlot {
  var unique: UInt64 = 0
  var inode: UInt64 = 0
  var isWrite = false
  /// The way by which the answer must leave.
  var route = AnswerRoute.none
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
  // Guard of the unchecked Sendable: only `run()`'s thread touches the fields; the mailbox is made for sharing.
  let index: Int
  let server: Server
  let counters: CounterBlock
  let mailbox: Mailbox
  /// The one ring of this thread, for its transport, its device queue and their timers; nil where io_uring is not to be
  /// had.
  let ring: IORing?
  let engine: DirectIOEngine
  /// All slots of the mount; one is in the hands of one worker at a time.
  let slots: UnsafeMutablePointer<RequestSlot>
  let transport: any Transport
  // The server's, kept here too: what stands in the worker itself is reached without counting references.
  let volume: any Volume
  let shape: ShapeSetting
  let memory: RequestMemory
  let zeroing: Zeroing
  let isReadOnly: Bool
  /// The bits of an offset within a logical block.
  let blockMask: Int
  /// The slot whose message libfuse is looking at, or -1.
  var currentSlot = -1
  /// Set when the device says that the mount is gone.
  var hasEnded = false

  /// Makes a worker and all it will need; called on the worker's own thread.
  /// - Throws: the errno of a clone, an eventfd or a ring.
  init(index: Int, server: Server) throws(Errno) {
    self.index = index
    self.server = server
    counters = server.counters.blocks[index]
    mailbox = try Mailbox()
    let memory = server.memory
    self.memory = memory
    volume = server.volume
    shape = server.shape
    zeroing = server.zeroing
    isReadOnly = server.configuration.isReadOnly
    blockMask = server.device.limits.logicalBlockSize - 1
    ring = try Self.makeRing(server)
    engine = try DirectIOEngine(
      worker: index, buffers: server.buffers, device: server.device, ring: ring,
      gate: server.gate, ledger: server.ledger, defects: server.defects,
      context: MemoryContext(
        pages: memory.map.table, user: memory.space.view, kernel: .linear, era: .v8,
        counters: counters), passThroughLimits: server.configuration.passThroughLimits)
    unsafe slots = .allocate(capacity: memory.slotCount)
    unsafe slots.initialize(repeating: RequestSlot(), count: memory.slotCount)
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

  deinit {
    unsafe slots.deallocate()
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
      ring?.dispatch()
      let taken = transport.takeRequests(for: self)
      let progressed = advance()
      if hasEnded && engine.isIdle && !transport.holdsWrites { break }
      if taken == 0 && !progressed { transport.waitForWork(for: self) }
    }
    engine.close()
    transport.close()
    CurrentThread.worker = nil
  }

  /// Moves everything that can move: completions, parked writes, thawed writes.
  private func advance() -> Bool {
    var progressed = openMail()
    if transport.holdsWrites && (!server.isFrozen || hasEnded) {
      if transport.releaseHeldWrites(for: self) { progressed = true }
    }
    transport.sendOff()
    if engine.poll() { progressed = true }
    while let finished = engine.nextFinished() { answer(finished) }
    return progressed
  }

  private func openMail() -> Bool {
    if !mailbox.isFilled { return false }
    for letter in mailbox.open() {
      switch letter {
      case .resume(let slot): engine.resume(slot)
      case .commit(let slot): transport.commit(slot)
      case .serve(let slot): transport.servePassed(slot, for: self)
      }
    }
    return true
  }
}
