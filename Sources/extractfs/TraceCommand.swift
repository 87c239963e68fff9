// `extractfs trace`: follows a mount's events, or reads them from a file that `extractfs record` has kept.

import ArgumentParser
import Glibc
import IOVector
import Memory
import Trace

/// What a trace is written as.
enum TraceStyle: String, ExpressibleByArgument, CaseIterable { case text, json, blktrace, chrome }

/// What stands in a line.
enum TraceUnit: String, ExpressibleByArgument, CaseIterable { case request, event }

struct TraceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trace",
    abstract: "Follow what becomes of every request: file, pins, bios, places on the image, times.",
    discussion: """
      Goes on until interrupted, until --seconds have passed, or until --count requests were shown. Events that came too \
      fast are missing; how many is said in their place.

      text is a line a request, json a line an event; --by has it the other way round. blktrace is the binary form that \
      blkparse, btt and iowatcher read (`extractfs trace --format blktrace DIR | blkparse -i -`); chrome opens in Perfetto.
      """)

  @Argument(help: "The mounted directory.", completion: .directory)
  var mountpoint: SystemPath

  @Option(help: "text, json, blktrace or chrome.")
  var format = TraceStyle.text

  @Option(help: "A line a request, or a line an event.")
  var by: TraceUnit?

  @OptionGroup var selection: TraceSelection

  @Option(help: ArgumentHelp("Stop after so many seconds.", valueName: "seconds"))
  var seconds: Double?

  @Option(help: ArgumentHelp("Stop after so many requests.", valueName: "n"))
  var count: Int?

  @Option(help: "Write there instead of to standard output.", completion: .file())
  var output: SystemPath?

  func validate() throws {
    if let seconds, !(seconds > 0 && seconds <= 1e6) {
      throw ValidationError("--seconds: must be a number above 0")
    }
    if let count, count < 1 { throw ValidationError("--count: must be at least 1") }
    if by != nil && (format == .blktrace || format == .chrome) {
      throw ValidationError("--by: is for text and json")
    }
  }

  func run() throws {
    let mount = try MountedControl(mountpoint)
    let names = ClientNames(mount.mountpoint)
    let filter = try selection.filter(on: mount, names)
    let byEvent = (by ?? (format == .json ? .event : .request)) == .event
    switch (format, byEvent) {
    case (.text, true): try follow(mount, EventTextFormat(), filter, wantsEvents: true)
    case (.text, false): try follow(mount, RequestTextFormat(names), filter, wantsEvents: false)
    case (.json, true): try follow(mount, EventJSONFormat(), filter, wantsEvents: true)
    case (.json, false): try follow(mount, RequestJSONFormat(names), filter, wantsEvents: false)
    case (.blktrace, _):
      let parts = mount.entry.device.split(separator: ":").compactMap { UInt32($0) }
      let style = BlktraceFormat(names, major: parts.first ?? 0, minor: parts.last ?? 0)
      try follow(mount, style, filter, wantsEvents: true)
    case (.chrome, _): try follow(mount, ChromeFormat(names), filter, wantsEvents: false)
    }
  }

  private func follow<Format: TraceFormat>(
    _ mount: MountedControl, _ format: Format, _ filter: TraceFilter, wantsEvents: Bool
  ) throws {
    var pipeline = TracePipeline(format, filter: filter, wantsEvents: wantsEvents)
    let sink = try TraceSink(output)
    Interruption.await()
    let source = try TraceSource(mount)
    let deadline = seconds.map { Deadline(seconds: $0) }
    let limit = count ?? .max
    // What is written first says that the stream is open.
    var bytes: [UInt8] = []
    pipeline.begin(&bytes)
    sink.write(&bytes)
    while !Interruption.hasCome && pipeline.requestCount < limit {
      let left = deadline?.remainingMilliseconds ?? 1000
      if left == 0 { break }
      let arrival = try source.take(waiting: min(left, 1000)) {
        if pipeline.requestCount < limit { pipeline.add($0, to: &bytes) }
      }
      sink.write(&bytes)
      if arrival == .ended { break }
    }
    pipeline.end(&bytes)
    sink.write(&bytes)
  }
}

/// Where a trace goes.
struct TraceSink {
  private let descriptor: Int32?

  /// Opens a file, or takes standard output.
  init(_ path: SystemPath?) throws {
    guard let path else {
      descriptor = nil
      return
    }
    let opened = path.open(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
    if opened < 0 { throw failure("\(path.shown): \(describe(errno))") }
    descriptor = opened
  }

  /// Writes bytes, and makes them none.
  func write(_ bytes: inout [UInt8]) {
    if bytes.isEmpty { return }
    Results.write(bytes, to: descriptor)
    bytes.removeAll(keepingCapacity: true)
  }
}

/// Which requests are wanted.
struct TraceSelection: ParsableArguments {
  @Option(
    help: ArgumentHelp("Requests of this process or thread; may be repeated.", valueName: "pid"))
  var pid: [Int32] = []

  @Option(help: ArgumentHelp("Requests on this inode; may be repeated.", valueName: "number"))
  var inode: [UInt64] = []

  @Option(help: "Requests on this file; may be repeated.", completion: .file())
  var path: [SystemPath] = []

  @Option(
    help: ArgumentHelp(
      "Requests of this operation, as read, write, fsync; may be repeated.", valueName: "name"))
  var op: [String] = []

  @Option(
    help: ArgumentHelp(
      "Requests with an iterator of this kind; may be repeated.", valueName: "kind"))
  var kind: [String] = []

  @Option(help: ArgumentHelp("Requests that took at least so long.", valueName: "microseconds"))
  var minLatency: Double?

  /// The filter that this asks for.
  /// - Throws: the error that ends the command, after a line that says why.
  func filter(on mount: MountedControl, _ names: ClientNames) throws -> TraceFilter {
    var filter = TraceFilter()
    filter.processes = Set(pid)
    filter.inodes = Set(inode)
    for file in path { filter.inodes.insert(try number(of: file, on: mount)) }
    for name in op {
      guard let number = TraceNames.requestNumber(name) else {
        let known = TraceNames.filterable.joined(separator: ", ")
        throw failure("--op \(name): use one of \(known)", code: Exit.usage)
      }
      filter.operations.insert(number)
    }
    for name in kind {
      guard let place = countedKindNames.firstIndex(of: name) else {
        let known = countedKindNames.joined(separator: ", ")
        throw failure("--kind \(name): use one of \(known)", code: Exit.usage)
      }
      filter.kinds.insert(place)
    }
    if let minLatency {
      if !(minLatency >= 0 && minLatency <= 1e12) {
        throw failure("--min-latency: must be a number of microseconds", code: Exit.usage)
      }
      filter.leastLatencyNanoseconds = Int(minLatency * 1000)
    }
    filter.belongs = { [names = Unchecked(names)] thread, process in
      thread == process || names.value.process(of: thread) == process
    }
    return filter
  }

  /// The inode of a file on the mount.
  private func number(of file: SystemPath, on mount: MountedControl) throws -> UInt64 {
    let answer = attempt(until: Deadline(seconds: Patience.path)) { output in
      var found = stat()
      if unsafe file.withCString({ unsafe stat($0, &found) }) != 0 { return errno }
      let text = Array("\(found.st_ino)".utf8)
      return unsafe write(output, text, text.count) == text.count ? 0 : EIO
    }
    guard let answer else { throw failure("\(file.shown): does not answer") }
    if answer.error != 0 { throw failure("\(file.shown): \(describe(answer.error))") }
    guard let number = UInt64(String(decoding: answer.output, as: UTF8.self)) else {
      throw failure("\(file.shown): has no inode")
    }
    return number
  }
}

/// A value that stays on the thread that made it.
struct Unchecked<Value>: @unchecked Sendable {
  // Guard of the unchecked Sendable: commands have one thread.
  let value: Value
  init(_ value: Value) { self.value = value }
}
