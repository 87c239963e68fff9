// What the engine notes in the event ring while somebody reads it. Nothing of this runs while nobody does.

import Block
import IOVector
import Memory

/// What is remembered of a bio from its submission to its completion.
struct SubmittedBio {
  var timeNanoseconds = 0
  var sector: UInt64 = 0
  var byteCount = 0
}

/// Counters before a bio is filled, from which follows what the filling did.
struct FillingMark {
  var taken: Int
  var merges: Int
}

extension DirectIOEngine {
  /// An event about a slot's request.
  func event(_ step: TraceStep, _ slot: Slot, at time: Int = monotonicNanoseconds()) -> TraceRecord
  {
    TraceRecord(
      step, at: time, request: table[slot].request.unique.rawValue,
      inode: table[slot].request.inode, offset: table[slot].request.fileOffset,
      length: table[slot].request.length)
  }

  /// An event about a bio of a slot's request.
  private func event(
    _ step: TraceStep, _ slot: Slot, _ bio: borrowing Bio, at time: Int
  ) -> TraceRecord {
    var record = event(step, slot, at: time)
    record.bio = Int(bio.index.rawValue)
    record.operation = bio.operation.rawValue
    record.kind = Int(table[slot].iterator.kind.rawValue)
    record.mode = bio.flags.cleanupMode
    return record
  }

  // MARK: Building

  /// What was counted before a bio is filled.
  func countedSoFar() -> FillingMark {
    let counters = context.counters
    return FillingMark(
      taken: counters.value(of: .simPinAcquired) &+ counters.value(of: .simGetAcquired)
        &+ counters.value(of: .simPagesListed),
      merges: counters.value(of: .bvecMerges) &+ counters.value(of: .samePageMerges))
  }

  /// Pages were extracted into a bio.
  func noteFilled(_ slot: Slot, _ bio: borrowing Bio, since mark: FillingMark) {
    let now = countedSoFar()
    var record = event(.extract, slot, bio, at: monotonicNanoseconds())
    record.length = bio.byteCount
    record.sector = bio.sector
    record.pages = now.taken &- mark.taken
    trace.note(record)
    if now.merges == mark.merges { return }
    record = event(.merge, slot, bio, at: record.timeNanoseconds)
    record.length = bio.byteCount
    record.pages = now.merges &- mark.merges
    trace.note(record)
  }

  // MARK: On its way

  /// Hands a bio to the device, and notes that.
  func submitNoted(_ bio: consuming Bio, _ slot: Slot) {
    let index = Int(bio.index.rawValue)
    let splits = context.counters.value(of: .bioSplits)
    var record = event(.build, slot, bio, at: monotonicNanoseconds())
    record.length = bio.byteCount
    record.sector = bio.sector
    record.pages = bio.vectorCount
    record.flags = flags(of: bio)
    trace.note(record)
    var submission = event(.submit, slot, bio, at: record.timeNanoseconds)
    submission.length = record.length
    submission.sector = record.sector
    submission.flags = record.flags
    submission.pages = pageCount(of: bio)
    trace.note(submission)
    submitted[index] = SubmittedBio(
      timeNanoseconds: record.timeNanoseconds, sector: record.sector, byteCount: record.length)
    queue.submit(bio)
    let parts = context.counters.value(of: .bioSplits) &- splits
    if parts == 0 { return }
    var split = event(.split, slot)
    split.bio = index
    split.pages = parts
    split.length = record.length
    split.sector = record.sector
    trace.note(split)
  }

  /// Pages on which a bio's bytes lie, each counted for each segment that touches it.
  private func pageCount(of bio: borrowing Bio) -> Int {
    var position = bio.iterator
    var count = 0
    while let segment = bio.nextVector(&position) { count &+= segment.pageRun.count }
    return count
  }

  private func flags(of bio: borrowing Bio) -> TraceFlags {
    var flags: TraceFlags = []
    if bio.flags.contains(.fua) { flags.insert(.durable) }
    if bio.flags.contains(.cached) { flags.insert(.cached) }
    if bio.flags.contains(.registered) { flags.insert(.registered) }
    if isZeroes(bio) {
      flags.insert(.zeroes)
    } else if bio.vectorCount > 0 && isBounced(bio) {
      flags.insert(.bounced)
    }
    return flags
  }

  private func isZeroes(_ bio: borrowing Bio) -> Bool {
    guard let zero = context.pages.zeroPage, bio.vectorCount > 0 else { return false }
    return bio.vector(at: 0).page == zero
  }

  /// Whether its pages are of a bounce buffer.
  private func isBounced(_ bio: borrowing Bio) -> Bool {
    buffers.isBounce(bio.vector(at: 0).page, of: Slot(bio.token))
  }

  // MARK: Ending

  /// Ends a bio, and notes that.
  func endNoted(_ bio: consuming Bio, _ slot: Slot) {
    let now = monotonicNanoseconds()
    let before = submitted[Int(bio.index.rawValue)]
    var record = event(.complete, slot, bio, at: now)
    record.length = bio.byteCount
    record.sector = bio.sector
    // What was submitted while nobody read is not known.
    if before.timeNanoseconds >= table[slot].startNanoseconds {
      record.latencyNanoseconds = now &- before.timeNanoseconds
      record.length = before.byteCount
      record.sector = before.sector
    }
    record.error = Int(bio.status?.rawValue ?? 0)
    trace.note(record)
    var released = event(.release, slot, bio, at: now)
    let held = held()
    bio.end()
    if released.mode.isEmpty { return }
    released.pages = held &- self.held()
    trace.note(released)
  }

  /// A request's I/O is through.
  func noteFinished(_ slot: Slot, at end: Int) {
    var record = event(.finish, slot, at: end)
    record.latencyNanoseconds = end &- table[slot].startNanoseconds
    record.error = Int(table[slot].errorNumber)
    record.kind = Int(table[slot].iterator.kind.rawValue)
    trace.note(record)
  }

  /// The accounting of a request does not balance.
  func noteDefect(_ slot: Slot, heldPages: Int) {
    var record = event(.defect, slot)
    record.pages = max(heldPages, 0)
    record.length = max(-heldPages, 0)
    trace.note(record)
  }
}
