// Bios that are parts of another: the whole completes once, when all its parts are through.

import Memory

/// The chains that one level of a stack of filters has made. Each level has its own: a bio can be cut once more further
/// down, and whoever cut it there joins what was cut there, before the level above sees it.
///
/// Kernel: `bio_chain()` and `bio_chain_endio()`, block/bio.c, v6.6. Differs: completions are asked for here, level by
/// level, so the count of parts, `__bi_remaining`, belongs to the level and not to the bio.
public final class BioChains {
  private struct Link {
    /// The bio that this one is a part of, or `none`.
    var parent = UInt32.max
    /// Parts that are not through, the bio itself being one. Kernel: `__bi_remaining`.
    var remaining: Int32 = 1
    /// The first error of a part; 0 for none.
    var error: Int32 = 0
  }

  private static var none: UInt32 { .max }
  private let pool: BioPool
  private let links: FixedTable<Link>

  /// Makes room for chains between all bios of a pool.
  public init(pool: BioPool) {
    self.pool = pool
    links = FixedTable(count: pool.slotCount) { _ in Link() }
  }

  fileprivate func chain(_ part: borrowing Bio, to parent: borrowing Bio) {
    let place = Int(part.index.rawValue)
    precondition(links[place].parent == Self.none, "a bio is a part of two others")
    precondition(part.index != parent.index, "a bio is a part of itself")
    links[place].parent = parent.index.rawValue
    links[Int(parent.index.rawValue)].remaining += 1
  }

  /// Takes a bio that has come back from below, or that its level is done with.
  /// - Returns: the whole that is through with it, or nil if other parts are still under way. A bio without parts
  ///   that is part of nothing is such a whole. An error of any part is the whole's, the first one counts.
  public func join(_ bio: consuming Bio) -> Bio? {
    var place = Int(bio.index.rawValue)
    links[place].remaining &-= 1
    if links[place].remaining > 0 {
      note(bio.status, at: place)
      bio.status = nil
      _ = bio.detach()
      return nil
    }
    var whole = bio
    while true {
      let link = links[place]
      links[place] = Link()
      if link.error != 0 && whole.status == nil { whole.status = Errno(rawValue: link.error) }
      if link.parent == Self.none { return whole }
      place = Int(link.parent)
      note(whole.status, at: place)
      whole.retire()
      links[place].remaining &-= 1
      if links[place].remaining > 0 { return nil }
      whole = pool.adopt(BioIndex(rawValue: link.parent))
    }
  }

  private func note(_ error: Errno?, at place: Int) {
    if let error, links[place].error == 0 { links[place].error = error.rawValue }
  }
}

extension Bio {
  /// Makes this bio a part of another, the front of a split or a clone: the other completes when both are through,
  /// and this one only then, silently.
  /// - Parameters:
  ///   - parent: the whole; it may be submitted itself, as the rest of a split, or be kept, as what was cloned. In
  ///     either case it goes through `chains.join` once.
  ///   - chains: of the level that made this bio.
  ///
  /// Kernel: `bio_chain()`, block/bio.c, v6.6.
  public func chain(to parent: borrowing Bio, in chains: BioChains) {
    chains.chain(self, to: parent)
  }

  /// Makes a bio of the same bytes. It shares this bio's segments, and none of them is its to release: this bio must
  /// not end before it.
  /// - Throws: `.noMemory` if the pool has no free slot.
  ///
  /// Kernel: `bio_alloc_clone()`, block/bio.c, v6.6.
  public func clone() throws(Errno) -> Bio {
    let copy = try unsafe BioPool.allocateSlot(slot.pointee.pool)
    unsafe copy.pointee.table = unsafe slot.pointee.table
    unsafe copy.pointee.tableCount = unsafe slot.pointee.tableCount
    unsafe copy.pointee.operation = operation
    unsafe copy.pointee.token = token
    unsafe copy.pointee.era = era
    unsafe copy.pointee.bugs = unsafe slot.pointee.bugs
    unsafe copy.pointee.iterator = iterator
    unsafe copy.pointee.flags = flags.intersection(.request).union(.cloned)
    return unsafe Bio(slot: copy)
  }
}
