// Building bios, handing them to the device, and taking them back.

import Block
import IOVector
import Memory

extension DirectIOEngine {
  // MARK: Planning

  /// Cuts a request into a bounced head, a body that moves without a copy, and a bounced tail.
  func plan(_ state: UnsafeMutablePointer<RequestState>) {
    let request = unsafe state.pointee.request
    let block = limits.logicalBlockSize
    let start = request.deviceOffset
    let end = start + request.length
    let bodyStart = (start + block - 1) & ~(block - 1)
    let bodyEnd = end & ~(block - 1)
    unsafe state.pointee.head = BouncedPart()
    unsafe state.pointee.tail = BouncedPart()
    if unsafe bodyEnd > bodyStart
      && bodyIsAligned(state.pointee, skip: bodyStart - start, count: bodyEnd - bodyStart)
    {
      unsafe state.pointee.bodyCount = bodyEnd - bodyStart
      if bodyStart > start {
        unsafe state.pointee.head = unsafe BouncedPart(
          deviceOffset: bodyStart - block, byteCount: block, skip: start - (bodyStart - block),
          dataCount: bodyStart - start, page: buffers.bouncePage(request: state - table))
      }
      if end > bodyEnd {
        unsafe state.pointee.tail = unsafe BouncedPart(
          deviceOffset: bodyEnd, byteCount: block, skip: 0, dataCount: end - bodyEnd,
          page: buffers.bouncePage(request: state - table).advanced(by: 1))
      }
      return
    }
    unsafe state.pointee.bodyCount = 0
    let first = start & ~(block - 1)
    let last = (end + block - 1) & ~(block - 1)
    unsafe state.pointee.head = unsafe BouncedPart(
      deviceOffset: first, byteCount: last - first, skip: start - first,
      dataCount: request.length, page: buffers.bouncePage(request: state - table))
  }

  /// Whether the body's segments can be handed to the device as they are.
  ///
  /// A pipe gives out its pages in order, so with edges all of it is bounced. So is kernel memory under the rules
  /// before the series, for which no reference could be taken.
  private func bodyIsAligned(_ state: RequestState, skip: Int, count: Int) -> Bool {
    if state.request.shape.refusesKernelMemory { return false }
    if state.iterator.kind == .pipe { return count == state.request.length }
    var body = state.iterator
    body.advance(by: skip)
    body.truncate(to: count)
    return body.isAligned(
      addressMask: UInt32(limits.dmaAlignment), lengthMask: UInt32(limits.logicalBlockSize - 1))
  }

  /// Whether a write covers a block in part, so that the block must be read first.
  func edgesArePartial(_ state: RequestState) -> Bool {
    (state.head.byteCount > 0 && (state.head.hasPartialHead || state.head.hasPartialTail()))
      || state.tail.byteCount > 0
  }

  // MARK: Moving

  /// Reads the blocks that a write covers in part into the bounce buffer.
  func readEdges(_ index: Int) {
    let block = limits.logicalBlockSize
    let head = unsafe table[index].head
    let tail = unsafe table[index].tail
    let headIsOneBlock = head.byteCount == block
    if head.byteCount > 0 && (head.hasPartialHead || (headIsOneBlock && head.hasPartialTail())) {
      fetchBlock(index, deviceOffset: head.deviceOffset, page: head.page, offset: 0)
    }
    if head.byteCount > block && head.hasPartialTail() {
      let last = head.byteCount - block
      fetchBlock(
        index, deviceOffset: head.deviceOffset + last, page: head.page, offset: last)
    }
    if tail.byteCount > 0 {
      fetchBlock(index, deviceOffset: tail.deviceOffset, page: tail.page, offset: 0)
    }
  }

  /// Moves the data: bounced parts through the bounce buffer, the body from or to where it is.
  func move(_ index: Int) {
    let request = unsafe table[index].request
    if request.isPassThrough { return movePassThrough(index) }
    if request.isWrite {
      copyCallerToBounced(index)
      submitPadding(index)
    }
    for part in unsafe [table[index].head, table[index].tail] where part.byteCount > 0 {
      submitBounce(
        index, request.isWrite ? .write : .read, deviceOffset: part.deviceOffset, page: part.page,
        offset: 0, count: part.byteCount)
    }
    if unsafe table[index].bodyCount > 0 { submitBody(index) }
  }

  /// Fills bios from the iterator, by extraction, until the body is on its way.
  ///
  /// Kernel: `iomap_dio_bio_iter()`, fs/iomap/direct-io.c, v6.6.
  private func submitBody(_ index: Int) {
    let request = unsafe table[index].request
    let skip = unsafe table[index].head.dataCount
    var body = unsafe table[index].iterator
    body.advance(by: skip)
    unsafe body.truncate(to: table[index].bodyCount)
    var position = request.deviceOffset + skip
    while body.count > 0 {
      do throws(Errno) {
        try submitPart(of: &body, at: &position, index)
      } catch {
        fail(index, error)
        break
      }
    }
    enterLedger(index)
  }

  /// Fills one bio and submits it.
  private func submitPart(
    of body: inout IOVIter, at position: inout Int, _ index: Int
  ) throws(Errno) {
    let request = unsafe table[index].request
    var bio = try pool.makeBio(
      request.isWrite ? .write : .read, sector: UInt64(position >> 9), token: index,
      era: request.shape.era, bugs: context.bugs.union(request.shape.bugs))
    let before = held()
    do throws(Errno) {
      try bio.fill(from: &body, limits: limits, policy: request.shape.policy)
    } catch {
      bio.end(error)
      throw error
    }
    unsafe table[index].heldPages &+= held() &- before
    unsafe table[index].heldMode = bio.flags.cleanupMode
    position += bio.byteCount
    if !request.isWrite && !bio.flags.cleanupMode.isEmpty { bio.setPagesDirty() }
    if bio.flags.contains(.cloned) {
      context.counters.add(.bvecs, bio.vectorCount)
      // A `bvec` is memory of ours, which the device may have registered.
      bio.insert(.registered)
    }
    unsafe table[index].pendingBios &+= 1
    queue.submit(bio)
  }

  func enterLedger(_ index: Int) {
    let state = unsafe table[index]
    unsafe table[index].takenNanoseconds = state.startNanoseconds
    ledger.enter(
      LedgerEntry(
        unique: state.request.unique, inode: state.request.inode, offset: state.request.fileOffset,
        length: state.request.length, kind: state.iterator.kind, mode: state.heldMode,
        pages: state.heldPages, startNanoseconds: state.startNanoseconds), line: line(index))
  }

  /// Pages on which this worker holds something now.
  func held() -> Int {
    let counters = context.counters
    return counters.value(of: .simPinAcquired) &- counters.value(of: .simPinReleased)
      &+ counters.value(of: .simGetAcquired) &- counters.value(of: .simGetReleased)
  }

  /// A bio on the engine's own pages: nothing is taken on them, nothing is released.
  func submitBounce(
    _ index: Int, _ operation: BioOperation, deviceOffset: Int, page: Page, offset: Int, count: Int
  ) {
    do throws(Errno) {
      var bio = try pool.makeBio(operation, sector: UInt64(deviceOffset >> 9), token: index)
      let added = bio.add(
        page: page.advanced(by: offset / pageSize), length: UInt32(count),
        offset: UInt32(offset % pageSize))
      precondition(added == UInt32(count), "an empty bio refused a page run")
      unsafe table[index].pendingBios &+= 1
      queue.submit(bio)
    } catch {
      fail(index, error)
    }
  }

  /// A bio without data that makes earlier writes durable.
  func submitFlush(_ index: Int) {
    do throws(Errno) {
      let bio = try pool.makeBio(.flush, sector: 0, vectorCapacity: 0, token: index)
      unsafe table[index].pendingBios &+= 1
      queue.submit(bio)
    } catch {
      fail(index, error)
      advance(index)
    }
  }

  func fail(_ index: Int, _ error: Errno) {
    if unsafe table[index].errorNumber == 0 { unsafe table[index].errorNumber = error.rawValue }
  }

  // MARK: Completion

  /// A bio is through: its pages are released, and the last one of a phase moves the request on.
  ///
  /// Kernel: `iomap_dio_bio_end_io()`, fs/iomap/direct-io.c, v6.6.
  func complete(_ bio: consuming Bio) {
    let index = bio.token
    if let error = bio.status { fail(index, error) }
    let before = held()
    bio.end()
    unsafe table[index].heldPages &+= held() &- before
    unsafe table[index].pendingBios &-= 1
    if unsafe table[index].pendingBios == 0 { advance(index) }
  }

  // MARK: Bouncing

  /// Copies the caller's bytes over the blocks that were read.
  private func copyCallerToBounced(_ index: Int) {
    var iterator = unsafe table[index].iterator
    unsafe copy(table[index].head, from: &iterator)
    unsafe iterator.advance(by: table[index].bodyCount)
    unsafe copy(table[index].tail, from: &iterator)
  }

  func copy(_ part: BouncedPart, from iterator: inout IOVIter) {
    if part.dataCount == 0 { return }
    let bytes = unsafe context.pages.memory(
      at: part.page, offset: part.skip, length: part.dataCount)
    var span = unsafe bytes.mutableBytes
    let copied = iterator.copyFrom(&span, in: context)
    precondition(copied == part.dataCount, "a request's own buffer could not be read")
    context.counters.add(.bouncedBytes, copied)
  }

  /// Copies what was read through the bounce buffer to the caller.
  func copyBouncedToCaller(_ index: Int) {
    var iterator = unsafe table[index].iterator
    unsafe copy(table[index].head, to: &iterator)
    if unsafe table[index].tail.dataCount > 0 {
      unsafe iterator.advance(by: table[index].bodyCount)
      unsafe copy(table[index].tail, to: &iterator)
    }
  }

  private func copy(_ part: BouncedPart, to iterator: inout IOVIter) {
    if part.dataCount == 0 { return }
    let bytes = unsafe context.pages.memory(
      at: part.page, offset: part.skip, length: part.dataCount)
    let copied = unsafe iterator.copyTo(bytes.bytes, in: context)
    precondition(copied == part.dataCount, "a request's own buffer could not be written")
    context.counters.add(.bouncedBytes, copied)
  }
}
