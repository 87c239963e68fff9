// How many threads and buffers a mount has: what was asked for, and for the rest what suits the machine.

import FUSEServer

/// The daemon's own threads and buffers.
struct ServerSizes: Equatable {
  var workers: Int
  var queueDepth: Int
  var maxIOBytes: Int
  var spinMicroseconds: Int
  var transport: TransportChoice
  /// The most requests at once that nobody waits for, of the whole mount.
  var backgroundLimit = 64
  /// Slots of a worker beyond `queueDepth`, which get memory only once they are used.
  var spareSlots = 0

  /// Bytes that are there from the start, whatever is asked of the mount.
  ///
  /// A request has its payload and two pages more, and bios with their segment tables; a worker has its stack, rings and
  /// tables. What is bounced, shifted or padded takes as much again, when it first happens, and is not counted.
  var byteCount: Int {
    let segments = 4096 * (6 + maxIOBytes >> 20 * 4)
    return workers * (queueDepth * (maxIOBytes + 2 * 4096 + segments) + 256 << 10)
  }
}

extension ServerSizes {
  /// Makes room on a ring for what a freeze holds.
  ///
  /// A write that is held keeps its entry in the kernel's queue, and what the kernel writes back cannot be told to try
  /// again. So each queue has an entry for all that the kernel may send without anybody waiting for it, for some writes
  /// of programs, and a few for everything else, the thaw among it. These entries have memory only once they are used.
  fileprivate mutating func addSpareSlots(queues: Int, usesRing: Bool, chosenDepth: Int?) {
    let entries = max(32, min(104, 2048 / queues))
    backgroundLimit = chosenDepth.map { min($0, entries - 8) } ?? min(64, entries - 8)
    if !usesRing { return }
    let queuesPerWorker = (queues + workers - 1) / workers
    let needed = chosenDepth == nil ? entries : backgroundLimit + 40
    spareSlots = max(0, queuesPerWorker * needed - queueDepth)
  }
}

/// What sizes depend on.
struct SizingInput {
  /// CPUs that the daemon may run on.
  var processors: Int
  /// CPUs that the kernel counts, present or not.
  var possibleProcessors: Int
  /// Whether the kernel has FUSE over io_uring.
  var offersRing: Bool
  /// Whether the device is through with each transfer at once.
  var isImmediate: Bool
  /// Bytes that the process could have.
  var availableBytes: Int
}

extension MountOptions {
  private var effectiveTransport: TransportChoice {
    transport == .auto && backend == .sync ? .dev : transport
  }

  /// Whether requests will come by io_uring.
  func usesRing(offersRing: Bool) -> Bool {
    effectiveTransport == .uring || (effectiveTransport == .auto && offersRing)
  }

  /// The most that defaults may add up to, in bytes.
  static func defaultBudget(availableBytes: Int) -> Int { min(256 << 20, availableBytes / 8) }

  /// What was asked for, and for the rest what suits the machine.
  ///
  /// FUSE over io_uring: a worker for each CPU, since the kernel queues each CPU's requests apart. /dev/fuse: at least
  /// three workers that wait side by side. `backend=sync` blocks in each transfer, which on a ring would hold up all
  /// that wait in its queue, so `auto` is /dev/fuse there.
  /// Requests at once: a device that is through at once needs only a batch, which stays in cache; one that takes its
  /// time is kept busy by more.
  /// On a ring every CPU that the kernel counts, present or not, needs a request slot, or no request flows.
  /// - Throws: one line, if what was asked for by name cannot be had here.
  func sizes(_ machine: SizingInput) throws(OptionError) -> ServerSizes {
    let usesRing = usesRing(offersRing: machine.offersRing)
    let processors = machine.processors
    var sizes = ServerSizes(
      workers: workers ?? (usesRing ? min(processors, 64) : max(3, min(4, processors))),
      queueDepth: queueDepth
        ?? (usesRing && !machine.isImmediate ? max(16, min(32, 256 / processors)) : 16),
      maxIOBytes: maxIO ?? 1 << 20,
      spinMicroseconds: spinMicroseconds ?? (usesRing ? machine.isImmediate ? 300 : 50 : 0),
      transport: effectiveTransport)
    let budget = Self.defaultBudget(availableBytes: machine.availableBytes)
    func leastDepth() -> Int {
      let perWorker = (machine.possibleProcessors + sizes.workers - 1) / sizes.workers
      return usesRing ? max(2, perWorker) : 2
    }
    sizes.queueDepth = max(sizes.queueDepth, leastDepth())
    // What was asked for by name is no reason to take something else away unasked: it is refused if it does not fit.
    // Fewer requests at once cost little; smaller ones more; fewer workers most.
    while sizes.byteCount > budget {
      if queueDepth == nil, sizes.queueDepth > max(4, leastDepth()) {
        sizes.queueDepth -= 1
      } else if maxIO == nil, workers == nil, queueDepth == nil, sizes.maxIOBytes > 128 << 10 {
        sizes.maxIOBytes /= 2
      } else if workers == nil, sizes.workers > 1 {
        sizes.workers = (sizes.workers + 1) / 2
        sizes.queueDepth = max(sizes.queueDepth, leastDepth())
      } else {
        break
      }
    }
    try check(sizes, machine)
    sizes.addSpareSlots(
      queues: machine.possibleProcessors, usesRing: usesRing, chosenDepth: queueDepth)
    return sizes
  }

  /// Refuses what would be killed later: a mount that dies of its own size takes its users' data with it.
  private func check(_ sizes: ServerSizes, _ machine: SizingInput) throws(OptionError) {
    let room = machine.availableBytes / 2
    if sizes.byteCount <= room { return }
    let depth = (2...max(2, sizes.queueDepth)).last { depth in
      var smaller = sizes
      smaller.queueDepth = depth
      return smaller.byteCount <= room
    }
    let remedy =
      depth.map { "queue_depth=\($0) would fit" } ?? "use fewer workers, or a smaller max_io"
    throw OptionError(
      message:
        "workers=\(sizes.workers), queue_depth=\(sizes.queueDepth), max_io=\(sizes.maxIOBytes): "
        + "the buffers take \(mebibytes(sizes.byteCount)) MiB, and \(mebibytes(room)) can be had here; \(remedy)"
    )
  }

  private func mebibytes(_ bytes: Int) -> Int { (bytes + (1 << 20) - 1) >> 20 }
}
