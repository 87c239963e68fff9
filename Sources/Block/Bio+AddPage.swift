// Adding page parts: merged into the last segment if they follow it in memory, else as a segment of their own.

import IOVector
import Memory

/// What became of a page part.
enum Addition {
  /// There is no room.
  case refused
  /// It became a segment.
  case newVector
  /// It was merged.
  case merged
  /// It was merged, and its page was in the segment already.
  case mergedSamePage
}

extension Bio {
  /// Adds a part of consecutive pages.
  ///
  /// - Parameters:
  ///   - page: the page from whose start `offset` counts.
  ///   - length: bytes.
  ///   - offset: bytes.
  /// - Returns: `length`, or 0 if there is no room. Counts are never touched.
  ///
  /// Kernel: `bio_add_page()`, block/bio.c, v6.6.
  public mutating func add(page: Page, length: UInt32, offset: UInt32) -> UInt32 {
    if flags.contains(.cloned) || iterator.size > UInt32.max - length { return 0 }
    let part = BioVec(page: page, offset: offset, length: length)
    if merge(part) != .refused { return length }
    if vectorCount >= vectorCapacity { return 0 }
    appendVector(part)
    return length
  }

  /// Adds a part of one page as far as the hardware's limits allow: for zone append and pass-through.
  ///
  /// - Parameter maxSectors: sectors (512 bytes) that the bio may have.
  ///
  /// Kernel: `bio_add_hw_page()`, block/bio.c, v6.6.
  mutating func addHardware(
    _ part: BioVec, limits: QueueLimits, maxSectors: UInt32
  ) -> Addition {
    if flags.contains(.cloned) { return .refused }
    if (iterator.size &+ part.length) >> 9 > maxSectors { return .refused }
    if vectorCount > 0 {
      let last = table[vectorCount - 1]
      if last.mayGrow(by: part, limits: limits) {
        let merged = merge(part)
        if merged != .refused { return merged }
      }
      if vectorCount >= min(vectorCapacity, limits.maxSegments) { return .refused }
      if last.leavesGap(before: part, limits: limits) { return .refused }
    } else if vectorCapacity == 0 {
      // Differs: the kernel trusts its callers here, and would write past the table.
      return .refused
    }
    appendVector(part)
    return .newVector
  }

  /// Adds a part of one page under the limits of pass-through or, for its operation, of zone append.
  ///
  /// - Parameters:
  ///   - page: the page.
  ///   - length: bytes.
  ///   - offset: bytes from the start of the page.
  /// - Returns: `length`, or 0 if a limit forbids it. Counts are never touched.
  ///
  /// Kernel: `bio_add_pc_page()` and `bio_add_zone_append_page()`, block/bio.c, v6.6.
  public mutating func addHardware(
    page: Page, length: UInt32, offset: UInt32, limits: QueueLimits
  ) -> UInt32 {
    let maxSectors =
      operation == .zoneAppend ? limits.maxZoneAppendSectors : limits.maxHwSectors
    let part = BioVec(page: page, offset: offset, length: length)
    let added = addHardware(part, limits: limits, maxSectors: maxSectors)
    return added == .refused ? 0 : length
  }

  /// Lets the last segment grow by a part that follows it in memory.
  ///
  /// Kernel: `bvec_try_merge_page()`, block/bio.c, v6.6.
  @inline(__always)
  mutating func merge(_ part: BioVec) -> Addition {
    if vectorCount == 0 { return .refused }
    let place = vectorCount &- 1
    let last = table[place]
    let end = last.physicalAddress &+ UInt64(last.length)
    if end != part.physicalAddress { return .refused }
    let pages = unsafe slot.pointee.pool.pointee.context.pages
    if pages.hasPeerToPeerPages && pages.isPeerToPeer(last.page) != pages.isPeerToPeer(part.page) {
      return .refused
    }
    // SAFETY: `place` is within the own table: shared tables are never merged into.
    unsafe slot.pointee.ownTable[place].length = last.length &+ part.length
    unsafe slot.pointee.iterator.size &+= part.length
    return (end &- 1) >> 12 == UInt64(part.page.index) ? .mergedSamePage : .merged
  }

  /// Kernel: `__bio_add_page()`, block/bio.c, v6.6.
  @inline(__always)
  mutating func appendVector(_ part: BioVec) {
    let place = vectorCount
    unsafe precondition(
      place < slot.pointee.capacity && !flags.contains(.cloned), "a bio overflowed its table")
    // SAFETY: the line above keeps the place within the own table, whose size bounds the capacity.
    unsafe (slot.pointee.ownTable + place).initialize(to: part)
    unsafe slot.pointee.vectorCount = place &+ 1
    unsafe slot.pointee.tableCount = place &+ 1
    unsafe slot.pointee.iterator.size &+= part.length
  }
}

extension BioVec {
  /// The physical address of the first byte. Kernel: `bvec_phys()`.
  var physicalAddress: UInt64 { UInt64(page.index) << 12 &+ UInt64(offset) }

  /// Whether a part may be merged under the hardware's limits, if it follows in memory.
  ///
  /// Kernel: `bvec_try_merge_hw_page()`, block/bio.c, v6.6; its subtraction, too, is of 32 bits and wraps.
  func mayGrow(by part: BioVec, limits: QueueLimits) -> Bool {
    let mask = limits.segBoundaryMask
    let end = part.physicalAddress &+ UInt64(part.length) &- 1
    if physicalAddress | mask != end | mask { return false }
    return part.length <= limits.maxSegmentSize &- length
  }

  /// Whether a part as the next segment would leave a gap that the device cannot describe.
  ///
  /// Kernel: `bvec_gap_to_prev()`, block/blk.h, v6.6.
  func leavesGap(before part: BioVec, limits: QueueLimits) -> Bool {
    let mask = limits.virtBoundaryMask
    if mask == 0 { return false }
    return UInt64(part.offset) & mask != 0 || UInt64(offset &+ length) & mask != 0
  }
}
