// blktrace's binary: what blkparse, btt and iowatcher read. Layout and numbers of include/uapi/linux/blktrace_api.h,
// Linux 6.6.

import Memory

/// The model's bios as a block device's events: Q, G and I when a bio is made, D when it is handed on, X for a split,
/// C when it is through; a message for what was lost; a name for each process.
public struct BlktraceFormat: TraceFormat {
  private let surroundings: any TraceSurroundings
  private let device: UInt32
  private var sequences: [UInt32] = []
  private var named: Set<Int32> = []

  /// `BLK_TA_…` and `BLK_TN_…`, the low halves of an action.
  private enum Action {
    static let queue: UInt32 = 1
    static let request: UInt32 = 4
    static let issue: UInt32 = 7
    static let complete: UInt32 = 8
    static let insert: UInt32 = 12
    static let split: UInt32 = 13
    static let process: UInt32 = 0
    static let timestamp: UInt32 = 1
    static let message: UInt32 = 2
  }

  /// `BLK_TC_…`, the high half.
  private enum Category {
    static let read: UInt32 = 1 << 0
    static let write: UInt32 = 1 << 1
    static let flush: UInt32 = 1 << 2
    static let sync: UInt32 = 1 << 3
    static let queue: UInt32 = 1 << 4
    static let issue: UInt32 = 1 << 6
    static let complete: UInt32 = 1 << 7
    static let passThrough: UInt32 = 1 << 9
    static let notify: UInt32 = 1 << 10
    static let discard: UInt32 = 1 << 13
    static let fua: UInt32 = 1 << 15
  }

  /// - Parameters:
  ///   - surroundings: knows programs.
  ///   - major: of the device's number that events are to have.
  ///   - minor: of the same.
  public init(_ surroundings: any TraceSurroundings, major: UInt32, minor: UInt32) {
    self.surroundings = surroundings
    device = major << 20 | minor & 0xf_ffff
  }

  /// What stands before everything.
  public mutating func begin(_ output: inout [UInt8]) {}
  /// What stands behind everything.
  public mutating func end(_ output: inout [UInt8]) {}
  /// A request that has been answered.
  public mutating func add(_ request: TracedRequest, to output: inout [UInt8]) {}

  /// An event.
  public mutating func add(
    _ event: TraceRecord, of request: TracedRequest?, to output: inout [UInt8]
  ) {
    let thread = request?.thread ?? 0
    switch event.step {
    case .start: addStart(event, &output)
    case .lost:
      let text = "extractfs: lost \(event.length) events"
      put(
        event, Action.message, Category.notify, pid: 0, bytes: 0, Array(text.utf8), &output)
    case .build:
      name(thread, event, &output)
      let category = category(event)
      put(event, Action.queue, category | Category.queue, pid: thread, &output)
      put(event, Action.request, category, pid: thread, &output)
      put(event, Action.insert, category | Category.queue, pid: thread, &output)
    case .submit:
      put(event, Action.issue, category(event) | Category.issue, pid: thread, &output)
    case .split:
      put(
        event, Action.split, category(event), pid: thread, bytes: UInt32(event.length),
        bigEndian(event.sector), &output)
    case .complete:
      put(event, Action.complete, category(event) | Category.complete, pid: thread, &output)
    default: break
    }
  }

  /// Read or write, and what else the operation and the flags say.
  private func category(_ event: TraceRecord) -> UInt32 {
    var category: UInt32 =
      switch event.operation {
      case 0: Category.read
      case 2: Category.flush | Category.write
      case 3: Category.discard | Category.write
      case 34: Category.read | Category.passThrough
      case 35: Category.write | Category.passThrough
      default: Category.write
      }
    if event.flags.contains(.durable) { category |= Category.fua }
    if event.operation == 0 { category |= Category.sync }
    return category
  }

  /// The wall clock of the first moment.
  private mutating func addStart(_ event: TraceRecord, _ output: inout [UInt8]) {
    var payload: [UInt8] = []
    little(UInt32(truncatingIfNeeded: event.request / 1_000_000_000), &payload)
    little(UInt32(truncatingIfNeeded: event.request % 1_000_000_000), &payload)
    put(event, Action.timestamp, Category.notify, pid: 0, bytes: 0, payload, &output)
  }

  /// Tells a thread's name, once.
  private mutating func name(_ thread: Int32, _ event: TraceRecord, _ output: inout [UInt8]) {
    if thread == 0 || !named.insert(thread).inserted { return }
    var payload = Array(surroundings.command(of: thread).utf8.prefix(15))
    payload.append(0)
    put(event, Action.process, Category.notify, pid: thread, bytes: 0, payload, &output)
  }

  private mutating func put(
    _ event: TraceRecord, _ action: UInt32, _ category: UInt32, pid: Int32,
    _ output: inout [UInt8]
  ) {
    put(event, action, category, pid: pid, bytes: UInt32(event.length), [], &output)
  }

  /// `struct blk_io_trace`, and what belongs to it.
  private mutating func put(
    _ event: TraceRecord, _ action: UInt32, _ category: UInt32, pid: Int32, bytes: UInt32,
    _ payload: [UInt8], _ output: inout [UInt8]
  ) {
    while sequences.count <= event.worker { sequences.append(0) }
    let isNotice = category == Category.notify
    // Notices stand outside the count, as `trace_note()` of kernel/trace/blktrace.c has it.
    if !isNotice { sequences[event.worker] += 1 }
    // `BLK_IO_TRACE_MAGIC`, `BLK_IO_TRACE_VERSION`.
    little(0x6561_7400 | 0x07 as UInt32, &output)
    little(isNotice ? 0 : sequences[event.worker], &output)
    little(UInt64(event.timeNanoseconds), &output)
    little(isNotice ? 0 : event.sector, &output)
    little(bytes, &output)
    little(action | category << 16, &output)
    little(UInt32(bitPattern: pid), &output)
    little(isNotice && action != Action.message ? 0 : device, &output)
    little(UInt32(event.worker), &output)
    little(UInt16(isNotice ? 0 : event.error), &output)
    little(UInt16(payload.count), &output)
    output.append(contentsOf: payload)
  }

  private func little<Number: FixedWidthInteger>(_ number: Number, _ output: inout [UInt8]) {
    var rest = number
    for _ in 0..<Number.bitWidth / 8 {
      output.append(UInt8(truncatingIfNeeded: rest))
      rest >>= 8
    }
  }

  private func bigEndian(_ number: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: number >> (56 - 8 * $0)) }
  }
}
