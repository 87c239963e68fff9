// The bio: a transfer between pages and a device, as a handle that must be ended exactly once.

import IOVector
import Memory

/// A handle to a bio in a pool; `end` is its only exit.
///
/// Ending twice does not compile, and dropping one unended traps. While a device has it, the bio is in its slot
/// (`detach`), and the slot's index comes back with the completion (`BioPool.adopt`).
///
/// Kernel: `struct bio`, include/linux/blk_types.h, v6.6.
@safe public struct Bio: ~Copyable {
  let slot: UnsafeMutablePointer<BioSlot>

  init(slot: UnsafeMutablePointer<BioSlot>) { unsafe self.slot = unsafe slot }

  deinit {
    // `end` and `detach` leave without coming here.
    unsafe precondition(slot.pointee.state != .held, "a bio was dropped without being ended")
  }

  /// Finishes the bio: releases its pages as its flags say, returns its slot, and tells the pool's `completion`.
  ///
  /// Pages of a read are marked dirty first. A status that was set before is kept.
  /// - Parameter status: what went wrong; nil is success.
  ///
  /// Kernel: `bio_endio()`, block/bio.c, v6.6.
  public consuming func end(_ status: Errno? = nil) {
    if self.status == nil { self.status = status }
    releasePages(markDirty: operation == .read || operation == .driverIn)
    let slot = unsafe self.slot
    discard self
    unsafe BioPool.freeSlot(slot)
    if let completion = unsafe slot.pointee.pool.pointee.completion {
      unsafe completion(slot.pointee.token, slot.pointee.status)
    }
  }

  /// Returns the slot of a part that has been joined to its whole, which has the pages and tells the pool.
  consuming func retire() {
    let slot = unsafe self.slot
    discard self
    unsafe precondition(
      slot.pointee.flags.cleanupMode.isEmpty, "a part of a bio has pages of its own to release")
    unsafe BioPool.freeSlot(slot)
  }

  /// Leaves the bio in its slot while it is in flight.
  /// - Returns: what `BioPool.adopt` wants.
  public consuming func detach() -> BioIndex {
    let slot = unsafe self.slot
    discard self
    unsafe slot.pointee.state = .inFlight
    return unsafe BioIndex(rawValue: slot.pointee.index)
  }
}

extension Bio {
  /// The bio's place in its pool. The same for as long as it lives.
  public var index: BioIndex { unsafe BioIndex(rawValue: slot.pointee.index) }
  /// Flags: the cleanup mode, and whether the table is shared.
  public var flags: BioFlags { unsafe slot.pointee.flags }
  /// Adds what the device is to heed beyond the operation.
  /// - Parameter wishes: of `BioFlags.request`; the others are the bio's own affair.
  public mutating func insert(_ wishes: BioFlags) {
    precondition(wishes.isSubset(of: .request), "a bio's own state is not the caller's to set")
    unsafe slot.pointee.flags.formUnion(wishes)
  }

  /// What is asked of the device.
  public var operation: BioOperation { unsafe slot.pointee.operation }
  /// A value of the caller's: the request that the bio belongs to.
  public var token: Int {
    get { unsafe slot.pointee.token }
    nonmutating set { unsafe slot.pointee.token = newValue }
  }
  /// What went wrong; nil is success.
  public var status: Errno? {
    get { unsafe slot.pointee.status }
    nonmutating set { unsafe slot.pointee.status = newValue }
  }
  /// The position: where on the device, how much, where in the table.
  public var iterator: BioIterator {
    get { unsafe slot.pointee.iterator }
    nonmutating set { unsafe slot.pointee.iterator = newValue }
  }
  /// Device position, in sectors of 512 bytes. Kernel: `bi_iter.bi_sector`.
  public var sector: UInt64 { iterator.sector }
  /// Bytes left. Kernel: `bi_iter.bi_size`.
  public var byteCount: Int { Int(iterator.size) }
  /// Segments that are this bio's own; 0 for the front of a split. Kernel: `bi_vcnt`.
  public var vectorCount: Int { unsafe slot.pointee.vectorCount }
  /// Segments that may be held. Kernel: `bi_max_vecs`.
  public var vectorCapacity: Int { unsafe slot.pointee.capacity }
  /// What extraction and release work on; the rules are the bio's own.
  public var context: MemoryContext {
    var context = unsafe slot.pointee.pool.pointee.context
    context.era = unsafe slot.pointee.era
    context.bugs = unsafe slot.pointee.bugs
    return context
  }
  /// Whose rules the bio follows.
  public var era: Era { unsafe slot.pointee.era }

  /// The bio's own segments, whatever its position; valid until the bio changes or ends.
  @unsafe public var vectors: UnsafeBufferPointer<BioVec> {
    unsafe UnsafeBufferPointer(start: slot.pointee.table, count: slot.pointee.vectorCount)
  }

  /// The segments that positions refer to.
  @inline(__always) var table: BioTable {
    unsafe BioTable(slot.pointee.table, count: slot.pointee.tableCount)
  }

  /// A segment of the bio's own.
  /// - Parameter index: less than `vectorCount`.
  public func vector(at index: Int) -> BioVec {
    precondition(index < vectorCount)
    return table[index]
  }
}
