// Where bios live: a table of slots, each with its segment table, allocated up front.

import IOVector
import Memory

/// Names a bio that is in flight: its slot in the pool.
public struct BioIndex: Equatable, Hashable, Sendable {
  /// Place in the pool.
  public let rawValue: UInt32

  /// Wraps a place, as a ring's user data gave it back.
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
}

/// Which pages a finished read marks dirty.
public enum DirtyGranularity: Sendable {
  /// Page by page, parts of large folios not at all. Kernel: v6.3 to v6.6.0.
  case page
  /// Folio by folio, large ones included. Kernel: v6.8.
  case folio
}

/// One bio. Kernel: `struct bio`, include/linux/blk_types.h, v6.6.
@safe struct BioSlot {
  enum State: UInt8 { case free, held, inFlight }

  let pool: UnsafeMutablePointer<BioPoolState>
  let ownTable: UnsafeMutablePointer<BioVec>
  let index: UInt32
  /// The segments: the slot's own table, or one that is shared. Kernel: `bi_io_vec`.
  var table: UnsafePointer<BioVec>?
  /// Segments that may be read there.
  var tableCount = 0
  /// Segments that are this bio's to release. Kernel: `bi_vcnt`.
  var vectorCount = 0
  /// Segments that may be added. Kernel: `bi_max_vecs`.
  var capacity = 0
  var iterator = BioIterator()
  var flags: BioFlags = []
  /// Whose rules its pages were taken under, and are released under.
  var era = Era.v8
  var bugs: ModelBugs = []
  var operation = BioOperation.read
  var state = State.free
  var status: Errno?
  var token = 0
  var nextFree: UInt32 = .max
}

/// What the bios of a pool share.
@safe struct BioPoolState: ~Copyable {
  let slots: UnsafeMutablePointer<BioSlot>
  let slotCount: Int
  let vectorsPerBio: Int
  var context: MemoryContext
  var scratch: PageList
  var dirtyGranularity = DirtyGranularity.page
  var completion: ((_ token: Int, _ status: Errno?) -> Void)?
  var firstFree: UInt32 = 0
  var freeCount: Int
}

/// Owns the bios of one worker.
///
/// One thread makes, adopts and ends the bios of a pool. The pool outlives its bios.
///
/// Kernel: `struct bio_set` with its mempools, include/linux/bio.h, v6.6.
@safe public final class BioPool {
  private let state: UnsafeMutablePointer<BioPoolState>

  /// The most segments that a bio can have. Kernel: `BIO_MAX_VECS`.
  @inlinable public static var maxVectors: Int { 256 }

  /// Allocates all slots.
  /// - Parameters:
  ///   - slotCount: bios that can exist at once.
  ///   - vectorsPerBio: segments of each bio's own table, at most 256.
  ///   - context: what extraction and release work on.
  public init(slotCount: Int, vectorsPerBio: Int = 256, context: MemoryContext) {
    precondition(slotCount > 0 && slotCount < Int(UInt32.max))
    precondition(vectorsPerBio > 0 && vectorsPerBio <= Self.maxVectors)
    let slots = UnsafeMutablePointer<BioSlot>.allocate(capacity: slotCount)
    unsafe state = .allocate(capacity: 1)
    unsafe state.initialize(
      to: BioPoolState(
        slots: slots, slotCount: slotCount, vectorsPerBio: vectorsPerBio, context: context,
        scratch: PageList(runCapacity: Self.maxVectors), freeCount: slotCount))
    for index in 0..<slotCount {
      var slot = unsafe BioSlot(
        pool: state, ownTable: .allocate(capacity: vectorsPerBio), index: UInt32(index))
      slot.nextFree = index + 1 < slotCount ? UInt32(index + 1) : .max
      unsafe (slots + index).initialize(to: slot)
    }
  }

  deinit {
    unsafe precondition(
      state.pointee.freeCount == state.pointee.slotCount, "a pool was dropped before its bios ended"
    )
    let slots = unsafe state.pointee.slots
    let count = unsafe state.pointee.slotCount
    for index in 0..<count { unsafe slots[index].ownTable.deallocate() }
    unsafe slots.deallocate()
    unsafe state.deinitialize(count: 1)
    unsafe state.deallocate()
  }

  /// Bios that can exist at once; every bio's index is below it.
  public var slotCount: Int { unsafe state.pointee.slotCount }
  /// Segments of each bio's own table.
  public var vectorsPerBio: Int { unsafe state.pointee.vectorsPerBio }
  /// Bios that can still be made.
  public var freeCount: Int { unsafe state.pointee.freeCount }
  /// Bios that were made and have not ended.
  public var outstandingCount: Int {
    unsafe state.pointee.slotCount - state.pointee.freeCount
  }

  /// What extraction and release work on; may be changed while no bio is outstanding.
  public var context: MemoryContext {
    get { unsafe state.pointee.context }
    set {
      precondition(outstandingCount == 0, "the rules were changed under a bio")
      unsafe state.pointee.context = newValue
    }
  }

  /// Which pages a finished read marks dirty.
  public var dirtyGranularity: DirtyGranularity {
    get { unsafe state.pointee.dirtyGranularity }
    set { unsafe state.pointee.dirtyGranularity = newValue }
  }

  /// Called once for each bio that ends, after its pages were released and its slot is free again, with its token
  /// and its status; nil is success.
  ///
  /// Kernel: `bi_end_io` of `struct bio`.
  public var completion: ((_ token: Int, _ status: Errno?) -> Void)? {
    get { unsafe state.pointee.completion }
    set { unsafe state.pointee.completion = newValue }
  }

  /// Makes an empty bio.
  ///
  /// - Parameters:
  ///   - operation: what is asked of the device.
  ///   - sector: device position, in sectors of 512 bytes.
  ///   - vectorCapacity: segments that may be added, at most the pool's `vectorsPerBio`.
  ///   - token: a value of the caller's, handed back at the end.
  ///   - era: whose rules this bio follows to its end, whatever later ones do; nil for the context's.
  ///   - bugs: what this bio does wrong on purpose; nil for the context's.
  ///   - flags: what the device is to heed beyond the operation, of `BioFlags.request`.
  /// - Throws: `.noMemory` if every slot is in use.
  ///
  /// Kernel: `bio_alloc_bioset()`, block/bio.c, v6.6.
  public func makeBio(
    _ operation: BioOperation, sector: UInt64, vectorCapacity: Int = 256, token: Int = 0,
    era: Era? = nil, bugs: ModelBugs? = nil, flags: BioFlags = []
  ) throws(Errno) -> Bio {
    precondition(flags.isSubset(of: .request), "a bio's own state is not the caller's to set")
    let slot = try unsafe Self.allocateSlot(state)
    unsafe precondition(vectorCapacity >= 0 && vectorCapacity <= state.pointee.vectorsPerBio)
    unsafe slot.pointee.table = unsafe UnsafePointer(slot.pointee.ownTable)
    unsafe slot.pointee.capacity = vectorCapacity
    unsafe slot.pointee.operation = operation
    unsafe slot.pointee.iterator = BioIterator(sector: sector)
    unsafe slot.pointee.token = token
    unsafe slot.pointee.era = unsafe era ?? state.pointee.context.era
    unsafe slot.pointee.bugs = unsafe bugs ?? state.pointee.context.bugs
    unsafe slot.pointee.flags = flags
    return unsafe Bio(slot: slot)
  }

  /// Makes a bio that has a range and no segments: a discard, or a write of zeroes.
  /// - Parameters:
  ///   - operation: one that `hasNoSegments`.
  ///   - sector: where it begins, in sectors of 512 bytes.
  ///   - byteCount: how much; whole blocks, but for what ends with the device.
  ///   - token: a value of the caller's, handed back at the end.
  ///   - flags: what the device is to heed beyond the operation.
  /// - Throws: `.noMemory` if every slot is in use.
  ///
  /// Kernel: `__blkdev_issue_write_zeroes()`, block/blk-lib.c, v6.6.
  public func makeBio(
    _ operation: BioOperation, sector: UInt64, byteCount: UInt32, token: Int = 0,
    flags: BioFlags = []
  ) throws(Errno) -> Bio {
    precondition(operation.hasNoSegments, "an operation on bytes needs segments")
    let bio = try makeBio(
      operation, sector: sector, vectorCapacity: 0, token: token, flags: flags)
    bio.iterator.size = byteCount
    return bio
  }

  /// Returns a slot.
  @unsafe static func freeSlot(_ slot: UnsafeMutablePointer<BioSlot>) {
    let pool = unsafe slot.pointee.pool
    unsafe slot.pointee.state = .free
    unsafe slot.pointee.nextFree = unsafe pool.pointee.firstFree
    unsafe pool.pointee.firstFree = unsafe slot.pointee.index
    unsafe pool.pointee.freeCount &+= 1
  }

  /// Takes a free slot, and makes it blank.
  @unsafe static func allocateSlot(
    _ state: UnsafeMutablePointer<BioPoolState>
  ) throws(Errno) -> UnsafeMutablePointer<BioSlot> {
    let place = unsafe state.pointee.firstFree
    if place == .max { throw .noMemory }
    let slot = unsafe state.pointee.slots + Int(place)
    unsafe state.pointee.firstFree = unsafe slot.pointee.nextFree
    unsafe state.pointee.freeCount &-= 1
    unsafe slot.pointee.tableCount = 0
    unsafe slot.pointee.vectorCount = 0
    unsafe slot.pointee.capacity = 0
    unsafe slot.pointee.flags = []
    unsafe slot.pointee.status = nil
    unsafe slot.pointee.state = .held
    return unsafe slot
  }

  /// Takes back a bio that was detached.
  /// - Parameter index: what `detach` returned; each is taken back once.
  public func adopt(_ index: BioIndex) -> Bio {
    unsafe precondition(Int(index.rawValue) < state.pointee.slotCount, "no such bio")
    let slot = unsafe state.pointee.slots + Int(index.rawValue)
    unsafe precondition(
      slot.pointee.state == .inFlight, "a bio was completed that is not in flight")
    unsafe slot.pointee.state = .held
    return unsafe Bio(slot: slot)
  }
}
