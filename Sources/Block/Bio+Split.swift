// Cutting bios: in two, to a part, or shorter.

import IOVector
import Memory

extension Bio {
  /// Cuts the front off as a bio of its own, and moves this one past it.
  ///
  /// The front shares this bio's segments, but none of them is its to release: this bio, which must not end
  /// before the front, releases all of them. The front has this bio's token.
  /// - Parameter sectors: of 512 bytes; at least 1, and fewer than the bio has.
  /// - Throws: `.invalidArgument` for another number of sectors and for a zone append, which must stay in one
  ///   piece; `.noMemory` if the pool has no free slot.
  ///
  /// Kernel: `bio_split()`, block/bio.c, v6.6.
  public mutating func split(sectors: Int) throws(Errno) -> Bio {
    if operation == .zoneAppend || sectors <= 0 || sectors >= sectorCount {
      throw .invalidArgument
    }
    let pool = unsafe slot.pointee.pool
    let front = try unsafe BioPool.allocateSlot(pool)
    unsafe front.pointee.table = unsafe slot.pointee.table
    unsafe front.pointee.tableCount = unsafe slot.pointee.tableCount
    unsafe front.pointee.operation = operation
    unsafe front.pointee.token = token
    unsafe front.pointee.era = era
    unsafe front.pointee.bugs = unsafe slot.pointee.bugs
    unsafe front.pointee.iterator = iterator
    unsafe front.pointee.iterator.size = UInt32(sectors << 9)
    unsafe front.pointee.flags = flags.intersection(.request).union(.cloned)
    advance(by: sectors << 9)
    unsafe pool.pointee.context.counters.add(.bioSplits, 1)
    return unsafe Bio(slot: front)
  }

  /// Keeps only a part; does nothing if the part is not within the bio.
  ///
  /// - Parameters:
  ///   - offset: sectors (512 bytes) to drop from the front.
  ///   - size: sectors to keep.
  ///
  /// Kernel: `bio_trim()`, block/bio.c, v6.6.
  public mutating func trim(offset: Int, size: Int) {
    let most = Int(UInt32.max >> 9)
    if offset < 0 || size < 0 || offset > most || size > most || offset + size > sectorCount {
      return
    }
    let bytes = UInt32(size << 9)
    if offset == 0 && bytes == iterator.size { return }
    advance(by: offset << 9)
    unsafe slot.pointee.iterator.size = bytes
  }

  /// Shortens the bio. What a read cuts off becomes zeroes where pages have memory.
  ///
  /// - Parameter byteCount: bytes to keep; nothing happens if the bio is not longer.
  ///
  /// Kernel: `bio_truncate()`, block/bio.c, v6.6.
  public mutating func truncate(to byteCount: Int) {
    if byteCount < 0 || byteCount >= self.byteCount { return }
    if operation == .read { zeroTail(from: byteCount) }
    unsafe slot.pointee.iterator.size = UInt32(byteCount)
  }

  private func zeroTail(from byteCount: Int) {
    let pages = unsafe slot.pointee.pool.pointee.context.pages
    if !pages.hasMemory { return }
    var position = iterator
    var keep = byteCount
    while let part = nextSegment(&position) {
      let skip = min(keep, Int(part.length))
      keep -= skip
      let length = Int(part.length) - skip
      if length == 0 || !pages.contains(part.page) { continue }
      let bytes = unsafe pages.memory(
        at: part.page, offset: Int(part.offset) + skip, length: length)
      unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
    }
  }
}
