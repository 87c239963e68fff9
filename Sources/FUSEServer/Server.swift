// The server: owns what all workers share, mounts, starts the workers, and winds down.

import Block
import CFuse3
import DirectIO
import Glibc
import Memory
import Synchronization
import Volumes

/// A mounted filesystem and everything its workers share.
public final class Server: @unchecked Sendable {
  // Guard of the unchecked Sendable: all is set before the workers start, and theirs alone or atomic afterwards.
  let configuration: ServerConfiguration
  let device: any BlockDevice
  /// For flushes that no worker makes.
  let flusher: WaitingQueue
  let volume: any Volume
  let memory: RequestMemory
  /// The tables of all request slots.
  let buffers: RequestBuffers
  /// What is remembered of each slot's request.
  let slots: SlotTable
  /// The ring entries of all slots, if requests come by io_uring.
  private(set) var ringEntries: RingEntries?
  /// When each worker last had a request that came soon after the one before.
  let pulses: Pulses
  /// For how long each worker looks around, in nanoseconds.
  let windows: Pulses
  /// When each worker last had a request of its own queue.
  let ownWork: Pulses
  /// The shape of the next requests.
  public let shape: ShapeSetting
  /// The counters of all workers.
  public let counters: CounterSet
  /// Each worker's busiest files.
  let activity: [FileActivity]
  /// The figures that users read.
  public let statistics: Statistics
  let ledger: Ledger
  /// The event rings of all workers.
  let traces: TraceSet
  /// Who reads them.
  private(set) var streams: TraceStreams!
  /// What programs do with buffers that are being written.
  let bufferWatch = BufferWatch()
  /// Where writes wait that are kept in flight on purpose.
  let holdQueue = HoldQueue()
  /// Requests of libfuse's that were noted there.
  let unanswered = UnansweredRequests()
  /// What went wrong with the accounting, if anything did.
  public let defects: DefectLog
  private(set) var control: ControlDirectory!
  /// The open files of the volume.
  let openFiles: OpenFiles
  /// Whatever changes the volume goes through here, and a freeze closes it.
  let changes: ChangeGate
  /// Whom to tell the last word.
  let farewell = FarewellAddress()
  /// Control requests run here, one after the other, so that no worker waits for them.
  let controlQueue = SerialQueue(name: "extractfs-ctl")
  /// Waits for pages that the kernel has locked happen here, so that control requests do not wait with them.
  let invalidationQueue = SerialQueue(name: "extractfs-inval")
  /// What the volume may have to wait for happens here, so that no worker waits with it.
  let volumeQueue = SerialQueue(name: "extractfs-vol")
  /// Lets the gates of files reach the workers, which are made later.
  private let workerBell = WorkerBell()

  /// libfuse's side of the mount; there from the moment that it is mounted.
  private(set) var session: LibfuseSession!
  private(set) var workers: [Worker] = []
  private var threads: [pthread_t] = []
  private let stopping = Atomic<Bool>(false)
  private let running = Atomic<Int>(0)
  private let initializing = Atomic<Bool>(false)

  /// Puts everything together; nothing is mounted yet.
  /// - Throws: `.noMemory` if the buffers cannot be had.
  public init(
    configuration: ServerConfiguration, device: any BlockDevice, volume: any Volume,
    shape: RequestShape
  ) throws(Errno) {
    self.configuration = configuration
    self.device = device
    flusher = try WaitingQueue(device: device)
    self.volume = volume
    self.shape = ShapeSetting(shape)
    memory = try RequestMemory(
      workers: configuration.workerCount, slotsPerWorker: configuration.slotsPerWorker,
      spareSlotsPerWorker: configuration.spareSlotsPerWorker,
      maxIOBytes: configuration.maxIOBytes)
    let memory = memory
    buffers = RequestBuffers(
      requestCount: memory.slotCount, maxIOBytes: memory.maxIOBytes,
      blockSize: device.limits.logicalBlockSize, userBase: RequestMemory.userBase,
      pages: memory.map.table, payloadPage: { memory.payloadPage(Slot($0)) },
      bouncePage: { memory.bouncePage(Slot($0)) })
    pulses = Pulses(workerCount: configuration.workerCount)
    windows = Pulses(workerCount: configuration.workerCount)
    ownWork = Pulses(workerCount: configuration.workerCount)
    // One block more, for what no worker counts.
    counters = CounterSet(count: configuration.workerCount + 1)
    traces = TraceSet(workerCount: configuration.workerCount)
    activity = (0..<configuration.workerCount).map { _ in FileActivity() }
    statistics = Statistics(counters: counters, activity: activity)
    slots = SlotTable(count: memory.slotCount)
    ledger = Ledger(lineCount: memory.slotCount)
    defects = DefectLog()
    changes = ChangeGate(laneCount: configuration.workerCount)
    let bell = workerBell
    openFiles = OpenFiles { bell.wake($0) }
    bufferWatch.set(
      isOn: configuration.watchesBuffers, holdMilliseconds: configuration.holdMilliseconds)
    streams = TraceStreams(
      server: self, counters: counters.blocks[configuration.workerCount])
    control = ControlDirectory(
      files: makeControlFiles(), visibility: configuration.control, user: getuid(), group: getgid())
  }

  /// Whether the request buffers are in huge pages.
  public var usesHugePages: Bool { memory.isHuge }

  // MARK: State that control changes

  /// Whether changes are held back.
  var isFrozen: Bool { changes.isClosed }
  /// Whether the mount is to end.
  var isStopping: Bool { stopping.load(ordering: .relaxed) }
  /// Whether INIT is being answered.
  var isInitializing: Bool { initializing.load(ordering: .relaxed) }
  /// Whether requests come by io_uring; known once INIT has come.
  public var usesRing: Bool { ringEntries != nil }
  /// `uring` or `dev`.
  public var transportName: String { usesRing ? "uring" : "dev" }

  /// Holds new changes back, and when none is under way any more makes the image durable. Reads go on.
  /// - Parameter done: called once, on the control queue: whether the mount is frozen now, or was thawed meanwhile, and
  ///   what the flush failed with.
  func freeze(_ done: @escaping @Sendable (_ isFrozen: Bool, Errno?) -> Void) {
    changes.close { [self] isClosed in
      if isClosed { note(.freeze) }
      controlQueue.async { [self] in
        if isClosed { flush { done(true, $0) } } else { done(false, nil) }
      }
    }
  }

  /// Lets held changes go.
  func thaw() {
    changes.open()
    note(.thaw)
    for worker in workers { worker.mailbox.ring() }
  }

  /// Makes everything acknowledged so far survive a loss of power: the volume writes out what it keeps, then a flush
  /// goes through the block layer, like everything that touches the image.
  /// - Parameter done: called once, on any thread.
  func flush(_ done: @escaping @Sendable (Errno?) -> Void) {
    volumeQueue.async { [self] in
      do throws(Errno) {
        note(.flush)
        if try volume.prepareSync(.all) { try flusher.flush() }
        done(nil)
      } catch {
        done(error)
      }
    }
  }

  // MARK: Mounting

  /// Mounts and starts the workers. When it returns, the mount answers.
  public func mount() throws(MountFailure) {
    let options =
      ["subtype=extractfs"] + (configuration.isReadOnly ? ["ro"] : []) + configuration.fuseOptions
    session = try LibfuseSession(
      options: options, mountpoint: configuration.mountpointBytes,
      isDebugging: configuration.isDebugging, server: self)
    do throws(MountFailure) {
      try answerInitialization()
      try startWorkers()
    } catch {
      session.unmount()
      throw error
    }
  }

  /// The first message is INIT; it is answered here, before any worker reads.
  private func answerInitialization() throws(MountFailure) {
    let size = MessageLayout.dataHeader + max(1 << 20, configuration.maxIOBytes) + pageSize
    var bytes = [UInt8](repeating: 0, count: size)
    try MemoryWindow.on(&bytes) { bytes throws(MountFailure) in
      let count = retryingInterrupted {
        unsafe Glibc.read(session.descriptor, bytes.bytes.baseAddress, bytes.count)
      }
      guard count > 0 else {
        throw MountFailure(message: "the kernel sent no FUSE request: \(describeErrno(errno))")
      }
      let message = bytes[0..<count]
      try chooseTransport(offersRing: LibfuseGaps.offersRing(message))
      initializing.store(true, ordering: .relaxed)
      session.process(message)
      initializing.store(false, ordering: .relaxed)
    }
  }

  private func chooseTransport(offersRing: Bool) throws(MountFailure) {
    if configuration.transport == .dev { return }
    if offersRing {
      ringEntries = RingEntries(
        memory: memory, queueCount: configuration.possibleCPUCount,
        backgroundLimit: configuration.backgroundLimit)
    } else if configuration.transport == .uring {
      throw MountFailure(
        message: "the kernel does not offer FUSE over io_uring; as root, `echo Y > "
          + "/sys/module/fuse/parameters/enable_uring` switches it on (Linux 6.14), or use transport=dev"
      )
    }
  }

  /// Starts the workers one after the other, and when all are there lets them take requests.
  private func startWorkers() throws(MountFailure) {
    let starts = (0..<configuration.workerCount).map { WorkerStart(server: self, index: $0) }
    for start in starts {
      threads.append(startThread(name: "extractfs-\(start.index)") { start.run() })
      if let worker = start.worker() { workers.append(worker) }
    }
    workerBell.set(workers)
    let error = starts.lazy.compactMap(\.failure).first
    running.store(starts.count, ordering: .releasing)
    for start in starts { start.go(serving: error == nil) }
    if let error = error ?? starts.lazy.compactMap({ $0.openingFailure() }).first {
      stop()
      join()
      throw MountFailure(message: "a worker cannot start: \(describeErrno(error.rawValue))")
    }
  }

  // MARK: Running

  /// A worker saw the mount's end: the others are told.
  func noteWorkerEnded() {
    stopping.store(true, ordering: .sequentiallyConsistent)
    for worker in workers { worker.mailbox.ring() }
    let left = running.wrappingSubtract(1, ordering: .releasing).newValue
    if left == 0 { kill(getpid(), SIGUSR2) }
  }

  /// Whether every worker has given back what it had.
  public var hasEnded: Bool { running.load(ordering: .acquiring) == 0 }

  /// Unmounts, lazily if files are open, and tells the workers to end.
  public func stop() {
    session.unmount()
    stopping.store(true, ordering: .sequentiallyConsistent)
    streams.close()
    for worker in workers { worker.mailbox.ring() }
    for thread in threads { pthread_kill(thread, SIGUSR1) }
  }

  /// Asks workers that sleep in a read once more to look at the state; for the time after `stop()`.
  public func nudge() { for thread in threads { pthread_kill(thread, SIGUSR1) } }

  /// Waits for the workers, then for the volume's orderly end, and makes what was written durable.
  public func join() {
    for thread in threads { pthread_join(thread, nil) }
    threads = []
    if !configuration.isReadOnly {
      do throws(Errno) {
        try volume.end()
        try flusher.flush()
      } catch {
        defects.note("the volume's end failed: \(describeErrno(error.rawValue))")
      }
    }
    session.unmount()
  }

  /// The ledger's last word: what was taken and not given back, and every other defect, a line each.
  public func balance() -> [String] {
    let last = statistics.snapshot()
    var lines = defects.lines
    for name in ["sim_pages_pinned", "sim_pages_reffed", "sim_leaks", "sim_double_releases"] {
      if let value = last[name], value != 0 { lines.append("\(name) \(value)") }
    }
    return lines
  }
}

/// Wakes the worker of a request that a file's gate has let in.
private final class WorkerBell: Sendable {
  private let mailboxes = Guarded<[Mailbox]>([])

  /// Names the workers, before any of them takes a request.
  func set(_ workers: [Worker]) {
    let boxes = workers.map(\.mailbox)
    mailboxes.withLock { $0 = boxes }
  }

  func wake(_ waiter: WriteGate.Waiter) {
    let mailbox = mailboxes.withLock { $0[waiter.worker] }
    mailbox.post(.resume(waiter.slot))
  }
}

/// The text of an errno value.
public func describeErrno(_ number: Int32) -> String { unsafe String(cString: strerror(number)) }
