// Pass-through: whole blocks between the device and a buffer that is mapped under the hardware's limits, or copied.

import Block
import IOVector
import Memory

extension DirectIOEngine {
  /// Commands that one request may become; what is left after them is copied.
  private static var maxMappedBios: Int { 4 }

  /// Bytes of a finished pass-through request that were mapped, and that were copied.
  public func passThroughBytes(_ index: Int) -> (mapped: Int, copied: Int) {
    unsafe (table[index].bodyCount, table[index].tail.dataCount)
  }

  /// Checks a pass-through request: it is made of whole blocks and nothing is at its edges.
  func planPassThrough(_ state: UnsafeMutablePointer<RequestState>) {
    let request = unsafe state.pointee.request
    precondition(
      (request.deviceOffset | request.length) & (limits.logicalBlockSize - 1) == 0,
      "a pass-through request is not made of whole blocks")
    unsafe state.pointee.head = BouncedPart()
    unsafe state.pointee.tail = BouncedPart()
    unsafe state.pointee.bodyCount = 0
  }

  /// Maps as much of the buffer as the hardware can take, and copies the rest.
  ///
  /// Differs: where a limit ends a bio, the kernel adds the next one to the same request, or fails; here each is a
  /// command of its own, and what fits into none is copied.
  ///
  /// Kernel: `blk_rq_map_user_iov()`, block/blk-map.c, v6.6.
  func movePassThrough(_ index: Int) {
    var buffer = unsafe table[index].iterator
    var position = unsafe table[index].request.deviceOffset
    context.counters.add(.passthroughRequests, 1)
    do throws(Errno) {
      var bios = 0
      while buffer.count > 0 && bios < Self.maxMappedBios && !mustCopy(buffer) {
        let mapped = try submitMapped(&buffer, at: position, index)
        if mapped == 0 { break }
        position += mapped
        bios += 1
      }
      if buffer.count > 0 { try submitCopied(&buffer, at: position, index) }
    } catch {
      fail(index, error)
    }
    enterLedger(index)
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
    _ buffer: inout IOVIter, at position: Int, _ index: Int
  ) throws(Errno) -> Int {
    let request = unsafe table[index].request
    var bio = try pool.makeBio(
      request.isWrite ? .driverOut : .driverIn, sector: UInt64(position >> 9), token: index,
      era: request.shape.era, bugs: context.bugs.union(request.shape.bugs))
    var rest = buffer
    let before = held()
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
    unsafe table[index].heldPages &+= held() &- before
    unsafe table[index].heldMode = bio.flags.cleanupMode
    unsafe table[index].bodyCount &+= count
    unsafe table[index].pendingBios &+= 1
    context.counters.add(.passthroughMappedBytes, count)
    queue.submit(bio)
    return count
  }

  /// Sends what is left through the bounce buffer.
  ///
  /// Kernel: `bio_copy_user_iov()`, block/blk-map.c, v6.6.
  private func submitCopied(
    _ buffer: inout IOVIter, at position: Int, _ index: Int
  ) throws(Errno) {
    let request = unsafe table[index].request
    let count = buffer.count
    let part = BouncedPart(
      deviceOffset: position, byteCount: count, skip: 0, dataCount: count,
      page: buffers.bouncePage(request: index))
    unsafe table[index].tail = part
    if request.isWrite { copy(part, from: &buffer) }
    context.counters.add(.passthroughCopiedBytes, count)
    submitBounce(
      index, request.isWrite ? .driverOut : .driverIn, deviceOffset: position, page: part.page,
      offset: 0, count: count)
  }
}
