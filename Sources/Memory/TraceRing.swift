// The event ring's writer side: one overwriting ring for each worker, written without waiting, read by anyone.

import Glibc
import Synchronization

/// One worker's ring: a handle to memory that the worker alone writes.
///
/// While nobody reads, noting an event is one load and a branch. Else it is eight stores to a cache line of the
/// worker's own, and one that publishes them; the oldest event is written over, read or not, so that no reader ever
/// keeps a worker waiting.
///
/// Kernel: the ring buffers of ftrace in their overwriting mode, kernel/trace/ring_buffer.c.
@safe public struct TraceRing: @unchecked Sendable {
  // Guard of the unchecked Sendable: every cell is an Atomic, and only one thread notes.
  /// The switch that all rings of a set share.
  @usableFromInline let readers: UnsafeMutablePointer<Atomic<Int>>
  /// Events that were ever noted, on a cache line of its own.
  let head: UnsafeMutablePointer<Atomic<Int>>
  private let cells: UnsafeMutablePointer<Atomic<UInt64>>
  private let mask: Int
  /// The number that its records have.
  public let worker: Int

  /// Makes an empty ring.
  /// - Parameter capacity: events that it keeps, a power of two.
  init(readers: UnsafeMutablePointer<Atomic<Int>>, worker: Int, capacity: Int) {
    precondition(capacity > 1 && capacity & (capacity - 1) == 0)
    unsafe self.readers = unsafe readers
    self.worker = worker
    mask = capacity - 1
    unsafe head = .allocate(capacity: 16)
    for index in 0..<16 { unsafe (head + index).initialize(to: Atomic(0)) }
    // Zeroes from calloc(3), which takes no memory for them before they are written.
    guard let memory = unsafe calloc(capacity, TraceRecord.byteCount) else {
      preconditionFailure("no address space for a ring of events")
    }
    unsafe cells = unsafe memory.bindMemory(
      to: Atomic<UInt64>.self, capacity: capacity * TraceRecord.wordCount)
  }

  func deallocate() {
    unsafe head.deallocate()
    unsafe free(cells)
  }

  /// Whether somebody reads.
  @inlinable @inline(__always) public var isOn: Bool {
    unsafe readers[0].load(ordering: .relaxed) != 0
  }

  /// Events that the ring keeps.
  public var capacity: Int { mask + 1 }

  /// Notes an event; to be called by the ring's own worker only, and where `isOn`.
  public func note(_ record: TraceRecord) {
    var record = record
    record.worker = worker
    let place = unsafe head[0].load(ordering: .relaxed)
    // Whoever reads what stood there sees, by the head, that it was written over: the head went first.
    atomicMemoryFence(ordering: .releasing)
    // SAFETY: the mask keeps the place within the ring.
    let first = unsafe cells + (place & mask) &* TraceRecord.wordCount
    for index in 0..<TraceRecord.wordCount {
      unsafe first[index].store(record.word(index), ordering: .relaxed)
    }
    unsafe head[0].store(place &+ 1, ordering: .releasing)
  }

  /// Events that were ever noted.
  var noted: Int { unsafe head[0].load(ordering: .acquiring) }

  /// The oldest event that is still whole: at the head, another may be half written over it.
  var oldest: Int { max(0, unsafe head[0].load(ordering: .relaxed) &- mask) }

  /// A word of an event, which may be written over meanwhile: `oldest` must be asked afterwards.
  @inline(__always) func word(_ index: Int, of place: Int) -> UInt64 {
    precondition(index < TraceRecord.wordCount)
    return unsafe cells[(place & mask) &* TraceRecord.wordCount &+ index].load(ordering: .relaxed)
  }
}

/// The rings of a mount: one for each worker, and one for what happens elsewhere.
public final class TraceSet: Sendable {
  /// One ring for each worker.
  public let rings: [TraceRing]
  private let aside: TraceRing
  private let asideLock = Guarded<Bool>(false)
  private let switchCells: SwitchCells

  /// Events that each ring keeps: 8 MiB, which at a million events a second are a tenth of one.
  public static var defaultCapacity: Int { 1 << 17 }

  /// Makes empty rings that nobody reads.
  /// - Parameters:
  ///   - workerCount: rings besides the one for what happens elsewhere.
  ///   - capacity: events that each keeps, a power of two.
  public init(workerCount: Int, capacity: Int = TraceSet.defaultCapacity) {
    let cells = SwitchCells()
    switchCells = cells
    rings = (0..<workerCount).map {
      unsafe TraceRing(readers: cells.cells, worker: $0, capacity: capacity)
    }
    unsafe aside = TraceRing(
      readers: cells.cells, worker: workerCount, capacity: min(capacity, 1 << 14))
  }

  deinit {
    for ring in rings { ring.deallocate() }
    aside.deallocate()
  }

  /// Whether somebody reads.
  public var isOn: Bool { aside.isOn }

  /// Notes an event that happens on no worker's thread; such are rare, and take a lock.
  public func note(_ record: TraceRecord) {
    if !isOn { return }
    asideLock.withLock { _ in aside.note(record) }
  }

  /// All rings.
  var all: [TraceRing] { rings + [aside] }

  /// One reader more or less.
  func addReaders(_ count: Int) {
    unsafe switchCells.cells[0].wrappingAdd(count, ordering: .relaxed)
  }

  /// A ring that nobody can read, for engines outside a mount.
  public static let unread = TraceSet(workerCount: 1, capacity: 2)
}

/// The count of readers, on a cache line of its own.
@safe private final class SwitchCells: @unchecked Sendable {
  // Guard of the unchecked Sendable: every cell is an Atomic.
  let cells: UnsafeMutablePointer<Atomic<Int>>

  init() {
    unsafe cells = .allocate(capacity: 16)
    for index in 0..<16 { unsafe (cells + index).initialize(to: Atomic(0)) }
  }

  deinit { unsafe cells.deallocate() }
}
