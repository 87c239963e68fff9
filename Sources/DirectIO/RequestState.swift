// What the engine knows of a request: one table for all engines of a mount.

import IOVector
import Memory

/// How far a request is.
enum RequestPhase: UInt8 {
  case idle
  /// Waits for the file's gate.
  case parked
  /// Waits for the volume to say anew where its range lies.
  case stale
  /// Waits for bios.
  case waitingForBios
  /// Reads the blocks that a write covers in part.
  case readingEdges
  /// Moves the data.
  case moving
  /// Flushes the device.
  case flushing
  /// Is through, and nobody has asked for it yet.
  case finished
}

/// One request on its way. The engine that has its slot alone touches it.
@safe struct RequestState {
  var request: DirectRequest
  var phase = RequestPhase.idle
  var iterator: IOVIter
  /// File offsets between which whole blocks move without a copy, or are cleared; equal for none. What lies before and
  /// behind goes through the bounce buffer.
  var bodyStart = 0
  var bodyEnd = 0
  /// To what the blocks in the bounce buffer are rounded, in bytes.
  var bounceUnit = 0
  /// Whether the request's bios go through the host's page cache.
  var usesHostCache = false
  /// Zeroes around a write into fresh space.
  var padding = ZeroPadding()
  /// Where clearing goes on, and the extent that lies there.
  var cursor = ClearingCursor()
  /// Bytes that a pass-through request has mapped and copied.
  var mappedBytes = 0
  var copiedBytes = 0
  /// Bios under way, and bios that are kept for the request.
  var pendingBios = 0
  var reservedBios = 0
  /// The first error, as an errno, or 0.
  var errorNumber: Int32 = 0
  /// Pages on which something is held, and what.
  var heldPages = 0
  var heldMode: FollFlags = []
  var holdsGate = false
  var holdsGateExclusively = false
  /// Whether a bio of the request has made its data durable.
  var isDurableAlready = false
  /// Whether the request has waited: for the gate, the volume, or bios.
  var hasWaited = false
  var startNanoseconds = 0
  var takenNanoseconds = 0
  var endNanoseconds = 0
  /// The slot that follows in a queue, or -1.
  var next = -1

  /// A state before its first request.
  init() {
    request = DirectRequest(.flush, unique: 0, inode: 0, fileOffset: 0, length: 0)
    iterator = IOVIter(discardedBytes: 0)
  }

  /// Starts anew.
  init(_ request: DirectRequest, now: Int) {
    self.init()
    self.request = request
    startNanoseconds = now
  }
}

/// The states of all slots.
final class RequestTable: Sendable {
  private let states: FixedTable<RequestState>

  init(slotCount: Int) { states = FixedTable(count: slotCount) { _ in RequestState() } }

  /// The state of a slot, where it lies.
  @inline(__always) subscript(slot: Slot) -> RequestState {
    unsafeAddress { unsafe UnsafePointer(states.pointer(to: slot.number)) }
    unsafeMutableAddress { unsafe states.pointer(to: slot.number) }
  }
}
