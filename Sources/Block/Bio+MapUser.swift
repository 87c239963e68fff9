// Mapping a buffer for a pass-through request: extraction under the hardware's limits.

import IOVector
import Memory

extension Bio {
  /// Takes pages from an iterator until it is empty or a limit of the hardware forbids the next one.
  ///
  /// What did not fit stays in the iterator, and the bio may even be empty: the caller copies then.
  /// - Parameters:
  ///   - iterator: moved past what the bio holds afterwards; after an error it stays where it came to.
  ///   - limits: the device's.
  ///   - policy: what is taken on the pages.
  /// - Throws: `.invalidArgument` for an empty iterator; the error of an extraction: nothing is held then.
  ///
  /// Kernel: `bio_map_user_iov()`, block/blk-map.c, v6.6.
  public mutating func mapUser(
    from iterator: inout IOVIter, limits: QueueLimits, policy: CleanupPolicy = .auto
  ) throws(Errno) {
    if iterator.count == 0 { throw .invalidArgument }
    let context = self.context
    let policy = context.bugs.isEmpty ? policy : policy.misread(context.bugs, for: iterator)
    let legacy = context.era.referencesUserPages && policy == .auto
    let mode = legacy ? .get : policy.mode(for: iterator)
    unsafe slot.pointee.flags.formUnion(BioFlags(cleanupMode: mode))
    while iterator.count > 0 {
      let left: Int
      do throws(Errno) {
        left = try mapOnce(
          from: &iterator, limits: limits, policy: policy, legacy: legacy, context)
      } catch {
        forgetPages()
        throw error
      }
      iterator.revert(by: left)
      if left > 0 { break }
    }
    context.counters.add(.bios, 1)
    context.counters.record(byteCount, in: .bioBytes)
  }

  /// One extraction.
  /// - Returns: bytes that could not be added; their pages are released.
  private mutating func mapOnce(
    from iterator: inout IOVIter, limits: QueueLimits, policy: CleanupPolicy,
    legacy: Bool, _ context: MemoryContext
  ) throws(Errno) -> Int {
    unsafe slot.pointee.pool.pointee.scratch.removeAll()
    let bytes: Int
    let offset: Int
    if legacy {
      (bytes, offset) = try unsafe iterator.getPages(
        into: &slot.pointee.pool.pointee.scratch, maxBytes: .max, maxPages: vectorCapacity,
        flags: limits.allowsPeerToPeerDMA ? .allowP2PDMA : [], in: context)
    } else {
      (bytes, offset) = try unsafe iterator.extractPages(
        into: &slot.pointee.pool.pointee.scratch, maxBytes: .max, maxPages: vectorCapacity,
        flags: limits.allowsPeerToPeerDMA ? .allowP2PDMA : [], policy: policy, in: context)
    }
    if bytes == 0 { throw .badAddress }
    if UInt64(offset) & UInt64(limits.dmaAlignment) != 0 {
      releaseScratch(fromRun: 0, page: 0, mode: flags.cleanupMode, context)
      return bytes
    }
    return addEachPage(bytes, from: offset, context) { bio, part in
      bio.addHardware(part, limits: limits, maxSectors: limits.maxHwSectors)
    }
  }

  /// Releases what the bio holds and makes it empty.
  private mutating func forgetPages() {
    releasePages(markDirty: false)
    unsafe slot.pointee.vectorCount = 0
    unsafe slot.pointee.tableCount = 0
    unsafe slot.pointee.iterator.size = 0
  }
}
