// What passes the filters, and how requests are put together from events.

import Memory
import Testing

@testable import Trace

/// Writes down what it was given.
private struct Recorder: TraceFormat {
  final class Log {
    var events: [(step: TraceStep, request: UInt64)] = []
    var requests: [TracedRequest] = []
  }
  let log = Log()
  mutating func begin(_ output: inout [UInt8]) {}
  mutating func end(_ output: inout [UInt8]) {}
  mutating func add(_ event: TraceRecord, of request: TracedRequest?, to output: inout [UInt8]) {
    log.events.append((event.step, event.request))
  }
  mutating func add(_ request: TracedRequest, to output: inout [UInt8]) {
    log.requests.append(request)
  }
}

@Suite("A trace's filters")
struct PipelineTests {
  /// A request of one bio, event by event.
  private func events(
    _ number: UInt64, thread: Int32, inode: UInt64, operation: UInt8, kind: Int, latency: Int
  ) -> [TraceRecord] {
    let start = Int(number) * 1000
    func event(_ step: TraceStep, _ delay: Int) -> TraceRecord {
      var record = TraceRecord(step, at: start + delay, request: number, inode: inode, length: 4096)
      record.kind = kind
      record.mode = kind <= 1 ? .pin : []
      return record
    }
    var arrive = event(.arrive, 0)
    arrive.thread = thread
    arrive.user = 7
    arrive.operation = operation
    var extract = event(.extract, 1)
    extract.pages = 1
    var release = event(.release, latency - 1)
    release.pages = 1
    var reply = event(.reply, latency)
    reply.latencyNanoseconds = latency
    return [
      arrive, extract, event(.build, 2), event(.submit, 2), event(.complete, latency - 1), release,
      reply,
    ]
  }

  /// Two requests whose events mix.
  private var mixed: [TraceRecord] {
    let one = events(2, thread: 100, inode: 5, operation: 15, kind: 0, latency: 500)
    let two = events(4, thread: 200, inode: 6, operation: 16, kind: 3, latency: 9000)
    return zip(one, two).flatMap { [$0, $1] }
  }

  private func run(_ filter: TraceFilter, _ records: [TraceRecord]? = nil) -> Recorder.Log {
    let recorder = Recorder()
    var pipeline = TracePipeline(recorder, filter: filter, wantsEvents: true)
    var output: [UInt8] = []
    for record in records ?? mixed { pipeline.add(record, to: &output) }
    return recorder.log
  }

  @Test("let everything pass when there are none")
  func none() {
    let log = run(TraceFilter())
    #expect(log.events.count == 14 && log.requests.map(\.request) == [2, 4])
    #expect(log.requests[0].pages == 1 && log.requests[0].releasedPages == 1)
    #expect(log.requests[0].holdNanoseconds == 498 && log.requests[0].user == 7)
    #expect(log.requests[1].bios.count == 1)
    #expect(
      log.requests[1].bios[0].completeNanoseconds - log.requests[1].bios[0].submitNanoseconds
        == 8997)
  }

  @Test("keep to the thread, the file, the operation, the kind and the latency")
  func each() {
    var filters = [TraceFilter](repeating: TraceFilter(), count: 5)
    filters[0].processes = [200]
    filters[1].inodes = [6]
    filters[2].operations = [16]
    filters[3].kinds = [3]
    filters[4].leastLatencyNanoseconds = 1000
    for filter in filters {
      let log = run(filter)
      #expect(log.requests.map(\.request) == [4])
      #expect(log.events.map(\.request) == [4, 4, 4, 4, 4, 4, 4])
      #expect(log.events.first?.step == .arrive && log.events.last?.step == .reply)
    }
  }

  @Test("find a thread by its process")
  func processes() {
    var filter = TraceFilter()
    filter.processes = [1]
    filter.belongs = { thread, process in process == 1 && thread == 100 }
    #expect(run(filter).requests.map(\.request) == [2])
  }

  @Test("hold back no loss and nothing that is of no request")
  func losses() {
    var filter = TraceFilter()
    filter.inodes = [99]
    let lost = TraceRecord(.lost, at: 1, length: 3)
    #expect(run(filter, [lost] + mixed).events.map(\.step) == [.lost])
  }

  @Test("leave out what began before the trace, unless all is wanted")
  func halves() {
    let tail = Array(
      events(2, thread: 100, inode: 5, operation: 15, kind: 0, latency: 500).dropFirst(3))
    #expect(run(TraceFilter(), tail).events.count == 4 && run(TraceFilter(), tail).requests.isEmpty)
    var filter = TraceFilter()
    filter.processes = [100]
    #expect(run(filter, tail).events.isEmpty)
  }
}
