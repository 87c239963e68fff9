// The direct-I/O engine: from a request to bios and back. One engine per worker, on the worker's thread.

import Block
import Glibc
import IOVector
import Memory

/// Turns reads and writes of any offset, length and memory alignment into bios of whole blocks.
///
/// Whole blocks at suitable addresses move without a copy: the bios' segments are the caller's buffer. Whatever is
/// left at the edges, or all of it where addresses do not suit, goes through a bounce buffer; a write that covers a
/// block in part reads that block first, and has the write gate to itself meanwhile. Where nothing was ever written
/// the rest of a filesystem block is padded with zeroes instead.
///
/// Kernel: `iomap_dio_rw()`, fs/iomap/direct-io.c, v6.6. Differs: the kernel refuses what is not aligned to the
/// logical block, or leaves it to the page cache.
@safe public final class DirectIOEngine {
  let worker: Int
  let device: any BlockDevice
  let queue: any DeviceQueue
  let pool: BioPool
  let gate: WriteGate
  let ledger: Ledger
  let defects: DefectLog
  let limits: QueueLimits
  /// What pass-through keeps to: the hardware's limits, which everything else leaves to the kernel below.
  let passThroughLimits: QueueLimits
  let context: MemoryContext
  let table: UnsafeMutablePointer<RequestState>
  let buffers: RequestBuffers
  let requestCount: Int
  private let firstLine: Int

  /// Finished requests that nobody has asked for yet: a ring as long as the table.
  private let finished: UnsafeMutablePointer<FinishedRequest>
  private var finishedStart = 0
  private var finishedCount = 0
  private var activeCount = 0
  private var parkedCount = 0

  /// Makes an engine; called on the worker's thread.
  /// - Parameters:
  ///   - worker: the worker's number.
  ///   - buffers: the request slots that it may be given work in; several engines can share them, one slot being
  ///     in the hands of one engine at a time.
  ///   - firstLine: the ledger's line of slot 0.
  ///   - device: where the data is.
  ///   - ring: the worker's ring, for a device that can use one.
  ///   - gate: keeps partial writes apart, shared by all workers.
  ///   - ledger: where who holds what is written.
  ///   - defects: where wrong accounting is named.
  ///   - context: the model's surroundings.
  ///   - passThroughLimits: what pass-through keeps to; nil for the device's limits.
  /// - Throws: what the device's queue could not be made for.
  public init(
    worker: Int, buffers: RequestBuffers, firstLine: Int = 0, device: any BlockDevice,
    ring: AnyObject? = nil, gate: WriteGate, ledger: Ledger, defects: DefectLog,
    context: MemoryContext, passThroughLimits: QueueLimits? = nil
  ) throws(Errno) {
    self.worker = worker
    self.firstLine = firstLine
    self.buffers = buffers
    requestCount = buffers.requestCount
    self.device = device
    self.gate = gate
    self.ledger = ledger
    self.defects = defects
    self.context = context
    limits = device.limits
    self.passThroughLimits = passThroughLimits ?? device.limits
    // Head, tail, the zeroes around them, and the body.
    let biosPerRequest = 6 + buffers.maxIOBytes / (256 * pageSize) * 4
    pool = BioPool(slotCount: requestCount * biosPerRequest, context: context)
    queue = try device.makeQueue(
      pool: pool, depth: requestCount * biosPerRequest, context: context, ring: ring)
    unsafe table = .allocate(capacity: requestCount)
    for index in 0..<requestCount {
      unsafe (table + index).initialize(
        to: RequestState(
          request: DirectRequest(
            isWrite: false, unique: 0, inode: 0, fileOffset: 0, deviceOffset: 0, length: 0,
            dataOffset: 0, shape: RequestShape()), iterator: IOVIter(discardedBytes: 0)))
    }
    unsafe finished = .allocate(capacity: requestCount)
  }

  deinit {
    unsafe table.deallocate()
    unsafe finished.deallocate()
  }

  // MARK: What the worker asks

  /// Whether no request is under way.
  public var isIdle: Bool { activeCount == 0 }
  /// Whether there is nothing to gain from starting several requests before looking for completions.
  public var isImmediate: Bool { queue.isImmediate }
  /// Bios at the device.
  public var inFlightCount: Int { queue.inFlightCount }
  /// Whether requests wait for the write gate.
  public var hasParkedRequests: Bool { parkedCount > 0 }
  /// The first page of a request's buffer.
  public func payloadPage(_ index: Int) -> Page { buffers.payloadPage(index) }

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
    if finishedCount == 0 { return nil }
    let next = unsafe finished[finishedStart]
    finishedStart = (finishedStart &+ 1) % requestCount
    finishedCount &-= 1
    return next
  }

  /// The answer has gone: what an iterator still keeps of the buffer is let go.
  public func release(_ index: Int) {
    if unsafe table[index].request.shape.kind == .pipe { buffers.drainPipe(index) }
  }

  // MARK: Starting

  /// Starts a read or a write. It ends through `nextFinished()`.
  public func start(_ index: Int, _ request: DirectRequest) {
    unsafe precondition(index < requestCount && table[index].phase == .idle)
    activeCount &+= 1
    let state = unsafe table + index
    unsafe state.pointee.request = request
    unsafe state.pointee.startNanoseconds = monotonicNanoseconds()
    unsafe state.pointee.errorNumber = 0
    unsafe state.pointee.heldPages = 0
    unsafe state.pointee.heldMode = []
    unsafe state.pointee.holdsGate = false
    context.counters.record(
      alignment(of: request), in: .alignmentBytes)
    if request.length == 0 { return finish(index) }
    unsafe state.pointee.iterator = buffers.iterator(index, for: request)
    if request.isPassThrough { unsafe planPassThrough(state) } else { unsafe plan(state) }
    unsafe state.pointee.padding = ZeroPadding()
    if request.isWrite {
      let needsEdges = unsafe edgesArePartial(state.pointee) || mayPad(request)
      unsafe state.pointee.holdsGateExclusively = needsEdges
      unsafe state.pointee.holdsGate = true
      let waiter = WriteGate.Waiter(worker: worker, request: index, isExclusive: needsEdges)
      if !gate.enter(waiter) {
        unsafe state.pointee.phase = .parked
        parkedCount &+= 1
        return
      }
    }
    proceed(index)
  }

  /// A parked request has been let through the gate.
  public func resume(_ index: Int) {
    unsafe precondition(table[index].phase == .parked, "a request was woken that did not wait")
    parkedCount &-= 1
    proceed(index)
  }

  /// Starts a flush. It ends through `nextFinished()`.
  public func startFlush(_ index: Int) {
    unsafe precondition(index < requestCount && table[index].phase == .idle)
    activeCount &+= 1
    unsafe table[index].phase = .flushing
    unsafe table[index].errorNumber = 0
    unsafe table[index].holdsGate = false
    unsafe table[index].startNanoseconds = monotonicNanoseconds()
    context.counters.add(.flushes, 1)
    submitFlush(index)
  }

  private func proceed(_ index: Int) {
    if unsafe table[index].holdsGate && table[index].holdsGateExclusively
      && table[index].request.zeroing != .off
    {
      unsafe table[index].padding = padding(for: table[index].request)
    }
    if unsafe table[index].request.isWrite && edgesArePartial(table[index]) {
      unsafe table[index].phase = .readingEdges
      readEdges(index)
    } else {
      unsafe table[index].phase = .moving
      move(index)
    }
    if unsafe table[index].pendingBios == 0 { advance(index) }
  }

  // MARK: Ending

  /// All bios of a phase are through: the next phase, or the end.
  func advance(_ index: Int) {
    let state = unsafe table + index
    switch unsafe state.pointee.phase {
    case .readingEdges where unsafe state.pointee.errorNumber == 0:
      unsafe state.pointee.phase = .moving
      move(index)
      if unsafe state.pointee.pendingBios == 0 { advance(index) }
    case .moving where unsafe !state.pointee.request.isWrite && state.pointee.errorNumber == 0:
      copyBouncedToCaller(index)
      finish(index)
    default: finish(index)
    }
  }

  private func finish(_ index: Int) {
    let state = unsafe table + index
    if unsafe state.pointee.holdsGate {
      unsafe gate.leave(exclusive: state.pointee.holdsGateExclusively)
      unsafe state.pointee.holdsGate = false
    }
    checkBalance(index)
    let end = monotonicNanoseconds()
    if unsafe state.pointee.takenNanoseconds > 0 {
      ledger.clear(line: line(index))
      unsafe context.counters.record(
        end &- state.pointee.takenNanoseconds, in: .pinHoldNanoseconds)
      unsafe state.pointee.takenNanoseconds = 0
    }
    unsafe state.pointee.phase = .idle
    activeCount &-= 1
    let number = unsafe state.pointee.errorNumber
    let place = (finishedStart &+ finishedCount) % requestCount
    unsafe (finished + place).initialize(
      to: FinishedRequest(
        index: index, error: number == 0 ? nil : Errno(rawValue: number),
        latencyNanoseconds: end &- state.pointee.startNanoseconds))
    finishedCount &+= 1
  }

  /// What was acquired for this request has been released, exactly once; else it is named.
  private func checkBalance(_ index: Int) {
    let held = unsafe table[index].heldPages
    if held == 0 { return }
    let request = unsafe table[index].request
    if held > 0 { context.counters.add(.simLeaks, held) }
    defects.note(
      "request \(request.unique) (\(request.isWrite ? "write" : "read") inode \(request.inode) offset "
        + "\(request.fileOffset) length \(request.length)) "
        + (held > 0 ? "left \(held) pages held" : "released \(-held) pages too many"))
  }

  func line(_ index: Int) -> Int { firstLine &+ index }

  /// The largest power of two, up to a page, that offset, length and address are multiples of.
  private func alignment(of request: DirectRequest) -> Int {
    let bits = request.deviceOffset | request.length | request.dataOffset | pageSize
    return bits & -bits
  }
}
