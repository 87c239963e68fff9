// The direct-I/O engine: from a request to bios and back. One engine per worker, on the worker's thread.

import Block
import IOVector
import Memory

/// Turns requests of any offset, length and memory alignment into bios of whole blocks.
///
/// Whole blocks at suitable addresses move without a copy: the bios' segments are the caller's buffer. Whatever is
/// left at the edges, or all of it where addresses do not suit, goes through a bounce buffer; a write that covers a
/// block in part reads that block first, and has the file's gate to itself meanwhile. Where nothing was ever written
/// the rest of a filesystem block is padded with zeroes instead. Holes are read without the device.
///
/// A request passes these stations, any of which it may skip: the gate, the wait for bios, the edges, the data, the
/// flush. It ends through `nextFinished()`.
///
/// Kernel: `iomap_dio_rw()`, fs/iomap/direct-io.c, v6.6. Differs: the kernel refuses what is not aligned to the
/// logical block, or leaves it to the page cache.
public final class DirectIOEngine {
  let worker: Int
  let device: any BlockDevice
  let queue: any DeviceQueue
  let pool: BioPool
  let ledger: Ledger
  let defects: DefectLog
  let limits: QueueLimits
  /// What pass-through keeps to: the hardware's limits, which everything else leaves to the kernel below.
  let passThroughLimits: QueueLimits
  let context: MemoryContext
  let buffers: RequestBuffers
  let table: RequestTable
  /// Where steps are noted while somebody reads, and when each bio was submitted meanwhile.
  let trace: TraceRing
  let submitted: FixedTable<SubmittedBio>
  /// Segments of each bio's own table.
  let vectorsPerBio: Int
  /// Bios of the pool that no request has to itself.
  var unreservedBios: Int
  /// Requests that wait for bios, and requests that wait for their extents.
  private var waiting = SlotQueue()
  private var stale = SlotQueue()
  /// Finished requests that nobody has asked for yet.
  private var finished = SlotQueue()
  private var isAdmitting = false
  private var activeCount = 0
  private var parkedCount = 0

  /// Bios of an engine; it has more only if one request can need more.
  public static var defaultBioCount: Int { 256 }

  /// Makes an engine; called on the worker's thread.
  /// - Parameters:
  ///   - worker: the worker's number.
  ///   - buffers: the request slots that it may be given work in; several engines share them, one slot being in the
  ///     hands of one engine at a time.
  ///   - device: where the data is.
  ///   - ring: the worker's ring, for a device that can use one.
  ///   - ledger: where who holds what is written; it has a line for each slot.
  ///   - defects: where wrong accounting is named.
  ///   - context: the model's surroundings.
  ///   - trace: where steps are noted while somebody reads.
  ///   - passThroughLimits: what pass-through keeps to; nil for the device's limits.
  ///   - bioCount: bios under way at once; requests that find none wait for them.
  /// - Throws: what the device's queue could not be made for.
  public init(
    worker: Int, buffers: RequestBuffers, device: any BlockDevice, ring: AnyObject? = nil,
    ledger: Ledger, defects: DefectLog, context: MemoryContext,
    trace: TraceRing = TraceSet.unread.rings[0],
    passThroughLimits: QueueLimits? = nil, bioCount: Int = DirectIOEngine.defaultBioCount
  ) throws(Errno) {
    self.worker = worker
    self.buffers = buffers
    table = buffers.table
    self.device = device
    self.ledger = ledger
    self.defects = defects
    self.context = context
    self.trace = trace
    limits = device.limits
    self.passThroughLimits = passThroughLimits ?? device.limits
    let pages = buffers.maxIOBytes / pageSize + 1 + RequestShape.maxSegments
    vectorsPerBio = min(BioPool.maxVectors, pages)
    let count = max(
      bioCount,
      Self.biosNeeded(
        extents: ExtentList.capacity, bodyBytes: buffers.maxIOBytes,
        segments: RequestShape.maxSegments, edges: 4, vectorsPerBio: vectorsPerBio))
    unreservedBios = count
    submitted = FixedTable(count: count, repeating: SubmittedBio())
    pool = BioPool(slotCount: count, vectorsPerBio: vectorsPerBio, context: context)
    queue = try device.makeQueue(pool: pool, depth: count, context: context, ring: ring)
  }

  // MARK: What the worker asks

  /// Whether no request is under way.
  public var isIdle: Bool { activeCount == 0 }
  /// Whether there is nothing to gain from starting several requests before looking for completions.
  public var isImmediate: Bool { queue.isImmediate }
  /// Bios at the device.
  public var inFlightCount: Int { queue.inFlightCount }
  /// Whether requests wait for a gate, or for the volume.
  public var hasParkedRequests: Bool { parkedCount > 0 }
  /// Whether requests wait for bios, which others of this engine have.
  public var hasRequestsWithoutBios: Bool { !waiting.isEmpty }
  /// The first page of a request's buffer.
  public func payloadPage(_ slot: Slot) -> Page { buffers.payloadPage(slot) }

  /// Takes in the bios that are through.
  /// - Returns: whether any completion came.
  public func poll() -> Bool {
    if queue.inFlightCount == 0 { return false }
    var progressed = false
    while let bio = queue.nextCompleted() {
      complete(bio)
      progressed = true
    }
    return progressed
  }

  /// Lets go of the device; to be called on the engine's thread when it is idle, as its last call.
  public func close() { queue.close() }

  /// The next request that is through, or nil.
  public func nextFinished() -> FinishedRequest? {
    guard let slot = finished.popFirst(in: table) else { return nil }
    table[slot].phase = .idle
    let number = table[slot].errorNumber
    return FinishedRequest(
      slot: slot, error: number == 0 ? nil : Errno(rawValue: number),
      latencyNanoseconds: table[slot].endNanoseconds &- table[slot].startNanoseconds)
  }

  /// The answer has gone: what an iterator still keeps of the buffer is let go, and the gate, if it was kept.
  public func release(_ slot: Slot) {
    leaveGate(slot)
    if table[slot].request.shape.kind == .pipe { buffers.drainPipe(slot) }
  }

  // MARK: Starting

  /// Starts a request. It ends through `nextFinished()`.
  public func start(_ slot: Slot, _ request: DirectRequest) {
    precondition(table[slot].phase == .idle && !table[slot].holdsGate, "a slot is in use")
    activeCount &+= 1
    let arrival = request.arrivalNanoseconds
    table[slot] = RequestState(request, now: arrival > 0 ? arrival : monotonicNanoseconds())
    if request.operation == .flush {
      return admit(slot)
    }
    noteAlignment(of: request)
    if request.length == 0 { return finish(slot) }
    if let extent = request.extent { buffers[extents: slot].set(only: extent) }
    plan(slot)
    if request.shape.alignment == .kernel && isRefusedByEra(slot) {
      fail(slot, .invalidArgument)
      return finish(slot)
    }
    enterGate(slot)
  }

  /// Starts a flush. It ends through `nextFinished()`.
  ///
  /// In the slot of a request that has finished in the volume it goes on with that request.
  /// - Parameters:
  ///   - unique: the FUSE request that asks for it, unless it is the slot's last one.
  ///   - arrivalNanoseconds: from when its latency counts; 0 for now.
  public func startFlush(
    _ slot: Slot, of unique: RequestNumber? = nil, arrivalNanoseconds: Int = 0
  ) {
    leaveGate(slot)
    var flush = table[slot].request
    if let unique {
      flush = DirectRequest(.flush, unique: unique, inode: 0, fileOffset: 0, length: 0)
    }
    flush.operation = .flush
    flush.arrivalNanoseconds = arrivalNanoseconds
    start(slot, flush)
  }

  private func enterGate(_ slot: Slot) {
    if !table[slot].request.hasGate { return admit(slot) }
    let operation = table[slot].request.operation
    // A read shares the gate where blocks change hands: none that it reads from is given to another file meanwhile.
    let isExclusive = operation != .read && (operation.clears || needsGateAlone(slot))
    let waiter = WriteGate.Waiter(worker: worker, slot: slot, isExclusive: isExclusive)
    table[slot].holdsGate = true
    table[slot].holdsGateExclusively = waiter.isExclusive
    table[slot].phase = .parked
    if table[slot].request.withGate({ $0.enter(waiter) }) == true {
      enteredGate(slot)
    } else {
      table[slot].hasWaited = true
      parkedCount &+= 1
      if trace.isOn { trace.note(event(.park, slot)) }
    }
  }

  /// A request that was told of extents that have changed since asks again, with the gate held.
  private func enteredGate(_ slot: Slot) {
    if let age = table[slot].request.mappingAge,
      let present = table[slot].request.withGate({ $0.mappingAge }), present != age
    {
      table[slot].phase = .stale
      table[slot].hasWaited = true
      parkedCount &+= 1
      return stale.append(slot, in: table)
    }
    admit(slot)
  }

  /// The next request whose extents have to be asked for again, now that it has the gate; nil if there is none. It goes
  /// on when `resume` is called, with the slot's list filled.
  public func nextStale() -> Slot? { stale.popFirst(in: table) }

  /// A parked request has been let through the gate, or a stale one has its extents.
  /// - Parameter error: why a stale one has none; it is through then.
  public func resume(_ slot: Slot, error: Errno? = nil) {
    parkedCount &-= 1
    if let error {
      fail(slot, error)
      return finish(slot)
    }
    switch table[slot].phase {
    case .parked:
      if trace.isOn { trace.note(event(.enter, slot)) }
      enteredGate(slot)
    case .stale:
      table[slot].request.mappingAge = nil
      plan(slot)
      if table[slot].request.isWrite && !table[slot].holdsGateExclusively && needsGateAlone(slot) {
        leaveGate(slot)
        return enterGate(slot)
      }
      admit(slot)
    default: preconditionFailure("a request was woken that did not wait")
    }
  }

  func leaveGate(_ slot: Slot) {
    if !table[slot].holdsGate { return }
    table[slot].holdsGate = false
    let exclusive = table[slot].holdsGateExclusively
    table[slot].request.withGate { $0.leave(exclusive: exclusive) }
  }

  // MARK: Bios

  /// The most bios that a request has at the device at once.
  ///
  /// One an extent, one for each edge and each padding, and one more for each time that segments fill a table.
  static func biosNeeded(
    extents: Int, bodyBytes: Int, segments: Int, edges: Int, vectorsPerBio: Int
  ) -> Int {
    let pages = bodyBytes / pageSize + 1 + segments + extents
    return extents + edges + pages / vectorsPerBio
  }

  /// Starts a request's I/O, or lets it wait until the bios that it may need are free. Only requests that wait for
  /// nothing else get here, so those who have the bios always give them back.
  private func admit(_ slot: Slot) {
    let needed = biosNeeded(slot)
    if waiting.isEmpty && needed <= unreservedBios { return begin(slot, reserving: needed) }
    table[slot].phase = .waitingForBios
    table[slot].hasWaited = true
    waiting.append(slot, in: table)
  }

  private func begin(_ slot: Slot, reserving needed: Int) {
    unreservedBios &-= needed
    table[slot].reservedBios = needed
    beginMoving(slot)
    if table[slot].pendingBios == 0 { advance(slot) }
  }

  /// Starts those who wait for bios, as far as these suffice. Starting one can end it at once and lead back to here.
  private func admitWaiting() {
    if waiting.isEmpty || isAdmitting { return }
    isAdmitting = true
    while let slot = waiting.front {
      let needed = biosNeeded(slot)
      if needed > unreservedBios { break }
      _ = waiting.popFirst(in: table)
      begin(slot, reserving: needed)
    }
    isAdmitting = false
  }

  // MARK: Ending

  /// The request is through: what it had is given back, and its result waits to be asked for.
  func finish(_ slot: Slot) {
    let keepsGate = table[slot].request.finishesInVolume && table[slot].errorNumber == 0
    if !keepsGate { leaveGate(slot) }
    checkBalance(slot)
    let end = monotonicNanoseconds()
    table[slot].endNanoseconds = end
    if trace.isOn { noteFinished(slot, at: end) }
    let taken = table[slot].takenNanoseconds
    if taken > 0 {
      ledger.clear(line: LedgerLine(of: slot), at: end)
      context.counters.record(end &- taken, in: .pinHoldNanoseconds)
    }
    activeCount &-= 1
    unreservedBios &+= table[slot].reservedBios
    table[slot].reservedBios = 0
    table[slot].phase = .finished
    finished.append(slot, in: table)
    admitWaiting()
  }

  /// What was acquired for this request has been released, exactly once; else it is named.
  private func checkBalance(_ slot: Slot) {
    let held = table[slot].heldPages
    if held == 0 { return }
    let request = table[slot].request
    if held > 0 { context.counters.add(.simLeaks, held) }
    if trace.isOn { noteDefect(slot, heldPages: held) }
    defects.note(
      "request \(request.unique) (\(request.operation.name) inode \(request.inode) offset "
        + "\(request.fileOffset) length \(request.length)) "
        + (held > 0 ? "left \(held) pages held" : "released \(-held) pages too many"))
  }
}
