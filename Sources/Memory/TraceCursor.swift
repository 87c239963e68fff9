// The event rings' reader side: where one reader is, and what it has missed.

import Synchronization

/// One reader's place in all rings of a mount. While there is one, events are noted.
///
/// Readers know nothing of each other. One that is too slow finds that the rings have gone on, counts what it has
/// missed, and continues with what is left.
public final class TraceCursor {
  private let set: TraceSet
  private var places: [Int]
  /// Events that this reader has missed.
  public private(set) var lostCount = 0

  /// Starts behind what has happened so far.
  public init(_ set: TraceSet) {
    self.set = set
    set.addReaders(1)
    places = set.all.map(\.noted)
  }

  deinit { set.addReaders(-1) }

  /// Whether there is something to read.
  public var hasNews: Bool {
    for (index, ring) in set.all.enumerated() where ring.noted != places[index] { return true }
    return false
  }

  /// Takes the next events, those of all rings in the order of their times.
  /// - Parameters:
  ///   - limit: the most events.
  ///   - body: called for each; for those that were missed, before what follows in the same ring, a record of step
  ///     `.lost` that says how many.
  /// - Returns: records given.
  @discardableResult
  public func read(limit: Int, _ body: (TraceRecord) -> Void) -> Int {
    var runs = set.all.enumerated().map { Run(ring: $1, place: places[$0], end: $1.noted) }
    var given = 0
    while given < limit {
      // The rings are few; the event that comes first is looked for among their next ones.
      var first = -1
      for index in runs.indices {
        guard let time = runs[index].nextTime else { continue }
        if first < 0 || time < (runs[first].nextTime ?? .max) { first = index }
      }
      if first < 0 { break }
      let record = runs[first].take()
      if record.step == .lost { lostCount += record.length }
      body(record)
      given += 1
    }
    for index in runs.indices { places[index] = runs[index].place }
    return given
  }
}

/// What a cursor reads of one ring in one go.
private struct Run {
  let ring: TraceRing
  /// The event that was looked at, or the first of those that are lost.
  var place: Int
  let end: Int
  private var next: TraceRecord?

  init(ring: TraceRing, place: Int, end: Int) {
    self.ring = ring
    self.place = place
    self.end = end
    next = nil
    look()
  }

  var nextTime: Int? { next?.timeNanoseconds }

  /// The next event, and looks at the one behind it.
  mutating func take() -> TraceRecord {
    guard let record = next else { preconditionFailure("nothing was looked at") }
    place = record.step == .lost ? place + record.length : place + 1
    look()
    return record
  }

  private mutating func look() {
    next = nil
    if place >= end { return }
    let record = TraceRecord { ring.word($0, of: place) }
    // The words were read before the ring is asked how far it has come.
    atomicMemoryFence(ordering: .acquiring)
    let oldest = ring.oldest
    if place >= oldest {
      next = record
      return
    }
    // Some room, so that what comes next is not written over at once.
    let resume = min(oldest + ring.capacity / 8, end)
    var lost = TraceRecord(
      .lost, at: Int(truncatingIfNeeded: ring.word(0, of: min(resume, end - 1))),
      length: resume - place)
    lost.worker = ring.worker
    next = lost
  }
}
