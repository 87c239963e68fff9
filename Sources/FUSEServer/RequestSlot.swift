// What the mount remembers of a request between its arrival and its answer.

import CFuse3
import DirectIO
import Memory

/// What a slot's request waits for.
enum SlotJob: UInt8 {
  /// Nothing: it is answered when its callback returns, or elsewhere.
  case none
  /// A READ's or WRITE's data.
  case data
  /// A flush of the device.
  case flush
  /// A pass-through transfer.
  case passThrough
  /// A change of a file's storage: fallocate or truncate.
  case storage
}

/// One slot's request. The worker that has the slot alone touches it.
@safe struct RequestSlot {
  var job = SlotJob.none
  var unique: RequestNumber = 0
  /// The thread that asked, or 0: what the kernel writes back comes from nobody.
  var thread: Int32 = 0
  /// The way by which the answer must leave.
  var route = AnswerRoute.none
  /// When the request arrived, on CLOCK_MONOTONIC.
  var arrivalNanoseconds = 0
  /// From arrival to the end of its I/O, or 0 where nobody has measured it.
  var latencyNanoseconds = 0
  /// Whether the mount's gate counts it as a change under way.
  var isChange = false
  /// Where the data starts after the payload's first byte.
  var dataOffset = 0
  /// The READ or WRITE, for `job` `.data`.
  var data = DataRequest()
  /// Bytes of it that are through, and those of the part under way.
  var doneBytes = 0
  var roundBytes = 0
  /// Whether the write was kept in flight on purpose already.
  var wasHeld = false
  /// Whether what is under way is the last that can be moved, though more was asked for.
  var endsShort = false
  /// The libfuse request that is answered when the job is through.
  var request: LibfuseRequest?
  /// The pass-through request under way, or nil.
  var passThrough: PassThroughCall?
  /// The change of storage under way, or nil.
  var storage: StorageJob?
}

/// The slots of a mount, one table for all workers: a slot is in the hands of one of them at a time.
final class SlotTable: Sendable {
  private let slots: FixedTable<RequestSlot>

  /// Makes blank slots.
  init(count: Int) { slots = FixedTable(count: count) { _ in RequestSlot() } }

  /// A slot's request, where it lies.
  subscript(slot: Slot) -> RequestSlot {
    @inline(__always) unsafeAddress { unsafe UnsafePointer(slots.pointer(to: slot.number)) }
    @inline(__always) unsafeMutableAddress { unsafe slots.pointer(to: slot.number) }
  }
}
