// What a format is, and how events get to it: joined to requests, and filtered.

import Memory

/// A way to write a trace down.
public protocol TraceFormat {
  /// What stands before everything.
  mutating func begin(_ output: inout [UInt8])
  /// An event, with what is known of its request: the arrival and all that came before.
  mutating func add(_ event: TraceRecord, of request: TracedRequest?, to output: inout [UInt8])
  /// A request that has been answered.
  mutating func add(_ request: TracedRequest, to output: inout [UInt8])
  /// What stands behind everything.
  mutating func end(_ output: inout [UInt8])
}

/// Facts about a mount and its clients that no event has.
public protocol TraceSurroundings: AnyObject {
  /// The name of a program, by a thread's number.
  func command(of thread: Int32) -> String
  /// The process that a thread belongs to.
  func process(of thread: Int32) -> Int32
  /// A path for an inode as that thread has it open, or something that stands for it.
  func path(of inode: UInt64, thread: Int32) -> String
}

/// Takes events in, and gives a format what passes the filter.
public struct TracePipeline<Format: TraceFormat> {
  private var format: Format
  private let filter: TraceFilter
  /// Whether the format wants events, or requests only.
  private let wantsEvents: Bool
  private var assembler = RequestAssembler()
  /// Events of requests of which only the answer tells whether they pass.
  private var kept: [UInt64: [TraceRecord]] = [:]
  /// Requests and events that were given to the format.
  public private(set) var requestCount = 0
  /// See `requestCount`.
  public private(set) var eventCount = 0
  /// Events that the stream has lost.
  public private(set) var lostCount = 0

  /// Events that are kept of one request.
  private static var keptLimit: Int { 1024 }

  /// Puts the parts together.
  public init(_ format: Format, filter: TraceFilter, wantsEvents: Bool) {
    self.format = format
    self.filter = filter
    self.wantsEvents = wantsEvents
  }

  /// What stands before everything.
  public mutating func begin(_ output: inout [UInt8]) { format.begin(&output) }

  /// What stands behind everything.
  public mutating func end(_ output: inout [UInt8]) { format.end(&output) }

  /// Takes an event in.
  public mutating func add(_ record: TraceRecord, to output: inout [UInt8]) {
    if record.step == .lost { lostCount += record.length }
    if !record.step.isOfRequest || record.request == 0 {
      eventCount += 1
      return format.add(record, of: nil, to: &output)
    }
    let answered = assembler.add(record)
    if filter.needsEnd {
      keep(record, answered, &output)
    } else if let request = answered {
      if filter.passesArrival(request) { give(record, request, &output) }
    } else if wantsEvents {
      let request = assembler[record.request]
      if request.map({ filter.passesArrival($0) }) ?? filter.passesAll {
        eventCount += 1
        format.add(record, of: request, to: &output)
      }
    }
    if let request = answered, filter.passes(request) {
      requestCount += 1
      format.add(request, to: &output)
    }
  }

  private mutating func give(
    _ record: TraceRecord, _ request: TracedRequest, _ output: inout [UInt8]
  ) {
    if !wantsEvents { return }
    eventCount += 1
    format.add(record, of: request, to: &output)
  }

  private mutating func keep(
    _ record: TraceRecord, _ answered: TracedRequest?, _ output: inout [UInt8]
  ) {
    if !wantsEvents { return }
    guard let request = answered else {
      if kept.count > RequestAssembler.limit { kept.removeAll() }
      kept[record.request, default: []].append(record)
      if kept[record.request, default: []].count > Self.keptLimit {
        kept[record.request]?.removeFirst()
      }
      return
    }
    let records = kept.removeValue(forKey: record.request) ?? []
    if !filter.passes(request) { return }
    for earlier in records { give(earlier, request, &output) }
    give(record, request, &output)
  }
}
