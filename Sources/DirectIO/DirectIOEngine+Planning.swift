// What becomes of a request: which of its bytes move without a copy, and what its edges need.

import Block
import IOVector
import Memory

extension DirectIOEngine {
  /// Cuts a request into a bounced head, a body that moves without a copy, and a bounced tail.
  ///
  /// The cuts are in file offsets and the same for all extents, since these are joined at whole blocks: what holds for
  /// the addresses of the whole body holds for each extent's share of it.
  func plan(_ slot: Slot) {
    let request = table[slot].request
    let block = limits.logicalBlockSize
    checkExtents(slot)
    table[slot].bounceUnit = block
    table[slot].bodyStart = request.fileEnd
    table[slot].bodyEnd = request.fileEnd
    if request.operation.clears { return planClearing(slot) }
    table[slot].iterator = buffers.iterator(slot, for: request)
    if request.isPassThrough { return planPassThrough(slot) }
    let start = (request.fileOffset + block - 1) & ~(block - 1)
    let end = request.fileEnd & ~(block - 1)
    if request.shape.bouncesForStability {
      context.counters.add(.eraBouncedBytes, request.length)
      return
    }
    if end > start && bodyIsAligned(slot, skip: start - request.fileOffset, count: end - start) {
      table[slot].bodyStart = start
      table[slot].bodyEnd = end
    }
  }

  /// Checks what the volume owes: the list covers the request, and suits the device's blocks.
  private func checkExtents(_ slot: Slot) {
    let request = table[slot].request
    let mask = limits.logicalBlockSize - 1
    let count = buffers[extents: slot].count
    var position = request.fileOffset
    for index in 0..<count {
      let extent = buffers[extents: slot][index]
      if extent.kind == .hole {
        precondition(request.operation != .write, "a write was mapped to a hole")
      } else {
        precondition(
          (extent.deviceOffset - position) & mask == 0, "an extent is not aligned as its file is")
      }
      precondition(
        !(extent.kind == .new && request.operation.clears), "new blocks are written, not cleared")
      position += extent.byteCount
      precondition(
        position & mask == 0 || index == count - 1, "extents are not joined at whole blocks")
    }
    precondition(position == request.fileEnd, "the extents do not cover the request")
  }

  /// Whether the body's segments can be handed to the device as they are.
  ///
  /// A pipe gives out its pages in order, so with edges or several extents all of it is bounced. So is kernel memory
  /// under the rules before the series, for which no reference could be taken.
  private func bodyIsAligned(_ slot: Slot, skip: Int, count: Int) -> Bool {
    let request = table[slot].request
    if request.shape.refusesKernelMemory { return false }
    if table[slot].iterator.kind == .pipe {
      return count == request.length && buffers[extents: slot].count == 1
        && buffers[extents: slot][0].kind == .mapped
    }
    var body = table[slot].iterator
    body.advance(by: skip)
    body.truncate(to: count)
    return body.isAligned(
      addressMask: UInt32(limits.dmaAlignment), lengthMask: UInt32(limits.logicalBlockSize - 1))
  }

  /// Whether the era's kernel would refuse the request, for its position, its length or its buffer.
  ///
  /// Kernel: `blkdev_dio_invalid()`, block/fops.c; `bio_split_io_at()`, v6.18; `iov_iter_extract_bvecs()`, v7.3.
  func isRefusedByEra(_ slot: Slot) -> Bool {
    let request = table[slot].request
    if request.operation.clears || request.isPassThrough { return false }
    let block = limits.logicalBlockSize - 1
    let rules = request.shape.era.rules
    let length = request.askedLength > 0 ? request.askedLength : request.length
    var suits = (request.fileOffset | length) & block == 0
    if suits {
      var whole = table[slot].iterator
      // A read that the file's end has cut is tested as it was asked for: its last segment is not.
      whole.truncate(to: request.length & ~block)
      let lengthMask = rules.contains(.testsSegmentsFirst) ? block : Int(limits.dmaAlignment)
      suits = whole.isAligned(
        addressMask: UInt32(limits.dmaAlignment), lengthMask: UInt32(lengthMask))
    }
    if !suits { context.counters.add(.eraRefusals, 1) }
    return !suits
  }

  /// Whether the range begins or ends within a block, or, by the host's page cache, within a page of it, so that a
  /// write must know the rest of it first.
  func edgesArePartial(_ slot: Slot) -> Bool {
    let request = table[slot].request
    let unit = table[slot].usesHostCache ? table[slot].bounceUnit : limits.logicalBlockSize
    return (request.fileOffset | request.fileEnd) & (unit - 1) != 0
  }

  /// Whether a write must not meet any other: it changes a block by reading it, or pads one.
  func needsGateAlone(_ slot: Slot) -> Bool {
    if table[slot].request.isPassThrough { return false }
    return edgesArePartial(slot) || mayPad(slot)
  }

  /// The bios that a request may have at the device at once.
  func biosNeeded(_ slot: Slot) -> Int {
    let request = table[slot].request
    if request.operation == .flush { return 1 }
    if request.operation.clears { return Self.clearingBios }
    if request.isPassThrough { return Self.maxMappedBios + 1 }
    let body = table[slot].bodyEnd - table[slot].bodyStart
    // Edges are read before anything else moves; then there are at most a head, a tail, and zeroes beside them.
    var edges = body < request.length ? 2 : 0
    if request.isWrite { edges += 2 }
    return Self.biosNeeded(
      extents: buffers[extents: slot].count, bodyBytes: body, segments: request.shape.segments,
      edges: edges, vectorsPerBio: vectorsPerBio)
  }

  /// The device offset of a file offset in an extent that begins at `start` of the file.
  func deviceOffset(of position: Int, in extent: Extent, at start: Int) -> Int {
    extent.deviceOffset + (position - start)
  }

  /// Notes the largest powers of two, up to a page, that the request's place in memory and its place in the file are
  /// multiples of.
  ///
  /// Kernel: `bdev_iter_is_aligned()`, include/linux/blkdev.h, v6.6, asks the same of a direct I/O.
  func noteAlignment(of request: DirectRequest) {
    let memory = request.dataOffset | pageSize
    let file = request.fileOffset | request.length | pageSize
    context.counters.record(memory & -memory, in: .memoryAlignmentBytes)
    context.counters.record(file & -file, in: .fileAlignmentBytes)
  }

  // MARK: The host's page cache

  /// Lets a small write of a part of a block go through the host's page cache, where that is safe.
  ///
  /// By O_DIRECT each such write costs two trips to the disk, one to read the block and one to write it. Through the
  /// cache it costs two copies; the host writes the page back when it likes, and a flush, a durable write or a direct
  /// read of ours makes it do so first. What must never happen is that one page of the host's cache is written to
  /// while a direct transfer of ours is writing another part of it: the direct write goes past the page, which is then
  /// written back with the old bytes of that part. So the write has the file's gate alone; whatever it touches is
  /// rounded to 4096 bytes of the image, a page of the host's or several; and the volume vouches
  /// (`mayUseHostCache`) that no other file has a part of these.
  func chooseHostCache(_ slot: Slot) {
    let request = table[slot].request
    if !request.mayUseHostCache || !request.isWrite || !table[slot].holdsGateExclusively
      || table[slot].bodyEnd > table[slot].bodyStart || table[slot].padding.isNeeded
    {
      return
    }
    let unit = max(pageSize, limits.logicalBlockSize)
    var position = request.fileOffset
    let count = buffers[extents: slot].count
    for index in 0..<count {
      let extent = buffers[extents: slot][index]
      if extent.kind != .mapped || (extent.deviceOffset - position) % unit != 0 { return }
      position += extent.byteCount
      if index < count - 1 && position % unit != 0 { return }
    }
    table[slot].usesHostCache = true
    table[slot].bounceUnit = unit
  }
}
