// Chrome's trace-event format, an array of JSON objects: what Perfetto and chrome://tracing open.

import Memory

/// A request is a slice on a track of its own, named by its number, and so are its pins and each of its bios, which may
/// overlap. Nestable asynchronous events (`b`, `e`), times in microseconds.
public struct ChromeFormat: TraceFormat {
  private let surroundings: any TraceSurroundings
  private var named: Set<Int32> = []
  private var isFirst = true

  /// - Parameter surroundings: knows programs and paths.
  public init(_ surroundings: any TraceSurroundings) { self.surroundings = surroundings }

  /// What stands before everything.
  public mutating func begin(_ output: inout [UInt8]) { output.add("[") }

  /// What stands behind everything.
  public mutating func end(_ output: inout [UInt8]) { output.add("\n]\n") }

  /// An event.
  public mutating func add(
    _ event: TraceRecord, of request: TracedRequest?, to output: inout [UInt8]
  ) {
    if request != nil || event.step == .start { return }
    open("i", event.timeNanoseconds, process: 0, thread: 0, &output)
    output.add(",\"s\":\"g\",\"cat\":\"mount\",\"name\":\"")
    output.add(TraceNames.step(event.step))
    output.add("\",\"args\":{\"events\":")
    output.add(event.length)
    output.add("}}")
  }

  /// A request that has been answered.
  public mutating func add(_ request: TracedRequest, to output: inout [UInt8]) {
    let process = surroundings.process(of: request.thread)
    name(process, &output)
    let end = max(request.replyNanoseconds, request.arriveNanoseconds)
    slice("b", request, process, track: "", at: request.arriveNanoseconds, &output)
    output.add(",\"name\":\"")
    output.add(TraceNames.request(request.operation))
    output.append(UInt8(ascii: "\""))
    addArguments(request, &output)
    output.append(UInt8(ascii: "}"))
    if request.hasPages {
      let taken = request.takenNanoseconds
      let released = max(taken, request.releasedNanoseconds)
      pair(request, process, track: ".pins", from: taken, to: released, &output) {
        $0.add(TraceNames.mode(request.mode))
        $0.append(UInt8(ascii: " "))
        $0.add(request.pages)
        $0.add(" pages")
      }
    }
    for (index, bio) in request.bios.enumerated() {
      let done = max(bio.completeNanoseconds, bio.submitNanoseconds)
      pair(
        request, process, track: ".\(index)", from: bio.submitNanoseconds, to: done, &output
      ) {
        $0.add("bio ")
        $0.add(TraceNames.bio(bio.operation))
        $0.add(" sector ")
        $0.add(bio.sector)
        $0.append(UInt8(ascii: "+"))
        $0.add(bio.length)
      }
    }
    slice("e", request, process, track: "", at: end, &output)
    output.add(",\"name\":\"")
    output.add(TraceNames.request(request.operation))
    output.add("\"}")
  }

  private func addArguments(_ request: TracedRequest, _ output: inout [UInt8]) {
    output.add(",\"args\":{\"file\":")
    output.add(quoted: surroundings.path(of: request.inode, thread: request.thread))
    output.add(",\"request\":")
    output.add(request.request)
    output.add(",\"offset\":")
    output.add(request.offset)
    output.add(",\"length\":")
    output.add(request.length)
    output.add(",\"error\":")
    output.add(request.error)
    output.add(",\"kind\":\"")
    output.add(TraceNames.kind(request.kind))
    output.add("\"}")
  }

  /// A slice within the request's.
  private mutating func pair(
    _ request: TracedRequest, _ process: Int32, track: String, from start: Int, to end: Int,
    _ output: inout [UInt8], _ name: (inout [UInt8]) -> Void
  ) {
    for (phase, time) in [("b", start), ("e", end)] as [(StaticString, Int)] {
      slice(phase, request, process, track: track, at: time, &output)
      output.add(",\"name\":\"")
      name(&output)
      output.add("\"}")
    }
  }

  private mutating func slice(
    _ phase: StaticString, _ request: TracedRequest, _ process: Int32, track: String,
    at time: Int,
    _ output: inout [UInt8]
  ) {
    open(phase, time, process: process, thread: request.thread, &output)
    output.add(",\"cat\":\"request\",\"id\":\"")
    output.add(request.request)
    output.add(text: track)
    output.append(UInt8(ascii: "\""))
  }

  private mutating func open(
    _ phase: StaticString, _ time: Int, process: Int32, thread: Int32, _ output: inout [UInt8]
  ) {
    output.add(isFirst ? "\n{\"ph\":\"" : ",\n{\"ph\":\"")
    isFirst = false
    output.add(phase)
    output.add("\",\"ts\":")
    output.add(microseconds: time)
    output.add(",\"pid\":")
    output.add(Int(process))
    output.add(",\"tid\":")
    output.add(Int(thread))
  }

  private mutating func name(_ process: Int32, _ output: inout [UInt8]) {
    if !named.insert(process).inserted { return }
    open("M", 0, process: process, thread: process, &output)
    output.add(",\"name\":\"process_name\",\"args\":{\"name\":")
    output.add(quoted: surroundings.command(of: process))
    output.add("}}")
  }
}
