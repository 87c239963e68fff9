// JSON Lines: an object a line, of an event or of a request.

import Memory

/// One event a line.
public struct EventJSONFormat: TraceFormat {
  /// A format without state.
  public init() {}
  /// What stands before everything.
  public mutating func begin(_ output: inout [UInt8]) {}
  /// A request that has been answered.
  public mutating func add(_ request: TracedRequest, to output: inout [UInt8]) {}
  /// What stands behind everything.
  public mutating func end(_ output: inout [UInt8]) {}

  /// An event.
  public mutating func add(
    _ event: TraceRecord, of request: TracedRequest?, to output: inout [UInt8]
  ) {
    output.add("{\"time_ns\":")
    output.add(event.timeNanoseconds)
    output.add(",\"worker\":")
    output.add(event.worker)
    output.add(",\"step\":\"")
    output.add(TraceNames.step(event.step))
    output.append(UInt8(ascii: "\""))
    switch event.step {
    case .start: addStart(event, &output)
    case .lost:
      output.add(",\"events\":")
      output.add(event.length)
    case .flush, .freeze: break
    default: addDetails(event, request, &output)
    }
    output.add("}\n")
  }

  private func addStart(_ event: TraceRecord, _ output: inout [UInt8]) {
    output.add(",\"version\":")
    output.add(event.inode)
    output.add(",\"wall_clock_ns\":")
    output.add(event.request)
    output.add(",\"image_bytes\":")
    output.add(event.offset)
    output.add(",\"block_bytes\":")
    output.add(event.length)
  }

  private func addDetails(
    _ event: TraceRecord, _ request: TracedRequest?, _ output: inout [UInt8]
  ) {
    output.add(",\"request\":")
    output.add(event.request)
    output.add(",\"inode\":")
    output.add(event.inode)
    output.add(",\"offset\":")
    output.add(event.offset)
    output.add(",\"length\":")
    output.add(event.length)
    let step = event.step
    if step.isOfBio {
      output.add(",\"op\":\"")
      output.add(TraceNames.bio(event.operation))
      output.add("\",\"bio\":")
      output.add(event.bio)
      output.add(",\"sector\":")
      output.add(event.sector)
    } else if let request {
      output.add(",\"op\":\"")
      output.add(TraceNames.request(request.operation))
      output.append(UInt8(ascii: "\""))
    }
    if step == .extract || step == .release {
      output.add(",\"kind\":\"")
      output.add(TraceNames.kind(event.kind))
      output.add("\",\"mode\":\"")
      output.add(TraceNames.mode(event.mode))
      output.append(UInt8(ascii: "\""))
    }
    if event.pages > 0 {
      output.add(",\"pages\":")
      output.add(event.pages)
    }
    if let request {
      output.add(",\"pid\":")
      output.add(Int(request.thread))
      output.add(",\"uid\":")
      output.add(Int(request.user))
    }
    if step.hasLatency {
      output.add(",\"latency_ns\":")
      output.add(event.latencyNanoseconds)
      output.add(",\"error\":")
      output.add(event.error)
    }
    addFlags(event.flags, &output)
  }
}

/// One request a line, with its bios.
public struct RequestJSONFormat: TraceFormat {
  private let surroundings: any TraceSurroundings

  /// - Parameter surroundings: knows programs and paths.
  public init(_ surroundings: any TraceSurroundings) { self.surroundings = surroundings }
  /// What stands before everything.
  public mutating func begin(_ output: inout [UInt8]) {}
  /// What stands behind everything.
  public mutating func end(_ output: inout [UInt8]) {}

  /// An event.
  public mutating func add(
    _ event: TraceRecord, of request: TracedRequest?, to output: inout [UInt8]
  ) {
    if request != nil { return }
    var events = EventJSONFormat()
    events.add(event, of: nil, to: &output)
  }

  /// A request that has been answered.
  public mutating func add(_ request: TracedRequest, to output: inout [UInt8]) {
    output.add("{\"step\":\"request\",\"request\":")
    output.add(request.request)
    output.add(",\"op\":\"")
    output.add(TraceNames.request(request.operation))
    output.add("\",\"command\":")
    output.add(quoted: surroundings.command(of: request.thread))
    output.add(",\"path\":")
    output.add(quoted: surroundings.path(of: request.inode, thread: request.thread))
    field(",\"time_ns\":", request.arriveNanoseconds, &output)
    field(",\"latency_ns\":", request.latencyNanoseconds, &output)
    field(",\"error\":", request.error, &output)
    field(",\"pid\":", Int(request.thread), &output)
    field(",\"uid\":", Int(request.user), &output)
    field(",\"inode\":", Int(request.inode), &output)
    field(",\"offset\":", request.offset, &output)
    field(",\"length\":", request.length, &output)
    field(",\"done_bytes\":", request.doneBytes, &output)
    output.add(",\"kind\":\"")
    output.add(TraceNames.kind(request.kind))
    output.add("\",\"mode\":\"")
    output.add(TraceNames.mode(request.mode))
    output.append(UInt8(ascii: "\""))
    field(",\"pages\":", request.pages, &output)
    field(",\"released_pages\":", request.releasedPages, &output)
    field(",\"held_ns\":", request.holdNanoseconds, &output)
    field(",\"parked_ns\":", request.parkedNanoseconds, &output)
    field(",\"frozen_ns\":", request.heldNanoseconds, &output)
    field(",\"merges\":", request.merges, &output)
    field(",\"splits\":", request.splits, &output)
    field(",\"unstable_bytes\":", request.unstableBytes, &output)
    addFlags(request.flags, &output)
    addBios(request, &output)
    output.add("}\n")
  }

  private func field(_ name: StaticString, _ value: Int, _ output: inout [UInt8]) {
    output.add(name)
    output.add(value)
  }

  private func addBios(_ request: TracedRequest, _ output: inout [UInt8]) {
    field(",\"bio_count\":", request.bioCount, &output)
    output.add(",\"bios\":[")
    for (index, bio) in request.bios.enumerated() {
      output.add(index > 0 ? ",{\"op\":\"" : "{\"op\":\"")
      output.add(TraceNames.bio(bio.operation))
      output.append(UInt8(ascii: "\""))
      field(",\"sector\":", Int(bio.sector), &output)
      field(",\"length\":", bio.length, &output)
      field(",\"segments\":", bio.segments, &output)
      field(",\"submit_ns\":", bio.submitNanoseconds, &output)
      field(",\"complete_ns\":", bio.completeNanoseconds, &output)
      field(",\"error\":", bio.error, &output)
      addFlags(bio.flags, &output)
      output.append(UInt8(ascii: "}"))
    }
    output.append(UInt8(ascii: "]"))
  }
}

/// Adds flags as a list of names, if there are any.
private func addFlags(_ flags: TraceFlags, _ output: inout [UInt8]) {
  if flags.rawValue == 0 { return }
  output.add(",\"flags\":[")
  var isFirst = true
  for (flag, name) in EventLine.flagNames where flags.contains(flag) {
    output.add(isFirst ? "\"" : ",\"")
    output.add(name)
    output.append(UInt8(ascii: "\""))
    isFirst = false
  }
  output.append(UInt8(ascii: "]"))
}
