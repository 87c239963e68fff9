// A bio while a call builds it: a table of segments that is never too long for a list.

import IOVector
import Memory

/// A bio of the model of whole calls.
///
/// Differs: the pool's `Bio` follows one kernel's way of filling, and is made for speed; this one is made to be looked
/// at, and its ways of filling follow the era.
struct CallBio {
  var isWrite: Bool
  var sector: Int?
  var byteCount = 0
  var vectors: [BioVec] = []
  var maxVectors: Int
  /// Place of the first segment's first byte within it, for a borrowed table.
  var startOffset = 0
  var isPinned = false
  var isReferenced = false
  var isBorrowed = false
  var isBounced = false
  /// Whether a ring's cache of bios may have given it.
  var isPooled = false
  /// Whether it is a clone, whose table is another bio's.
  var isClone = false
  /// Whether it is of the page cache.
  var isCached = false
  var mustNotWait = false
  /// User pages of a bounced read.
  var userVectors: [BioVec] = []
  /// Place among the submitted bios.
  var number: Int?

  init(isWrite: Bool, sector: Int?, maxVectors: Int) {
    self.isWrite = isWrite
    self.sector = sector
    self.maxVectors = maxVectors
  }

  /// Whether the table has no room. Kernel: `bio_full()`.
  var isFull: Bool { vectors.count >= maxVectors }

  /// Adds a piece, to the last segment if it follows it and the rules join them.
  /// - Returns: whether its first page was in the last segment already.
  ///
  /// Kernel: `bvec_try_merge_page()`, block/bio.c, v6.12.
  mutating func add(_ piece: BioVec, merging: Bool) -> Bool {
    byteCount += Int(piece.length)
    if merging, let last = vectors.last {
      let end = last.address + Int(last.length)
      if end == piece.address {
        vectors[vectors.count - 1].length += piece.length
        return (end - 1) >> pageShift == piece.address >> pageShift
      }
    }
    vectors.append(piece)
    return false
  }

  /// The part of the table that the bio's bytes reach.
  private var reachedVectors: [BioVec] {
    var left = startOffset + byteCount
    return Array(
      vectors.prefix { vector in
        defer { left -= Int(vector.length) }
        return left > 0
      })
  }

  func record(_ rules: Era.Rules, fragments: [[Int]]) -> BioRecord {
    var flags: [String] = []
    if isPinned { flags.append("pinned") }
    if isReferenced { flags.append("reffed") }
    if isBorrowed || isClone { flags.append("cloned") }
    if isBorrowed && rules.contains(.marksBorrowedTables) { flags.append("no_page_ref") }
    let uncounted = isClone || (isBorrowed && rules.contains(.borrowsUncounted))
    return BioRecord(
      isWrite: isWrite, flags: flags, sector: sector, byteCount: byteCount,
      vectorCount: isBounced && !isWrite ? userVectors.count : uncounted ? 0 : vectors.count,
      maxVectors: maxVectors, vectors: reachedVectors, start: [0, startOffset],
      userVectors: userVectors,
      fragments: fragments, isPooled: isPooled, isCached: isCached)
  }
}

extension BioVec {
  /// The physical address of the first byte. Kernel: `bvec_phys()`.
  var address: Int { page.number << pageShift + Int(offset) }
}
