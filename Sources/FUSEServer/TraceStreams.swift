// The readers of `trace` and `trace_raw`: what they wait for, and the thread that answers them.

import CFuse3
import DirectIO
import Dispatch
import Glibc
import Memory
import Volumes

/// All open streams of a mount.
///
/// A read waits here until there are events; meanwhile the thread looks for them again and again, a hundred times a
/// second, so that workers need not tell anybody, and so that what it finds is worth an answer: on a busy machine each
/// look costs a worker its CPU, and its cache. While nobody waits it sleeps.
@safe final class TraceStreams: @unchecked Sendable {
  // Guard of the unchecked Sendable: everything mutable is in `state`.
  private let set: TraceSet
  /// It has the streams.
  private unowned let server: Server
  /// Makes a line of an event.
  private let format: @Sendable (TraceRecord, inout [UInt8]) -> Void
  /// Counts events that a reader has missed.
  private let counters: CounterBlock
  private let state = Guarded(State())
  private let wanted = DispatchSemaphore(value: 0)
  /// Whether an answer had no room for all. The thread's own.
  private var wasFull = false

  /// Streams that may be open at once, reads of each that may wait, and interrupts that came before their reads.
  private static let readerLimit = 16
  private static let waitingLimit = 4
  private static let earlyLimit = 32
  /// Between two looks, in nanoseconds: as a rule, and where the last answer had no room for all.
  private static let pauseNanoseconds = 8_000_000
  private static let shortPauseNanoseconds = 500_000
  /// Bytes of text that one event makes at most.
  private static let longestLine = 320

  private struct State {
    var next: UInt64 = 1
    var readers: [UInt64: Reader] = [:]
    var early: [UInt64] = []
    var hasThread = false
    var isClosed = false
  }

  /// An object, since a route's unowned reference breaks optionals of a structure that has it: Swift 6.2 cannot tell
  /// none from one, and a loop over an array of them has no end.
  private final class WaitingRead: Sendable {
    let unique: UInt64
    let length: Int
    let route: AnswerRoute
    let mayWait: Bool

    init(_ request: DataRequest, by route: AnswerRoute) {
      unique = request.unique
      length = request.length
      self.route = route
      mayWait = request.openFlags & UInt32(O_NONBLOCK) == 0
    }
  }

  /// What libfuse tells who polls by. Destroyed by who has it last.
  @safe final class PollHandle: @unchecked Sendable {
    // Guard of the unchecked Sendable: libfuse lets any thread use it, and it never changes.
    private let handle: OpaquePointer

    init(_ handle: OpaquePointer) { unsafe self.handle = handle }

    deinit { unsafe fuse_pollhandle_destroy(handle) }

    /// Tells who polls to ask again.
    func tell() { _ = unsafe fuse_lowlevel_notify_poll(handle) }
  }

  private final class Reader: @unchecked Sendable {
    // Guard of the unchecked Sendable: the lists are changed under the streams' lock, all else by their thread alone.
    let kind: ControlStream
    let cursor: TraceCursor
    var waiting: [WaitingRead] = []
    var pollHandle: PollHandle?
    var isPolled = false
    /// Lines that did not fit into the last answer.
    var left: [UInt8] = []
    var isNew = true
    var countedLost = 0

    init(kind: ControlStream, set: TraceSet) {
      self.kind = kind
      cursor = TraceCursor(set)
    }

    var hasNews: Bool { (isNew && kind == .records) || !left.isEmpty || cursor.hasNews }
  }

  /// Prepares a mount's streams; there are none yet.
  /// - Parameter counters: a block that no worker writes.
  init(server: Server, counters: CounterBlock) {
    self.server = server
    self.counters = counters
    set = server.traces
    format = server.configuration.traceLine
  }

  // MARK: What the mount asks

  /// Opens a stream; events are noted from now on.
  /// - Returns: its number.
  /// - Throws: `.tooManyFiles` if so many are open.
  func open(_ kind: ControlStream) throws(Errno) -> UInt64 {
    let set = set
    let (number, isFirst) = state.withLock { state -> (UInt64, Bool) in
      if state.readers.count >= Self.readerLimit { return (0, false) }
      let number = state.next
      state.next += 1
      state.readers[number] = Reader(kind: kind, set: set)
      let isFirst = !state.hasThread
      state.hasThread = true
      return (number, isFirst)
    }
    if number == 0 { throw Errno(rawValue: EMFILE) }
    if isFirst { _ = startThread(name: "extractfs-trace") { [self] in run() } }
    return number
  }

  /// Closes a stream.
  func close(_ number: UInt64) {
    state.withLock { _ = $0.readers.removeValue(forKey: number) }
  }

  /// Keeps a READ until there are events.
  /// - Returns: false if it cannot be kept; then it has been told nothing.
  func read(_ request: DataRequest, by route: AnswerRoute) -> Bool {
    let read = WaitingRead(request, by: route)
    let isKept = state.withLock { state in
      guard let reader = state.readers[request.fileHandle],
        reader.waiting.count < Self.waitingLimit, !state.isClosed
      else { return false }
      reader.waiting.append(read)
      return true
    }
    if isKept { wanted.signal() }
    return isKept
  }

  /// The kernel has told of a program that waits no longer for a request's answer.
  func interrupt(_ unique: UInt64) {
    let found = state.withLock { state -> WaitingRead? in
      for reader in state.readers.values {
        if let place = reader.waiting.firstIndex(where: { $0.unique == unique }) {
          return reader.waiting.remove(at: place)
        }
      }
      state.early.append(unique)
      if state.early.count > Self.earlyLimit { state.early.removeFirst() }
      return nil
    }
    if let found { answer(found, error: .interrupted) }
  }

  /// What poll(2) is to be told of a stream.
  /// - Parameter handle: to be told when that changes, or nil.
  func poll(_ number: UInt64, handle: PollHandle?) -> UInt32 {
    let isReady = state.withLock { state -> Bool in
      guard let reader = state.readers[number] else { return true }
      reader.isPolled = true
      if let handle { reader.pollHandle = handle }
      return reader.hasNews || state.isClosed
    }
    if !isReady && handle != nil { wanted.signal() }
    return isReady ? UInt32(POLLIN | POLLRDNORM) : 0
  }

  /// Whether somebody polls a stream.
  var arePolled: Bool { state.withLock { $0.readers.values.contains { $0.isPolled } } }

  /// The mount ends, and with it every stream.
  func close() {
    state.withLock { $0.isClosed = true }
    wanted.signal()
  }

  // MARK: The thread

  private func run() {
    var scratch = [UInt64](repeating: 0, count: 1 << 17)
    while true {
      wanted.wait()
      // Also before the first look: who reads on and on would else be answered event by event.
      repeat {
        var pause = timespec(
          tv_sec: 0, tv_nsec: wasFull ? Self.shortPauseNanoseconds : Self.pauseNanoseconds)
        unsafe nanosleep(&pause, nil)
        while wanted.wait(timeout: .now()) == .success {}
        wasFull = false
      } while serve(&scratch)
    }
  }

  /// Answers whoever can be answered.
  /// - Returns: whether somebody still waits.
  private func serve(_ scratch: inout [UInt64]) -> Bool {
    let numbers = state.withLock { Array($0.readers.keys) }
    var someWait = false
    for number in numbers where serve(number, &scratch) { someWait = true }
    return someWait
  }

  private func serve(_ number: UInt64, _ scratch: inout [UInt64]) -> Bool {
    let due = state.withLock { state -> Due in
      var due = Due()
      guard let reader = state.readers[number] else { return due }
      due.reader = reader
      let hasNews = reader.hasNews
      if let place = reader.waiting.firstIndex(where: { state.early.contains($0.unique) }) {
        due.ended = reader.waiting.remove(at: place)
      } else if let first = reader.waiting.first, hasNews || !first.mayWait || state.isClosed {
        due.ready = reader.waiting.removeFirst()
      }
      if hasNews || state.isClosed {
        due.polled = reader.pollHandle
        reader.pollHandle = nil
      }
      due.someWait = !reader.waiting.isEmpty || reader.pollHandle != nil
      return due
    }
    if let ended = due.ended { answer(ended, error: .interrupted) }
    if let read = due.ready, let reader = due.reader { fill(read, reader, &scratch) }
    due.polled?.tell()
    return due.someWait
  }

  /// What is to be done for a reader.
  private struct Due: Sendable {
    var reader: Reader?
    var ended: WaitingRead?
    var ready: WaitingRead?
    var polled: PollHandle?
    var someWait = false
  }

  private func answer(_ read: WaitingRead, error: Errno) {
    server.sendStream(error: error, payload: MemoryWindow(), to: read.unique, by: read.route)
  }

  /// Answers a read with what there is.
  private func fill(_ read: WaitingRead, _ reader: Reader, _ scratch: inout [UInt64]) {
    if read.length < TraceRecord.byteCount { return answer(read, error: .invalidArgument) }
    let count: Int
    switch reader.kind {
    case .records: count = takeRecords(reader, read.length, &scratch)
    case .text: count = takeText(reader, read.length, &scratch)
    }
    let lost = reader.cursor.lostCount
    if lost > reader.countedLost { counters.add(.traceDropped, lost - reader.countedLost) }
    reader.countedLost = lost
    // Nothing: for who does not wait that is an error, at the mount's end it is the stream's.
    if count == 0 && !read.mayWait && !state.withLock({ $0.isClosed }) {
      return answer(read, error: .wouldBlock)
    }
    unsafe scratch.withUnsafeMutableBytes { bytes in
      server.sendStream(
        error: nil, payload: unsafe MemoryWindow(bytes)[0..<count], to: read.unique,
        by: read.route)
    }
  }

  private func takeRecords(_ reader: Reader, _ length: Int, _ scratch: inout [UInt64]) -> Int {
    var limit = min(length, scratch.count * 8) / TraceRecord.byteCount
    var place = 0
    func put(_ record: TraceRecord, _ scratch: inout [UInt64]) {
      for index in 0..<TraceRecord.wordCount { scratch[place + index] = record.word(index) }
      place += TraceRecord.wordCount
    }
    if reader.isNew {
      reader.isNew = false
      put(startRecord(), &scratch)
      limit -= 1
    }
    if reader.cursor.read(limit: limit, { put($0, &scratch) }) == limit { wasFull = true }
    return place * 8
  }

  /// Tells a reader what it reads: layout, clocks, sizes.
  private func startRecord() -> TraceRecord {
    var now = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &now)
    return TraceRecord(
      .start, at: monotonicNanoseconds(),
      request: UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec),
      inode: TraceRecord.version, offset: server.device.byteCount,
      length: server.device.limits.logicalBlockSize)
  }

  private func takeText(_ reader: Reader, _ length: Int, _ scratch: inout [UInt64]) -> Int {
    let room = min(length, scratch.count * 8)
    var text = reader.left
    if text.count < room {
      reader.cursor.read(limit: max(1, (room - text.count) / Self.longestLine)) {
        format($0, &text)
      }
    }
    let count = min(text.count, room)
    if count > room / 2 { wasFull = true }
    unsafe scratch.withUnsafeMutableBytes { bytes in
      unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[..<count]).copyBytes(
        from: text[..<count])
    }
    reader.left = Array(text[count...])
    return count
  }
}
