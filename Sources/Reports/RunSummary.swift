// One run in figures: what a report shows, gathered request after request.

import Memory
import Trace

/// Values in buckets of a quarter of a power of two.
public struct ValueBuckets: Sendable {
  /// How many values fell into each.
  private var counts = [Int](repeating: 0, count: 4 * Int.bitWidth)
  /// All values.
  public private(set) var count = 0
  /// The largest.
  public private(set) var maximum = 0

  /// Exact below 4, then four buckets for each power of two, each with its lower bound.
  private static func bucket(of value: Int) -> Int {
    if value < 4 { return max(value, 0) }
    let exponent = Int.bitWidth - 1 - value.leadingZeroBitCount
    return 4 * exponent - 4 + (value >> (exponent - 2)) & 3
  }

  private static func lowerBound(ofBucket bucket: Int) -> Int {
    bucket < 4 ? bucket : (4 + bucket % 4) << (bucket / 4 - 1)
  }

  /// Adds a value.
  public mutating func add(_ value: Int) {
    counts[Self.bucket(of: value)] += 1
    count += 1
    maximum = max(maximum, value)
  }

  /// The lower bound of the bucket in which so many of a thousand values, and those below, end; 0 without values.
  public func quantile(perThousand: Int) -> Int {
    if count == 0 { return 0 }
    let wanted = max(1, (count * perThousand + 999) / 1000)
    var sum = 0
    for (bucket, samples) in counts.enumerated() {
      sum += samples
      if sum >= wanted { return Self.lowerBound(ofBucket: bucket) }
    }
    return maximum
  }

  /// The values by powers of two: lower bound and count, without empty ends.
  public var byPowerOfTwo: [(lower: Int, count: Int)] {
    var sums: [Int: Int] = [:]
    for (bucket, samples) in counts.enumerated() where samples > 0 {
      let lower = Self.lowerBound(ofBucket: bucket)
      sums[lower < 1 ? 0 : 1 << (Int.bitWidth - 1 - lower.leadingZeroBitCount), default: 0] +=
        samples
    }
    guard let first = sums.keys.min(), let last = sums.keys.max() else { return [] }
    var bounds: [Int] = []
    var bound = first
    while bound <= last {
      bounds.append(bound)
      bound = bound == 0 ? 1 : bound * 2
    }
    return bounds.map { ($0, sums[$0] ?? 0) }
  }
}

/// What one operation did.
public struct OperationSummary: Sendable {
  /// Requests, bytes that were moved, errors.
  public var count = 0
  /// See `count`.
  public var bytes = 0
  /// See `count`.
  public var errors = 0
  /// Nanoseconds from arrival to answer.
  public var latency = ValueBuckets()
}

/// A moment's share of a run.
public struct Moment: Sendable {
  /// Bytes read and written in it.
  public var bytesRead = 0
  /// See `bytesRead`.
  public var bytesWritten = 0
  /// Requests that were answered in it.
  public var requests = 0
  /// The most pages that were held at once in it.
  public var pages = 0
}

/// A run's figures.
public struct RunSummary: Sendable {
  /// Nanoseconds of one moment. Doubled whenever a run grows longer than `mostMoments` of them.
  public private(set) var momentNanoseconds = 1_000_000
  /// The run, moment by moment.
  public private(set) var moments: [Moment] = []
  /// By the name of the operation.
  public private(set) var operations: [String: OperationSummary] = [:]
  /// Nanoseconds that pages were held.
  public private(set) var holds = ValueBuckets()
  /// Bytes of requests, of bios, and what request offsets and lengths are multiples of.
  public private(set) var requestBytes = ValueBuckets()
  /// See `requestBytes`.
  public private(set) var bioBytes = ValueBuckets()
  /// See `requestBytes`.
  public private(set) var alignmentBytes = ValueBuckets()
  /// Nanoseconds from arrival to the first bio's submission.
  public private(set) var queueing = ValueBuckets()
  /// Requests by iterator kind and mode, and pages.
  public private(set) var modes: [String: (requests: Int, pages: Int)] = [:]
  /// The slowest reads and writes, slowest first.
  public private(set) var slowest: [TracedRequest] = []
  /// What went wrong, a line each; the first of them.
  public private(set) var defects: [String] = []
  /// All that went wrong.
  public private(set) var defectCount = 0
  /// Events that were lost.
  public private(set) var lostEvents = 0
  /// Events.
  public private(set) var eventCount = 0
  /// Requests that ended.
  public private(set) var requestCount = 0
  /// When the run began, on the wall clock, in nanoseconds since 1970; 0 if unknown.
  public private(set) var startedNanoseconds: UInt64 = 0

  private var first = 0
  private var last = 0
  private var heldPages = 0
  private var assembler = RequestAssembler()

  private static let mostMoments = 240
  private static let mostSlow = 20
  private static let mostDefects = 50

  /// Starts with nothing.
  public init() {}

  /// Nanoseconds from the first event to the last.
  public var durationNanoseconds: Int { max(last - first, 1) }

  /// Takes an event in.
  public mutating func add(_ record: TraceRecord) {
    eventCount += 1
    if first == 0 { first = record.timeNanoseconds }
    last = max(last, record.timeNanoseconds)
    switch record.step {
    case .start: startedNanoseconds = record.request
    case .lost: lostEvents += record.length
    case .extract where !record.mode.isEmpty: hold(record.pages, at: record.timeNanoseconds)
    case .release: hold(-record.pages, at: record.timeNanoseconds)
    case .submit: if record.length > 0 { bioBytes.add(record.length) }
    case .defect:
      note(
        "request \(record.request): \(record.pages) pages left held, \(record.length) released too often"
      )
    case .unstable:
      note(
        "request \(record.request): its program changed \(record.length) bytes while they were written, from \(record.offset) on"
      )
    default: break
    }
    if let request = assembler.add(record) { add(request) }
  }

  private mutating func note(_ line: String) {
    defectCount += 1
    if defects.count < Self.mostDefects { defects.append(line) }
  }

  private mutating func hold(_ pages: Int, at time: Int) {
    heldPages = max(0, heldPages + pages)
    let place = moment(at: time)
    moments[place].pages = max(moments[place].pages, heldPages)
  }

  /// The place of a moment; a run that has become long has longer ones.
  private mutating func moment(at time: Int) -> Int {
    var place = max(0, time - first) / momentNanoseconds
    while place >= Self.mostMoments {
      moments = stride(from: 0, to: moments.count, by: 2).map { index in
        let pair = moments[index..<min(index + 2, moments.count)]
        return Moment(
          bytesRead: pair.reduce(0) { $0 + $1.bytesRead },
          bytesWritten: pair.reduce(0) { $0 + $1.bytesWritten },
          requests: pair.reduce(0) { $0 + $1.requests }, pages: pair.map(\.pages).max() ?? 0)
      }
      momentNanoseconds *= 2
      place = max(0, time - first) / momentNanoseconds
    }
    while moments.count <= place { moments.append(Moment()) }
    return place
  }

  private mutating func add(_ request: TracedRequest) {
    requestCount += 1
    let name = String(describing: TraceNames.request(request.operation))
    let isRead = request.operation == 15
    let isWrite = request.operation == 16
    operations[name, default: OperationSummary()].count += 1
    operations[name]?.latency.add(request.latencyNanoseconds)
    if request.error > 0 { operations[name]?.errors += 1 }
    let place = moment(at: request.replyNanoseconds)
    moments[place].requests += 1
    if request.imbalance == 0 && request.hasPages && request.pages != request.releasedPages
      && !request.mode.isEmpty
    {
      note(
        "request \(request.request): \(request.pages) pages taken, \(request.releasedPages) released"
      )
    }
    if !isRead && !isWrite { return }
    operations[name]?.bytes += request.doneBytes
    if isRead { moments[place].bytesRead += request.doneBytes }
    if isWrite { moments[place].bytesWritten += request.doneBytes }
    requestBytes.add(request.length)
    let bits = request.offset | request.length | 4096
    alignmentBytes.add(bits & -bits)
    if let bio = request.bios.first {
      queueing.add(max(0, bio.submitNanoseconds - request.arriveNanoseconds))
    }
    if request.hasPages {
      let key = "\(TraceNames.kind(request.kind)), \(TraceNames.mode(request.mode))"
      let old = modes[key] ?? (0, 0)
      modes[key] = (old.requests + 1, old.pages + request.pages)
      if request.releasedNanoseconds > 0 { holds.add(request.holdNanoseconds) }
    }
    rank(request)
  }

  private mutating func rank(_ request: TracedRequest) {
    if slowest.count == Self.mostSlow, let least = slowest.last,
      least.latencyNanoseconds >= request.latencyNanoseconds
    {
      return
    }
    let place =
      slowest.firstIndex { $0.latencyNanoseconds < request.latencyNanoseconds } ?? slowest.count
    slowest.insert(request, at: place)
    if slowest.count > Self.mostSlow { slowest.removeLast() }
  }
}
