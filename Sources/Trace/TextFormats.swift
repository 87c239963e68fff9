// Text for people: one request a line, in the manner of an access log, or one event a line.

import Memory

/// One event a line.
public struct EventTextFormat: TraceFormat {
  /// A format without state.
  public init() {}
  /// What stands before everything.
  public mutating func begin(_ output: inout [UInt8]) {}
  /// An event.
  public mutating func add(
    _ event: TraceRecord, of request: TracedRequest?, to output: inout [UInt8]
  ) {
    EventLine.add(event, to: &output)
  }
  /// A request that has been answered.
  public mutating func add(_ request: TracedRequest, to output: inout [UInt8]) {}
  /// What stands behind everything.
  public mutating func end(_ output: inout [UInt8]) {}
}

/// One request a line: when, who, what, on which file, which pins, which bios, where on the image, how long.
public struct RequestTextFormat: TraceFormat {
  private let surroundings: any TraceSurroundings
  /// Bios that are named in a line; of more, their count says how many there are.
  private static var namedBios: Int { 4 }

  /// - Parameter surroundings: knows programs and paths.
  public init(_ surroundings: any TraceSurroundings) { self.surroundings = surroundings }

  /// What stands behind everything.
  public mutating func end(_ output: inout [UInt8]) {}

  /// What stands before everything.
  public mutating func begin(_ output: inout [UInt8]) {
    output.add(
      "# time program[pid] op file offset+length = result us | kind mode pages held_us | bios: op sector+bytes us\n"
    )
  }

  /// An event.
  public mutating func add(
    _ event: TraceRecord, of request: TracedRequest?, to output: inout [UInt8]
  ) {
    if request != nil { return }
    output.add("# ")
    EventLine.add(event, to: &output)
  }

  /// A request that has been answered.
  public mutating func add(_ request: TracedRequest, to output: inout [UInt8]) {
    output.add(seconds: request.arriveNanoseconds)
    output.append(UInt8(ascii: " "))
    output.add(text: surroundings.command(of: request.thread))
    output.append(UInt8(ascii: "["))
    output.add(Int(request.thread))
    output.add("] ")
    output.add(TraceNames.request(request.operation))
    output.append(UInt8(ascii: " "))
    output.add(text: surroundings.path(of: request.inode, thread: request.thread))
    if request.operation == 15 || request.operation == 16 {
      output.append(UInt8(ascii: " "))
      output.add(request.offset)
      output.append(UInt8(ascii: "+"))
      output.add(request.length)
    }
    output.add(" = ")
    output.add(request.error > 0 ? -request.error : request.doneBytes)
    output.append(UInt8(ascii: " "))
    output.add(microseconds: request.latencyNanoseconds)
    addPages(request, &output)
    addBios(request, &output)
    addRest(request, &output)
    output.append(UInt8(ascii: "\n"))
  }

  private func addPages(_ request: TracedRequest, _ output: inout [UInt8]) {
    if !request.hasPages { return }
    output.add(" | ")
    output.add(TraceNames.kind(request.kind))
    output.append(UInt8(ascii: " "))
    output.add(TraceNames.mode(request.mode))
    output.append(UInt8(ascii: " "))
    output.add(request.pages)
    output.append(UInt8(ascii: " "))
    output.add(microseconds: request.holdNanoseconds)
  }

  private func addBios(_ request: TracedRequest, _ output: inout [UInt8]) {
    if request.bioCount == 0 { return }
    output.add(" | ")
    output.add(request.bioCount)
    output.append(UInt8(ascii: ":"))
    for bio in request.bios.prefix(Self.namedBios) {
      output.append(UInt8(ascii: " "))
      output.add(TraceNames.bio(bio.operation))
      output.append(UInt8(ascii: " "))
      output.add(bio.sector)
      output.append(UInt8(ascii: "+"))
      output.add(bio.length)
      output.append(UInt8(ascii: " "))
      output.add(microseconds: bio.completeNanoseconds - bio.submitNanoseconds)
      if bio.flags.contains(.bounced) { output.add(" bounced") }
      if bio.error > 0 {
        output.add(" error=")
        output.add(bio.error)
      }
    }
    if request.bioCount > Self.namedBios { output.add(" …") }
  }

  private func addRest(_ request: TracedRequest, _ output: inout [UInt8]) {
    if request.parkedNanoseconds > 0 {
      output.add(" parked_us=")
      output.add(microseconds: request.parkedNanoseconds)
    }
    if request.heldNanoseconds > 0 {
      output.add(" frozen_us=")
      output.add(microseconds: request.heldNanoseconds)
    }
    for (flag, name) in EventLine.flagNames where request.flags.contains(flag) {
      output.append(UInt8(ascii: " "))
      output.add(name)
    }
    if request.unstableBytes > 0 {
      output.add(" UNSTABLE bytes=")
      output.add(request.unstableBytes)
    }
    if request.imbalance != 0 {
      output.add(" DEFECT pages=")
      output.add(request.imbalance)
    }
  }
}
