// The bounce buffer: what cannot move without a copy, and blocks that are read to be changed.
//
// A byte's place in it follows from its place in the file, counted from the page of the file in which the request
// begins. So all that a request bounces lies in order, whatever the extents, and fits into two pages more than the
// largest request has.

import Block
import IOVector
import Memory

extension DirectIOEngine {
  /// Where a byte of the file has its place in the bounce buffer.
  private func bouncePlace(_ position: Int, _ request: DirectRequest) -> Int {
    position - request.fileOffset & ~(pageSize - 1)
  }

  /// The bytes at a place of the bounce buffer.
  func bounceMemory(_ slot: Slot, place: Int, count: Int) -> MemoryWindow {
    unsafe MemoryWindow(
      context.pages.memory(at: buffers.bouncePage(slot), offset: place, length: count))
  }

  // MARK: Transfers

  /// Sends a bounced range off in whole blocks, a bio for each extent.
  func submitBounced(_ slot: Slot, from first: Int, to end: Int, _ flags: BioFlags) {
    let request = table[slot].request
    let mask = table[slot].bounceUnit - 1
    let count = buffers[extents: slot].count
    var start = request.fileOffset
    for index in 0..<count {
      let extent = buffers[extents: slot][index]
      // The outermost extents reach to the edges of their blocks.
      let inner = max(first & ~mask, index == 0 ? start & ~mask : start)
      let extentEnd = start + extent.byteCount
      let outer = min(
        (end + mask) & ~mask, index == count - 1 ? (extentEnd + mask) & ~mask : extentEnd)
      if inner < outer && (request.isWrite || extent.kind == .mapped) {
        let place = deviceOffset(of: inner, in: extent, at: start)
        submitBounce(
          slot, request.isWrite ? .write : .read, deviceOffset: place,
          place: bouncePlace(inner, request), count: clipped(outer - inner, at: place, slot), flags)
      }
      start = extentEnd
    }
  }

  /// Bytes of whole pages that the device has; it may end within one.
  private func clipped(_ count: Int, at deviceOffset: Int, _ slot: Slot) -> Int {
    if !table[slot].usesHostCache { return count }
    let block = limits.logicalBlockSize
    return min(count, (device.byteCount + block - 1) & ~(block - 1) - deviceOffset)
  }

  /// A bio on the engine's own pages: nothing is taken on them, nothing is released.
  func submitBounce(
    _ slot: Slot, _ operation: BioOperation, deviceOffset: Int, place: Int, count: Int,
    _ flags: BioFlags = []
  ) {
    var bio = makeBio(operation, slot, at: deviceOffset)
    let added = bio.add(
      page: buffers.bouncePage(slot).advanced(by: place / pageSize), length: UInt32(count),
      offset: UInt32(place % pageSize))
    precondition(added == UInt32(count), "an empty bio refused a page run")
    submit(bio, slot, flags)
  }

  // MARK: Edges

  /// Reads the blocks that a write covers in part into the bounce buffer.
  func readEdges(_ slot: Slot) {
    let request = table[slot].request
    let mask = table[slot].bounceUnit - 1
    let first = request.fileOffset & ~mask
    let last = (request.fileEnd - 1) & ~mask
    let endsWithin = request.fileEnd & mask != 0
    if request.fileOffset > first || (first == last && endsWithin) {
      fetchBlock(slot, at: first, isFresh: table[slot].padding.headIsFresh)
    }
    if last > first && endsWithin {
      fetchBlock(slot, at: last, isFresh: table[slot].padding.tailIsFresh)
    }
  }

  /// Makes a block of the bounce buffer what the device has there: by a read, or, where it was never written, by
  /// filling it with zeroes.
  private func fetchBlock(_ slot: Slot, at position: Int, isFresh: Bool) {
    let request = table[slot].request
    let unit = table[slot].bounceUnit
    let place = bouncePlace(position, request)
    if isFresh {
      bounceMemory(slot, place: place, count: unit).clear()
      return
    }
    let deviceOffset = deviceOffset(ofEdge: position, slot)
    submitBounce(
      slot, .read, deviceOffset: deviceOffset, place: place,
      count: clipped(unit, at: deviceOffset, slot), table[slot].usesHostCache ? .cached : [])
  }

  /// Where the block of the request's first or last byte lies on the device.
  func deviceOffset(ofEdge position: Int, _ slot: Slot) -> Int {
    let request = table[slot].request
    if position <= request.fileOffset {
      return deviceOffset(of: position, in: buffers[extents: slot][0], at: request.fileOffset)
    }
    let last = buffers[extents: slot][buffers[extents: slot].count - 1]
    return deviceOffset(of: position, in: last, at: request.fileEnd - last.byteCount)
  }

  // MARK: Copies

  /// Copies the caller's bytes to their places, over the blocks that were read.
  func copyFromCaller(_ slot: Slot) {
    let request = table[slot].request
    let (bodyStart, bodyEnd) = (table[slot].bodyStart, table[slot].bodyEnd)
    if bodyStart == request.fileOffset && bodyEnd == request.fileEnd { return }
    var iterator = table[slot].iterator
    let head = bodyStart - request.fileOffset
    let place = bouncePlace(request.fileOffset, request)
    copyFromCaller(&iterator, slot, place: place, count: head)
    if bodyEnd == request.fileEnd { return }
    iterator.advance(by: bodyEnd - bodyStart)
    copyFromCaller(
      &iterator, slot, place: bouncePlace(bodyEnd, request), count: request.fileEnd - bodyEnd)
  }

  func copyFromCaller(_ iterator: inout IOVIter, _ slot: Slot, place: Int, count: Int) {
    if count == 0 { return }
    let bytes = bounceMemory(slot, place: place, count: count)
    var span = unsafe bytes.bytes.mutableBytes
    let copied = iterator.copyFrom(&span, in: context)
    precondition(copied == count, "a request's own buffer could not be read")
    context.counters.add(.bouncedBytes, copied)
  }

  /// Copies what was read through the bounce buffer to the caller, and gives zeroes for what has no data.
  func copyToCaller(_ slot: Slot) {
    let request = table[slot].request
    var iterator = table[slot].iterator
    if request.isPassThrough {
      iterator.advance(by: table[slot].mappedBytes)
      return copyToCaller(&iterator, slot, place: 0, count: table[slot].copiedBytes)
    }
    let (bodyStart, bodyEnd) = (table[slot].bodyStart, table[slot].bodyEnd)
    let count = buffers[extents: slot].count
    if count == 1 && bodyStart == request.fileOffset && bodyEnd == request.fileEnd
      && buffers[extents: slot][0].kind == .mapped
    {
      return
    }
    var start = request.fileOffset
    for index in 0..<count {
      let extent = buffers[extents: slot][index]
      let end = start + extent.byteCount
      if extent.kind == .mapped {
        copyMapped(&iterator, slot, from: start, to: end)
      } else {
        let zeroed = iterator.zero(extent.byteCount, in: context)
        precondition(zeroed == extent.byteCount, "a request's own buffer could not be written")
      }
      start = end
    }
  }

  /// What was bounced of one extent; what moved without a copy is there already.
  private func copyMapped(
    _ iterator: inout IOVIter, _ slot: Slot, from start: Int, to end: Int
  ) {
    let request = table[slot].request
    let bodyStart = min(max(start, table[slot].bodyStart), end)
    let bodyEnd = min(max(start, table[slot].bodyEnd), end)
    copyToCaller(
      &iterator, slot, place: bouncePlace(start, request), count: bodyStart - start)
    if bodyEnd > bodyStart { iterator.advance(by: bodyEnd - bodyStart) }
    copyToCaller(&iterator, slot, place: bouncePlace(bodyEnd, request), count: end - bodyEnd)
  }

  private func copyToCaller(_ iterator: inout IOVIter, _ slot: Slot, place: Int, count: Int) {
    if count == 0 { return }
    let bytes = bounceMemory(slot, place: place, count: count)
    let copied = unsafe iterator.copyTo(bytes.bytes.bytes, in: context)
    precondition(copied == count, "a request's own buffer could not be written")
    context.counters.add(.bouncedBytes, copied)
  }
}
