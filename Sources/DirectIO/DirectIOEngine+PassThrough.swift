// Pass-through: whole blocks between the device and a buffer that is mapped under the hardware's limits, or copied.

import Block
import IOVector
import Memory

extension DirectIOEngine {
  /// Commands that one request may become; what is left after them is copied.
  static var maxMappedBios: Int { 4 }

  /// Bytes of a finished pass-through request that were mapped, and that were copied.
  public func passThroughBytes(_ slot: Slot) -> (mapped: Int, copied: Int) {
    (table[slot].mappedBytes, table[slot].copiedBytes)
  }

  /// Checks a pass-through request: it is made of whole blocks and nothing is at its edges.
  func planPassThrough(_ slot: Slot) {
    let request = table[slot].request
    let extent = buffers[extents: slot][0]
    precondition(
      (extent.deviceOffset | request.length) & (limits.logicalBlockSize - 1) == 0
        && extent.kind == .mapped && buffers[extents: slot].count == 1,
      "a pass-through request is not made of whole blocks")
  }

  /// Maps as much of the buffer as the hardware can take, and copies the rest.
  ///
  /// Differs: where a limit ends a bio, the kernel adds the next one to the same request, or fails; here each is a
  /// command of its own, and what fits into none is copied.
  ///
  /// Kernel: `blk_rq_map_user_iov()`, block/blk-map.c, v6.6.
  func movePassThrough(_ slot: Slot) {
    var buffer = table[slot].iterator
    var position = buffers[extents: slot][0].deviceOffset
    context.counters.add(.passthroughRequests, 1)
    do throws(Errno) {
      var bios = 0
      while buffer.count > 0 && bios < Self.maxMappedBios && !mustCopy(buffer) {
        let mapped = try submitMapped(&buffer, at: position, slot)
        if mapped == 0 { break }
        position += mapped
        bios += 1
      }
      if buffer.count > 0 { submitCopied(&buffer, at: position, slot) }
    } catch {
      fail(slot, error)
    }
    enterLedger(slot)
  }

  /// Whether the device could not even describe the buffer: a gap between segments, or an address.
  private func mustCopy(_ buffer: IOVIter) -> Bool {
    let hardware = passThroughLimits
    return hardware.virtBoundaryMask & buffer.gapAlignment != 0
      || UInt64(hardware.dmaAlignment) & buffer.alignment != 0
  }

  /// Maps the next bytes and sends them off.
  /// - Returns: how many; 0 if the limits leave less than a block, and then the buffer is where it was.
  private func submitMapped(
    _ buffer: inout IOVIter, at position: Int, _ slot: Slot
  ) throws(Errno) -> Int {
    let request = table[slot].request
    var bio = makeBio(
      request.isWrite ? .driverOut : .driverIn, slot, at: position, era: request.shape.era,
      bugs: context.bugs.union(request.shape.bugs))
    var rest = buffer
    let before = held()
    let counted = trace.isOn ? countedSoFar() : nil
    do throws(Errno) {
      try bio.mapUser(from: &rest, limits: passThroughLimits, policy: request.shape.policy)
    } catch {
      bio.end(error)
      throw error
    }
    let count = bio.byteCount
    if count == 0 || count & (limits.logicalBlockSize - 1) != 0 {
      bio.end(.invalidArgument)
      return 0
    }
    buffer = rest
    table[slot].heldPages &+= held() &- before
    table[slot].heldMode = bio.flags.cleanupMode
    if let counted { noteFilled(slot, bio, since: counted) }
    table[slot].mappedBytes &+= count
    context.counters.add(.passthroughMappedBytes, count)
    submit(bio, slot)
    return count
  }

  /// Sends what is left through the bounce buffer.
  ///
  /// Kernel: `bio_copy_user_iov()`, block/blk-map.c, v6.6.
  private func submitCopied(_ buffer: inout IOVIter, at position: Int, _ slot: Slot) {
    let request = table[slot].request
    let count = buffer.count
    table[slot].copiedBytes = count
    if request.isWrite { copyFromCaller(&buffer, slot, place: 0, count: count) }
    context.counters.add(.passthroughCopiedBytes, count)
    submitBounce(
      slot, request.isWrite ? .driverOut : .driverIn, deviceOffset: position, place: 0,
      count: count)
  }
}
