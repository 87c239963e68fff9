// Event counters: one block per worker, written by it alone, summed by whoever reads.

import Synchronization

/// What is counted; a case's name in `stats` is its raw name.
public enum Counter: Int, CaseIterable, Sendable {
  case simPinAcquired, simPinReleased, simGetAcquired, simGetReleased
  case simPagesListed, simZeroPageUses, simLeaks, simDoubleReleases
  case simPinnedMaximum
  case requestsRead, requestsWrite, requestsOther, bytesRead, bytesWritten
  case bios, bvecs, bioSplits, bvecMerges, samePageMerges
  case bouncedBytes, flushes, fuaWrites, ioErrors, requestsInflight
  case deviceReads, deviceWrites, deviceBytesRead, deviceBytesWritten
  case passthroughRequests, passthroughMappedBytes, passthroughCopiedBytes
  case fixedBufferPages
  case eraRefusals, eraBouncedBytes
  case traceDropped, unstableBuffers, buffersWatched, buffersNotWatched

  /// The name users meet in `stats`.
  public var name: String {
    switch self {
    case .simPinAcquired: "sim_nr_foll_pin_acquired"
    case .simPinReleased: "sim_nr_foll_pin_released"
    case .simGetAcquired: "sim_nr_foll_get_acquired"
    case .simGetReleased: "sim_nr_foll_get_released"
    case .simPagesListed: "sim_pages_listed"
    case .simZeroPageUses: "sim_zero_page_uses"
    case .simLeaks: "sim_leaks"
    case .simDoubleReleases: "sim_double_releases"
    case .simPinnedMaximum: "sim_pages_pinned_max"
    case .requestsRead: "requests_read"
    case .requestsWrite: "requests_write"
    case .requestsOther: "requests_other"
    case .bytesRead: "bytes_read"
    case .bytesWritten: "bytes_written"
    case .bios: "bios"
    case .bvecs: "bvecs"
    case .bioSplits: "bio_splits"
    case .bvecMerges: "bvec_merges"
    case .samePageMerges: "same_page_merges"
    case .bouncedBytes: "bounced_bytes"
    case .flushes: "flushes"
    case .fuaWrites: "fua_writes"
    case .ioErrors: "io_errors"
    case .requestsInflight: "requests_inflight"
    case .deviceReads: "device_reads"
    case .deviceWrites: "device_writes"
    case .deviceBytesRead: "device_bytes_read"
    case .deviceBytesWritten: "device_bytes_written"
    case .passthroughRequests: "passthrough_requests"
    case .fixedBufferPages: "fixed_buffer_pages"
    case .eraRefusals: "era_refusals"
    case .eraBouncedBytes: "era_bounced_bytes"
    case .traceDropped: "trace_dropped"
    case .unstableBuffers: "unstable_buffers"
    case .buffersWatched: "buffers_watched"
    case .buffersNotWatched: "buffers_not_watched"
    case .passthroughMappedBytes: "passthrough_mapped_bytes"
    case .passthroughCopiedBytes: "passthrough_copied_bytes"
    }
  }
}

/// What is counted once more for each iterator kind.
public enum KindCounter: Int, CaseIterable, Sendable {
  case pinAcquired, getAcquired, pagesListed

  /// The name after `sim_KIND_` in `stats`.
  public var name: String {
    switch self {
    case .pinAcquired: "nr_foll_pin_acquired"
    case .getAcquired: "nr_foll_get_acquired"
    case .pagesListed: "pages_listed"
    }
  }
}

/// Iterator kinds that have counters of their own, in the order of `IOVIter.Kind`.
public let countedKindNames = [
  "ubuf", "iovec", "kvec", "bvec", "xarray", "pipe", "discard", "folioq",
]

/// Quantities whose distribution is kept.
public enum Distribution: Int, CaseIterable, Sendable {
  case requestBytes, bioBytes, memoryAlignmentBytes, fileAlignmentBytes
  case readNanoseconds, writeNanoseconds, flushNanoseconds, queueNanoseconds, pinHoldNanoseconds

  /// The name users meet in `stats.json`.
  public var name: String {
    switch self {
    case .requestBytes: "request_bytes"
    case .bioBytes: "bio_bytes"
    case .memoryAlignmentBytes: "memory_alignment_bytes"
    case .fileAlignmentBytes: "file_alignment_bytes"
    case .readNanoseconds: "read_latency_ns"
    case .writeNanoseconds: "write_latency_ns"
    case .flushNanoseconds: "flush_latency_ns"
    case .queueNanoseconds: "queue_ns"
    case .pinHoldNanoseconds: "pin_hold_ns"
    }
  }
}

/// One worker's counters: a handle to memory that the worker alone writes.
///
/// Adding is a load and a store of the worker's own cache line, never a locked instruction; a reader in another
/// thread sees each counter at some recent value, and never goes back.
@safe public struct CounterBlock: @unchecked Sendable {
  // Guard of the unchecked Sendable: every cell is an Atomic, and only one thread stores to it.
  @usableFromInline let cells: UnsafeMutablePointer<Atomic<Int>>
  /// What all workers of the set hold together.
  @usableFromInline let pinned: PinnedPages

  @inlinable static var kindBase: Int { 48 }
  @inlinable static var distributionBase: Int { 80 }
  /// Buckets of one distribution: four per power of two.
  @inlinable public static var bucketCount: Int { 192 }
  /// Cells of one distribution: its buckets, their values' sum, and what fills the cache line.
  @inlinable static var distributionCells: Int { 200 }
  /// Cells of one block: whole cache lines, with one between two blocks.
  @usableFromInline static var cellCount: Int { 80 + 9 * 200 + 8 }

  init(pinned: PinnedPages) {
    self.pinned = pinned
    unsafe cells = .allocate(capacity: Self.cellCount)
    for index in 0..<Self.cellCount { unsafe (cells + index).initialize(to: Atomic(0)) }
  }

  func deallocate() {
    unsafe cells.deinitialize(count: Self.cellCount)
    unsafe cells.deallocate()
  }

  /// Adds to a counter; to be called by the block's own worker only.
  @inlinable @inline(__always) public func add(_ counter: Counter, _ amount: Int) {
    if !Self.keeps(counter) { return }
    bump(counter.rawValue, amount)
  }

  /// Adds to the counter of an iterator kind; to be called by the block's own worker only.
  /// - Parameter kind: place in `countedKindNames`.
  @inlinable @inline(__always)
  public func add(_ counter: KindCounter, kind: Int, _ amount: Int) {
    if !Accounting.isOn { return }
    bump(Self.kindBase &+ kind &* 4 &+ counter.rawValue, amount)
  }

  /// Notes one value of a distribution; to be called by the block's own worker only.
  @inlinable public func record(_ value: Int, in distribution: Distribution) {
    if !Accounting.isOn { return }
    let first = Self.distributionBase &+ distribution.rawValue &* Self.distributionCells
    bump(first &+ Self.bucket(of: value), 1)
    bump(first &+ Self.bucketCount, value)
  }

  /// The value of a counter now.
  @inlinable public func value(of counter: Counter) -> Int {
    if !Self.keeps(counter) { return 0 }
    return unsafe cells[counter.rawValue].load(ordering: .relaxed)
  }

  /// The value of a kind's counter now.
  public func value(of counter: KindCounter, kind: Int) -> Int {
    unsafe cells[Self.kindBase + kind * 4 + counter.rawValue].load(ordering: .relaxed)
  }

  /// How many values fell into a bucket.
  public func samples(of distribution: Distribution, bucket: Int) -> Int {
    precondition(bucket >= 0 && bucket < Self.bucketCount, "no such bucket")
    let first = Self.distributionBase + distribution.rawValue * Self.distributionCells
    return unsafe cells[first + bucket].load(ordering: .relaxed)
  }

  /// The sum of a distribution's values.
  public func total(of distribution: Distribution) -> Int {
    let first = Self.distributionBase + distribution.rawValue * Self.distributionCells
    return unsafe cells[first + Self.bucketCount].load(ordering: .relaxed)
  }

  /// Counts pages that were pinned; to be called by the block's own worker only.
  @inlinable public func addPinned(_ pageCount: Int) {
    if !Accounting.isOn || pageCount == 0 { return }
    bump(Counter.simPinAcquired.rawValue, pageCount)
    pinned.add(pageCount)
  }

  /// Counts pages that were unpinned; to be called by the block's own worker only.
  @inlinable public func addUnpinned(_ pageCount: Int) {
    if !Accounting.isOn || pageCount == 0 { return }
    bump(Counter.simPinReleased.rawValue, pageCount)
    pinned.subtract(pageCount)
  }

  /// Whether a counter counts in this build; what the server itself waits for always does.
  @inlinable @inline(__always) static func keeps(_ counter: Counter) -> Bool {
    Accounting.isOn || counter == .requestsInflight
  }

  @usableFromInline @inline(__always) func bump(_ index: Int, _ amount: Int) {
    // SAFETY: every index comes from an enumeration or a bounded bucket number of this file.
    let cell = unsafe cells[index].load(ordering: .relaxed)
    unsafe cells[index].store(cell &+ amount, ordering: .relaxed)
  }

  /// The bucket of a value: exact up to 4, then four buckets per power of two, each with its upper bound, so that the
  /// powers of two, which sizes are, are told exactly.
  @inlinable public static func bucket(of value: Int) -> Int {
    let below = value &- 1
    if below < 4 { return max(below, 0) }
    let exponent = Int.bitWidth &- 1 &- below.leadingZeroBitCount
    let quarter = (below >> (exponent &- 2)) & 3
    return min((exponent &- 1) &* 4 &+ quarter, bucketCount &- 1)
  }

  /// The largest value that falls into a bucket.
  public static func upperBound(ofBucket bucket: Int) -> Int {
    if bucket < 3 { return bucket + 1 }
    let exponent = (bucket + 1) / 4 + 1
    return (4 + (bucket + 1) % 4) << (exponent - 2)
  }
}

/// Pages that all workers together have pinned now, and the most that there ever were.
///
/// This is the one figure for which workers write to the same place. Reading what the others hold instead, one after
/// the other, would count pages twice that one gave back while another took some, and no worker can tell alone whether
/// it takes part in a new maximum. A bio costs two locked adds, 5 ns each while one worker is busy.
///
/// A handle to memory that the set owns.
@usableFromInline @safe struct PinnedPages: @unchecked Sendable {
  // Guard of the unchecked Sendable: every cell is an Atomic.
  /// What is pinned now, and a cache line behind it the maximum, which hardly ever changes.
  private let cells: UnsafeMutablePointer<Atomic<Int>>

  private static var maximumCell: Int { 8 }

  init() {
    unsafe cells = .allocate(capacity: 2 * Self.maximumCell)
    for index in 0..<2 * Self.maximumCell { unsafe (cells + index).initialize(to: Atomic(0)) }
  }

  func deallocate() {
    unsafe cells.deinitialize(count: 2 * Self.maximumCell)
    unsafe cells.deallocate()
  }

  @usableFromInline func add(_ pageCount: Int) {
    let held = unsafe cells[0].wrappingAdd(pageCount, ordering: .relaxed).newValue
    if held > maximum { unsafe cells[Self.maximumCell].max(held, ordering: .relaxed) }
  }

  @usableFromInline func subtract(_ pageCount: Int) {
    unsafe cells[0].wrappingSubtract(pageCount, ordering: .relaxed)
  }

  var maximum: Int { unsafe cells[Self.maximumCell].load(ordering: .relaxed) }
}

/// The counters of all workers.
public final class CounterSet: Sendable {
  /// One block per worker.
  public let blocks: [CounterBlock]
  private let pinned: PinnedPages

  /// Makes blocks with every counter at zero.
  /// - Parameter count: how many workers will count.
  public init(count: Int) {
    precondition(count > 0)
    let pinned = PinnedPages()
    self.pinned = pinned
    blocks = (0..<count).map { _ in CounterBlock(pinned: pinned) }
  }

  deinit {
    for block in blocks { block.deallocate() }
    pinned.deallocate()
  }

  /// The sum of a counter over all workers; of `simPinnedMaximum`, what they held together at one moment.
  public func sum(_ counter: Counter) -> Int {
    if counter == .simPinnedMaximum { return pinned.maximum }
    return blocks.reduce(0) { $0 + $1.value(of: counter) }
  }

  /// The sum of a kind's counter over all workers.
  public func sum(_ counter: KindCounter, kind: Int) -> Int {
    blocks.reduce(0) { $0 + $1.value(of: counter, kind: kind) }
  }

  /// The samples of a distribution, bucket by bucket, over all workers.
  public func samples(of distribution: Distribution) -> [Int] {
    (0..<CounterBlock.bucketCount).map { bucket in
      blocks.reduce(0) { $0 + $1.samples(of: distribution, bucket: bucket) }
    }
  }

  /// The sum of a distribution's values over all workers.
  public func total(of distribution: Distribution) -> Int {
    blocks.reduce(0) { $0 &+ $1.total(of: distribution) }
  }
}
