// Filters: devices that stand before another, change what they want to, and forward everything else.

import Memory

/// A device before another. As it is it changes nothing; a filter overrides what it changes, mostly `makeQueue`.
///
/// Kernel: a device-mapper target, include/linux/device-mapper.h.
open class FilterDevice: BlockDevice, @unchecked Sendable {
  // Guard of the unchecked Sendable: the one field is a constant; a subclass guards its own.
  /// The device behind.
  public let next: any BlockDevice

  /// Stands before a device.
  public init(next: any BlockDevice) { self.next = next }

  /// The next one's, unless overridden; so with all that follows.
  open var name: String { next.name }
  /// What bios must keep to.
  open var limits: QueueLimits { next.limits }
  /// Size in bytes.
  open var byteCount: Int { next.byteCount }
  /// Storage that the content takes.
  open var storedByteCount: Int { next.storedByteCount }
  /// Whether writes are refused.
  open var isReadOnly: Bool { next.isReadOnly }
  /// Whether bios are through as soon as they are submitted.
  open var isImmediate: Bool { next.isImmediate }
  /// Whether memory could be given up.
  open var canRelax: Bool { next.canRelax }

  /// Makes the next device's queue; a filter of bios puts its own before it.
  open func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: AnyObject?
  ) throws(Errno) -> any DeviceQueue {
    try next.makeQueue(pool: pool, depth: depth, context: context, ring: ring)
  }

  /// Finds data or holes.
  open func seek(offset: Int, whence: Int32) throws(Errno) -> Int {
    try next.seek(offset: offset, whence: whence)
  }

  /// Whether nothing was ever written to a range.
  open func isHole(at offset: Int, byteCount: Int) -> Bool {
    next.isHole(at: offset, byteCount: byteCount)
  }

  /// Gives up memory that is held for speed only.
  open func relax() { next.relax() }
}

/// A queue before another's. As it is it changes nothing; a filter overrides `submit`, and `nextCompleted` where it
/// wants to see what comes back.
///
/// A filter may give a bio on (`next.submit`), hand it back by itself (`finish`), or cut it: a front, or a clone, is
/// chained to the bio in `chains` and given on, and so is the rest, while a bio that was cloned is finished instead.
/// What comes back is joined here, before anybody above sees it. Where no bio can be made, the one at hand is
/// finished with that error.
open class FilterQueue: DeviceQueue {
  /// The queue behind.
  public let next: any DeviceQueue
  /// Where bios live.
  public let pool: BioPool
  /// What this filter has cut.
  public let chains: BioChains
  private var finished: CompletionRing

  /// Stands before a queue.
  public init(next: any DeviceQueue, pool: BioPool) {
    self.next = next
    self.pool = pool
    chains = BioChains(pool: pool)
    finished = CompletionRing(capacity: pool.slotCount)
  }

  /// The next one's, unless overridden.
  open var isImmediate: Bool { next.isImmediate }
  /// What is at the next queue, and what waits here to be handed back.
  open var inFlightCount: Int { next.inFlightCount &+ finished.count }
  /// Gives a bio on.
  open func submit(_ bio: consuming Bio) { next.submit(bio) }
  /// Lets go of the device.
  open func close() { next.close() }

  /// The next whole bio that is through, or nil.
  open func nextCompleted() -> Bio? {
    if let index = finished.popFirst() { return pool.adopt(index) }
    while let part = next.nextCompleted() {
      if let whole = chains.join(part) { return whole }
    }
    return nil
  }

  /// This filter is done with a bio: it comes back as soon as its parts, if it has any, are through.
  /// - Parameter error: what went wrong, or nil; a status that is set already is kept.
  public final func finish(_ bio: consuming Bio, _ error: Errno? = nil) {
    if bio.status == nil { bio.status = error }
    if let whole = chains.join(bio) { finished.append(whole.detach()) }
  }
}
