// Building bios, handing them to the device, and taking them back.

import Block
import IOVector
import Memory

extension DirectIOEngine {
  // MARK: Phases

  /// The request has its gate and its bios: the first of them go off.
  func beginMoving(_ slot: Slot) {
    let request = table[slot].request
    table[slot].phase = .moving
    switch request.operation {
    case .flush:
      table[slot].phase = .flushing
      submitFlush(slot)
    case .zero, .discard, .provision: beginClearing(slot)
    case .read: move(slot)
    case .write where request.isPassThrough: move(slot)
    case .write:
      let isAlone =
        table[slot].holdsGate ? table[slot].holdsGateExclusively : needsGateAlone(slot)
      if isAlone { table[slot].padding = padding(for: slot) }
      chooseHostCache(slot)
      if edgesArePartial(slot) {
        table[slot].phase = .readingEdges
        readEdges(slot)
      } else {
        move(slot)
      }
    }
  }

  /// All bios of a phase are through: on to the next that has some, or to the end.
  func advance(_ slot: Slot) {
    while table[slot].pendingBios == 0 {
      if !beginNextPhase(slot) { return finish(slot) }
    }
  }

  /// - Returns: whether there was one.
  private func beginNextPhase(_ slot: Slot) -> Bool {
    if table[slot].errorNumber != 0 { return false }
    let operation = table[slot].request.operation
    switch table[slot].phase {
    case .readingEdges:
      table[slot].phase = .moving
      move(slot)
      return true
    case .moving where operation == .read:
      copyToCaller(slot)
      return false
    case .moving where operation.clears && hasMoreToClear(slot):
      submitClearing(slot)
      return true
    case .moving where mustFlush(slot):
      table[slot].phase = .flushing
      submitFlush(slot)
      return true
    default: return false
    }
  }

  /// Whether a durable request has moved its data by bios that did not make it durable themselves. One that finishes
  /// in the volume is flushed when the volume has had its turn.
  private func mustFlush(_ slot: Slot) -> Bool {
    let request = table[slot].request
    return request.isDurable && !request.finishesInVolume && !table[slot].isDurableAlready
  }

  // MARK: Moving

  /// Moves the data: bounced parts through the bounce buffer, the body from or to where it is.
  private func move(_ slot: Slot) {
    let request = table[slot].request
    if request.isPassThrough { return movePassThrough(slot) }
    if request.operation.clears { return moveClearingEdges(slot) }
    if request.isWrite {
      copyFromCaller(slot)
      submitPadding(slot)
    }
    let flags = transferFlags(slot)
    let (bodyStart, bodyEnd) = (table[slot].bodyStart, table[slot].bodyEnd)
    if bodyStart > request.fileOffset {
      submitBounced(slot, from: request.fileOffset, to: bodyStart, flags)
    }
    if request.fileEnd > bodyEnd { submitBounced(slot, from: bodyEnd, to: request.fileEnd, flags) }
    if bodyEnd > bodyStart { submitBody(slot, flags) }
  }

  /// What all bios of the data carry: a write that is one part is made durable by its own bio.
  private func transferFlags(_ slot: Slot) -> BioFlags {
    let request = table[slot].request
    var flags: BioFlags = table[slot].usesHostCache ? .cached : []
    if request.isDurable && request.isWrite && !request.finishesInVolume && isOnePart(slot) {
      flags.insert(.fua)
    }
    return flags
  }

  private func isOnePart(_ slot: Slot) -> Bool {
    let request = table[slot].request
    if buffers[extents: slot].count > 1 || table[slot].padding.hasZeroes { return false }
    let (start, end) = (table[slot].bodyStart, table[slot].bodyEnd)
    let parts =
      (start > request.fileOffset ? 1 : 0) + (end > start ? 1 : 0) + (request.fileEnd > end ? 1 : 0)
    return parts == 1
  }

  /// Fills bios from the iterator, by extraction, until the body is on its way, extent after extent.
  ///
  /// Kernel: `iomap_dio_bio_iter()`, fs/iomap/direct-io.c, v6.6.
  private func submitBody(_ slot: Slot, _ flags: BioFlags) {
    let isWrite = table[slot].request.isWrite
    let (bodyStart, bodyEnd) = (table[slot].bodyStart, table[slot].bodyEnd)
    var start = table[slot].request.fileOffset
    for index in 0..<buffers[extents: slot].count {
      let extent = buffers[extents: slot][index]
      let first = max(start, bodyStart)
      let end = min(start + extent.byteCount, bodyEnd)
      if first < end && (isWrite || extent.kind == .mapped) {
        submitBody(
          slot, from: first, to: end, at: deviceOffset(of: first, in: extent, at: start), flags)
      }
      start += extent.byteCount
      if table[slot].errorNumber != 0 { break }
    }
    enterLedger(slot)
  }

  /// The share of the body that lies in one extent.
  private func submitBody(
    _ slot: Slot, from first: Int, to end: Int, at deviceOffset: Int, _ flags: BioFlags
  ) {
    var body = table[slot].iterator
    body.advance(by: first - table[slot].request.fileOffset)
    body.truncate(to: end - first)
    var position = deviceOffset
    while body.count > 0 {
      do throws(Errno) {
        try submitPart(of: &body, at: &position, slot, flags, isWhole: position == deviceOffset)
      } catch {
        return fail(slot, error)
      }
    }
  }

  /// Fills one bio and submits it.
  private func submitPart(
    of body: inout IOVIter, at position: inout Int, _ slot: Slot, _ flags: BioFlags, isWhole: Bool
  ) throws(Errno) {
    let request = table[slot].request
    var bio = makeBio(
      request.isWrite ? .write : .read, slot, at: position, era: request.shape.era,
      bugs: context.bugs.union(request.shape.bugs))
    let before = held()
    let counted = trace.isOn ? countedSoFar() : nil
    do throws(Errno) {
      try bio.fill(from: &body, limits: limits, policy: request.shape.policy)
    } catch {
      bio.end(error)
      throw error
    }
    table[slot].heldPages &+= held() &- before
    table[slot].heldMode = bio.flags.cleanupMode
    if let counted { noteFilled(slot, bio, since: counted) }
    position += bio.byteCount
    if !request.isWrite && !bio.flags.cleanupMode.isEmpty { bio.setPagesDirty() }
    if bio.flags.contains(.cloned) { context.counters.add(.bvecs, bio.vectorCount) }
    if body.kind == .bvec && isRegistered(bio) { bio.insert(.registered) }
    // Where a table did not suffice there is more than one bio, and none of them can answer for all.
    submit(bio, slot, isWhole && body.count == 0 ? flags : flags.subtracting(.fua))
  }

  /// Whether a bio's one segment lies in the part of memory that devices can register beforehand.
  private func isRegistered(_ bio: borrowing Bio) -> Bool {
    var position = bio.iterator
    guard let segment = bio.nextVector(&position), position.size == 0 else { return false }
    return segment.pageRun.end.number <= context.pages.populatedCount
  }

  /// Makes a bio; there is always one, since requests begin only with all that they may need.
  func makeBio(
    _ operation: BioOperation, _ slot: Slot, at deviceOffset: Int, era: Era? = nil,
    bugs: ModelBugs? = nil
  ) -> Bio {
    do throws(Errno) {
      return try pool.makeBio(
        operation, sector: UInt64(deviceOffset >> 9), vectorCapacity: vectorsPerBio,
        token: slot.number, era: era, bugs: bugs)
    } catch {
      preconditionFailure("a request needed more bios than it had kept")
    }
  }

  /// Hands a bio to the device.
  func submit(_ bio: consuming Bio, _ slot: Slot, _ flags: BioFlags = []) {
    if !flags.isEmpty {
      bio.insert(flags)
      if flags.contains(.fua) {
        table[slot].isDurableAlready = true
        context.counters.add(.fuaWrites, 1)
      }
    }
    table[slot].pendingBios &+= 1
    if trace.isOn { return submitNoted(bio, slot) }
    queue.submit(bio)
  }

  /// A bio without data that makes earlier writes durable.
  private func submitFlush(_ slot: Slot) {
    context.counters.add(.flushes, 1)
    submit(makeBio(.flush, slot, at: 0), slot)
  }

  /// Writes down that a request holds pages now, and how long it waited for that. The clock is looked at only where there
  /// was something to wait for: all else is over within a microsecond of the arrival.
  func enterLedger(_ slot: Slot) {
    let started = table[slot].startNanoseconds
    let request = table[slot].request
    let waited = table[slot].hasWaited || request.beginning != .fresh
    let taken = waited ? monotonicNanoseconds() : started
    table[slot].takenNanoseconds = taken
    if request.beginning != .continued {
      context.counters.record(taken &- started, in: .queueNanoseconds)
    }
    ledger.enter(
      LedgerEntry(
        unique: request.unique, inode: request.inode, offset: request.fileOffset,
        length: request.length, kind: table[slot].iterator.kind, mode: table[slot].heldMode,
        pages: table[slot].heldPages, startNanoseconds: started, thread: request.thread),
      line: LedgerLine(of: slot))
  }

  /// Pages on which this worker holds something now.
  func held() -> Int {
    let counters = context.counters
    return counters.value(of: .simPinAcquired) &- counters.value(of: .simPinReleased)
      &+ counters.value(of: .simGetAcquired) &- counters.value(of: .simGetReleased)
  }

  func fail(_ slot: Slot, _ error: Errno) {
    if table[slot].errorNumber == 0 { table[slot].errorNumber = error.rawValue }
  }

  // MARK: Completion

  /// A bio is through: its pages are released, and the last one of a phase moves the request on.
  ///
  /// Kernel: `iomap_dio_bio_end_io()`, fs/iomap/direct-io.c, v6.6.
  func complete(_ bio: consuming Bio) {
    let slot = Slot(bio.token)
    if let error = bio.status { fail(slot, error) }
    let before = held()
    if trace.isOn { endNoted(bio, slot) } else { bio.end() }
    table[slot].heldPages &+= held() &- before
    table[slot].pendingBios &-= 1
    if table[slot].pendingBios == 0 { advance(slot) }
  }
}
