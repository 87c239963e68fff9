// A request put together from its events: file, request, pins, bios, places on the image, times.

import Memory

/// One bio of a request.
public struct TracedBio: Equatable, Sendable {
  /// Its worker, and its place in that worker's pool.
  public var worker: Int
  /// See `worker`.
  public var bio: Int
  /// What was asked of the device: `enum req_op`.
  public var operation: UInt8
  /// Place on the image, in sectors of 512 bytes.
  public var sector: UInt64
  /// Bytes.
  public var length: Int
  /// Segments.
  public var segments: Int
  /// What is special about it.
  public var flags: TraceFlags
  /// When it was handed to the device, and when it was through; 0 for not yet.
  public var submitNanoseconds: Int
  /// See `submitNanoseconds`.
  public var completeNanoseconds = 0
  /// An errno, or 0.
  public var error = 0
}

/// A request from its arrival to its answer.
public struct TracedRequest: Sendable {
  /// The FUSE request's number.
  public var request: UInt64
  /// The inode.
  public var inode: UInt64
  /// FUSE's number of the operation.
  public var operation: UInt8
  /// The thread that asked, and its user.
  public var thread: Int32
  /// See `thread`.
  public var user: UInt32
  /// Byte offset in the file, and bytes.
  public var offset: Int
  /// See `offset`.
  public var length: Int
  /// Bytes that were moved, of a read or write.
  public var doneBytes = 0
  /// What is special about it.
  public var flags: TraceFlags = []
  /// When it arrived, on CLOCK_MONOTONIC.
  public var arriveNanoseconds: Int
  /// When its answer left.
  public var replyNanoseconds = 0
  /// From arrival to answer, as the daemon measured it.
  public var latencyNanoseconds = 0
  /// An errno, or 0.
  public var error = 0
  /// The iterator's kind, what was taken on its pages, and on how many; released likewise.
  public var kind = 0
  /// See `kind`.
  public var mode: FollFlags = []
  /// See `kind`.
  public var pages = 0
  /// Pages that were given back.
  public var releasedPages = 0
  /// When the first pages were taken and the last given back; 0 for never.
  public var takenNanoseconds = 0
  /// See `takenNanoseconds`.
  public var releasedNanoseconds = 0
  /// Whether pages were extracted at all.
  public var hasPages = false
  /// Page parts merged, bios split.
  public var merges = 0
  /// See `merges`.
  public var splits = 0
  /// Nanoseconds at the file's gate, and held by a freeze.
  public var parkedNanoseconds = 0
  /// See `parkedNanoseconds`.
  public var heldNanoseconds = 0
  /// Bytes that a program changed while they were written.
  public var unstableBytes = 0
  /// Pages left held (above 0), or given back too often (below).
  public var imbalance = 0
  /// Its bios in the order of their submission; the first `TracedRequest.bioLimit` of them.
  public var bios: [TracedBio] = []
  /// All of its bios.
  public var bioCount = 0

  var waitingSince = 0
  var isLive = false

  /// Bios that are kept of one request.
  public static var bioLimit: Int { 512 }

  init(_ record: TraceRecord) {
    request = record.request
    inode = record.inode
    operation = record.operation
    thread = record.thread
    user = record.user
    offset = record.offset
    length = record.length
    flags = record.flags
    arriveNanoseconds = record.timeNanoseconds
  }

  /// How long pages were held.
  public var holdNanoseconds: Int { max(0, releasedNanoseconds - takenNanoseconds) }
}

/// Requests under way, put together event after event.
///
/// A table addressed by the request's number, whose places are used again and again: a trace can bring a million events
/// a second. The numbers of requests that are under way together are close to each other, so that two of them hardly
/// ever meet in a place; then the older one is lost.
public struct RequestAssembler: Sendable {
  /// As many are kept; a trace that has lost answers would else keep requests for ever.
  public static var limit: Int { 8192 }

  private var places: [TracedRequest]

  /// Starts with nothing.
  public init() {
    places = Array(
      repeating: TracedRequest(TraceRecord(.arrive, at: 0)), count: Self.limit)
  }

  /// FUSE counts its requests in steps of two.
  private func place(of request: UInt64) -> Int {
    Int(truncatingIfNeeded: request >> 1) & (Self.limit - 1)
  }

  /// A request under way.
  public subscript(request: UInt64) -> TracedRequest? {
    let place = place(of: request)
    return places[place].isLive && places[place].request == request ? places[place] : nil
  }

  /// Takes an event in.
  /// - Returns: the request, if this was its answer.
  public mutating func add(_ record: TraceRecord) -> TracedRequest? {
    if !record.step.isOfRequest { return nil }
    let place = place(of: record.request)
    if record.step == .arrive {
      places[place].restart(record)
      return nil
    }
    if !places[place].isLive || places[place].request != record.request { return nil }
    if record.step != .reply {
      places[place].add(record)
      return nil
    }
    places[place].isLive = false
    var request = places[place]
    request.replyNanoseconds = record.timeNanoseconds
    request.latencyNanoseconds = record.latencyNanoseconds
    request.error = record.error
    request.doneBytes = record.length
    return request
  }
}

extension TracedRequest {
  /// Begins anew, with the room that the last one had for its bios.
  mutating func restart(_ record: TraceRecord) {
    var room = bios
    bios = []
    room.removeAll(keepingCapacity: true)
    self = TracedRequest(record)
    bios = room
    isLive = true
  }

  /// Takes in an event between arrival and answer.
  mutating func add(_ record: TraceRecord) {
    let now = record.timeNanoseconds
    switch record.step {
    case .hold, .park: waitingSince = now
    case .thaw:
      if waitingSince > 0 { heldNanoseconds += now - waitingSince }
      // What came before the trace began is told by the thaw.
      if arriveNanoseconds == 0 { arriveNanoseconds = now }
    case .enter: if waitingSince > 0 { parkedNanoseconds += now - waitingSince }
    case .extract:
      hasPages = true
      kind = record.kind
      mode = record.mode
      pages += record.pages
      if takenNanoseconds == 0 { takenNanoseconds = now }
    case .merge: merges += record.pages
    case .split: splits += record.pages
    case .build: addBio(record)
    case .complete: completeBio(record)
    case .release:
      releasedPages += record.pages
      releasedNanoseconds = now
    case .defect: imbalance += record.pages - record.length
    case .unstable: unstableBytes += record.length
    default: break
    }
  }

  private mutating func addBio(_ record: TraceRecord) {
    bioCount += 1
    if bios.count >= Self.bioLimit { return }
    bios.append(
      TracedBio(
        worker: record.worker, bio: record.bio, operation: record.operation,
        sector: record.sector, length: record.length, segments: record.pages, flags: record.flags,
        submitNanoseconds: record.timeNanoseconds))
  }

  private mutating func completeBio(_ record: TraceRecord) {
    let place = bios.lastIndex {
      $0.completeNanoseconds == 0 && $0.bio == record.bio && $0.worker == record.worker
    }
    guard let place else { return }
    bios[place].completeNanoseconds = record.timeNanoseconds
    bios[place].error = record.error
  }
}
