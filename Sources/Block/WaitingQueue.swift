// The device for whoever may wait and is no worker: one bio at a time, from any thread.

import Memory

/// Submits a bio and waits for it. For what happens seldom: the flush of a freeze, and the last one of all.
///
/// Kernel: `submit_bio_wait()`, block/bio.c, v6.6.
public final class WaitingQueue: @unchecked Sendable {
  // Guard of the unchecked Sendable: all that is mutable is used under the lock only.
  private let device: any BlockDevice
  private let lock = Guarded<Bool>(false)
  private let map = MemoryMap(pageCount: 1, hasMemory: true)
  private let user = AddressSpace([])
  private let counters = CounterSet(count: 1)
  private let pool: BioPool
  private let queue: any DeviceQueue
  /// The most bytes of one bio. Kernel: `bio_discard_limit()`, block/blk-lib.c, v6.6.
  private static let mostBytes = 1 << 30

  /// Makes a queue of its own, without a ring.
  /// - Throws: what the device's queue could not be made for.
  public init(device: any BlockDevice) throws(Errno) {
    self.device = device
    let context = MemoryContext(
      pages: map.table, user: user.view, kernel: .linear, era: .v8, counters: counters.blocks[0])
    // A filter may cut the bio, so there is room for parts.
    pool = BioPool(slotCount: 64, vectorsPerBio: 1, context: context)
    queue = try device.makeQueue(pool: pool, depth: 64, context: context, ring: nil)
  }

  deinit { queue.close() }

  /// Makes everything acknowledged so far survive a loss of power. Kernel: `blkdev_issue_flush()`.
  public func flush() throws(Errno) {
    try alone { () throws(Errno) in
      try run(try pool.makeBio(.flush, sector: 0, vectorCapacity: 0))
    }
  }

  /// Gives back the storage of whole blocks. Kernel: `blkdev_issue_discard()`, block/blk-lib.c, v6.6.
  /// - Throws: `.notSupported` if the device has no such thing.
  public func discard(_ range: Range<Int>) throws(Errno) {
    try alone { () throws(Errno) in try clear(.discard, range, []) }
  }

  /// Makes bytes zero.
  /// - Parameters:
  ///   - range: bytes; blocks that it covers in part are read and written, which must be kept apart from other writes.
  ///   - keepsStorage: whether the storage stays allocated.
  ///
  /// Kernel: `blkdev_issue_zeroout()`, block/blk-lib.c, v6.6.
  public func zero(_ range: Range<Int>, keepsStorage: Bool) throws(Errno) {
    let block = device.limits.logicalBlockSize
    let end = min(range.upperBound, device.byteCount)
    let first = (range.lowerBound + block - 1) / block * block
    // The part of a block at the device's end is as good as a whole one.
    let last = end == device.byteCount ? end : end / block * block
    try alone { () throws(Errno) in
      if first > last {
        return try zeroPart(range.lowerBound..<end)
      }
      if range.lowerBound < first { try zeroPart(range.lowerBound..<min(first, end)) }
      if last > first { try clear(.writeZeroes, first..<last, keepsStorage ? .noUnmap : []) }
      if end > last { try zeroPart(last..<end) }
    }
  }

  private func alone(_ body: () throws(Errno) -> Void) throws(Errno) {
    var failure: Errno?
    lock.withLock { _ in
      do throws(Errno) { try body() } catch { failure = error }
    }
    if let failure { throw failure }
  }

  private func clear(
    _ operation: BioOperation, _ range: Range<Int>, _ flags: BioFlags
  ) throws(Errno) {
    var left = range
    while !left.isEmpty {
      let count = min(left.count, Self.mostBytes)
      try run(
        try pool.makeBio(
          operation, sector: UInt64(left.lowerBound >> 9), byteCount: UInt32(count), flags: flags))
      left = left.lowerBound + count..<left.upperBound
    }
  }

  /// Zeroes bytes within one block.
  private func zeroPart(_ range: Range<Int>) throws(Errno) {
    if range.isEmpty { return }
    let block = device.limits.logicalBlockSize
    let start = range.lowerBound / block * block
    try move(.read, block: start)
    let bytes = unsafe map.table.memory(
      at: Page(0), offset: range.lowerBound - start, length: range.count)
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
    try move(.write, block: start)
  }

  private func move(_ operation: BioOperation, block start: Int) throws(Errno) {
    var bio = try pool.makeBio(operation, sector: UInt64(start >> 9), vectorCapacity: 1)
    let count = UInt32(device.limits.logicalBlockSize)
    precondition(bio.add(page: Page(0), length: count, offset: 0) == count)
    try run(bio)
  }

  private func run(_ bio: consuming Bio) throws(Errno) {
    queue.submit(bio)
    while true {
      guard let bio = queue.nextCompleted() else { continue }
      let status = bio.status
      bio.end()
      if let status { throw status }
      return
    }
  }
}
