// What the server notes of requests in the event rings while somebody reads them.

import DirectIO
import Glibc
import Memory
import Volumes

extension Worker {
  /// A READ or WRITE has come, or goes on after a thaw.
  func noteArrival(_ message: IncomingMessage, _ request: DataRequest) {
    var record = arrival(message)
    record.offset = request.offset
    record.length = request.length
    var flags: TraceFlags = []
    if request.isDurable { flags.insert(.durable) }
    if request.isDirect { flags.insert(.direct) }
    if request.isWriteback { flags.insert(.writeback) }
    record.flags = flags
    trace.note(record)
  }

  /// A request that libfuse serves has come, or goes on after a thaw. Its answer leaves by `Server.send`.
  func noteArrival(_ message: IncomingMessage) {
    let record = arrival(message)
    trace.note(record)
    // FORGET and BATCH_FORGET have no answer.
    if message.opcode != 2 && message.opcode != 42 { server.unanswered.add(record) }
  }

  private func arrival(_ message: IncomingMessage) -> TraceRecord {
    var record = TraceRecord(
      isThawing ? .thaw : .arrive, at: monotonicNanoseconds(), request: message.unique,
      inode: message.inode)
    let caller = message.caller
    record.thread = caller.process
    record.user = caller.user
    record.operation = UInt8(truncatingIfNeeded: message.opcode)
    return record
  }

  /// A request has to wait for a thaw.
  func noteHeld(_ message: IncomingMessage) {
    trace.note(
      TraceRecord(
        .hold, at: monotonicNanoseconds(), request: message.unique, inode: message.inode))
  }

  /// A READ's or WRITE's answer leaves.
  func noteReply(_ slot: Slot, error: Errno?, latencyNanoseconds: Int) {
    let request = slots[slot].data
    var record = TraceRecord(
      .reply, at: monotonicNanoseconds(), request: request.unique, inode: request.inode,
      offset: request.offset, length: slots[slot].doneBytes)
    record.operation = UInt8(request.isWrite ? Opcode.write : Opcode.read)
    record.latencyNanoseconds = latencyNanoseconds
    record.error = Int(error?.rawValue ?? 0)
    trace.note(record)
  }
}

extension Server {
  /// Notes something that concerns the whole mount.
  func note(_ step: TraceStep) {
    if traces.isOn { traces.note(TraceRecord(step, at: monotonicNanoseconds())) }
  }

  /// Notes the answer to a request whose arrival was noted, and that libfuse has served.
  func noteReply(unique: UInt64, error: Int32) {
    guard let arrival = unanswered.remove(unique) else { return }
    let now = monotonicNanoseconds()
    var record = TraceRecord(.reply, at: now, request: unique, inode: arrival.inode)
    record.operation = arrival.operation
    record.latencyNanoseconds = now - arrival.timeNanoseconds
    record.error = Int(-error)
    traces.note(record)
  }
}

/// Requests of libfuse's that were noted and have no answer yet; as many as the kernel sends at once, and no more.
final class UnansweredRequests: Sendable {
  private let arrivals = Guarded<[UInt64: TraceRecord]>([:])
  private static let limit = 4096

  func add(_ record: TraceRecord) {
    arrivals.withLock { if $0.count < Self.limit { $0[record.request] = record } }
  }

  func remove(_ unique: UInt64) -> TraceRecord? {
    arrivals.withLock { $0.removeValue(forKey: unique) }
  }
}
