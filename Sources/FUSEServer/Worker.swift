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
    let ring =
      server.usesRing
      ? try IORing(entries: 2 * max(memory.slotsPerWorker, 64), isWide: true) : nil
    engine = try DirectIOEngine(
      worker: index, buffers: server.buffers, device: server.device, ring: ring,
      ledger: server.ledger, defects: server.defects,
      context: MemoryContext(
        pages: memory.map.table, user: memory.space.view, kernel: .linear, era: .v8,
        counters: counters), passThroughLimits: server.configuration.passThroughLimits)
    unsafe slots = .allocate(capacity: memory.slotCount)
    unsafe slots.initialize(repeating: RequestSlot(), count: memory.slotCount)
    if let ring {
      transport = try RingTransport(worker: index, server: server, ring: ring)
    } else {
      transport = try DeviceTransport(worker: index, server: server)
    }
  }

  deinit {
    unsafe slots.deallocate()
  }

  /// Serves until the mount is gone and everything taken has been given back.
  func run() {
    while true {
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
    if engine.poll() { progressed = true }
    while let finished = engine.nextFinished() { answer(finished) }
    return progressed
  }

  private func openMail() -> Bool {
    if !mailbox.isFilled { return false }
    for letter in mailbox.open() {
      switch letter {
      case .resume(let slot): engine.resume(slot)
      case .commit(let slot): ringTransport.commit(slot)
      case .serve(let slot): ringTransport.servePassed(slot, for: self)
      }
    }
    return true
  }

  /// The transport, for what only rings have.
  var ringTransport: RingTransport {
    guard let transport = transport as? RingTransport else {
      preconditionFailure("a worker without a ring was sent a ring entry")
    }
    return transport
  }
}
