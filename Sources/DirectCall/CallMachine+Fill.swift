// Filling a bio from an iterator: until v6.19 pieces are merged, later each folio's range is a bvec of its own.

import IOVector
import Memory

extension CallMachine {
  /// Takes pages from an iterator until it is empty or the bio is full.
  ///
  /// - Throws: if not one page could be added; nothing is held then but what a defect keeps.
  ///
  /// Kernel: `bio_iov_iter_get_pages()`, block/bio.c.
  mutating func fill(_ bio: inout CallBio, from iterator: inout IOVIter) throws(Errno) {
    var fill = FillRecord(
      iterator: [iterator.count, iterator.offset, iterator.segmentsLeft],
      maxVectors: bio.maxVectors, isPooled: bio.isPooled)
    do throws(Errno) {
      try take(&bio, from: &iterator, &fill)
      record.fills.append(fill)
    } catch {
      fill.result = -Int(error.rawValue)
      record.fills.append(fill)
      throw error
    }
  }

  private mutating func take(
    _ bio: inout CallBio, from iterator: inout IOVIter, _ fill: inout FillRecord
  ) throws(Errno) {
    if iterator.kind == .bvec {
      borrow(&bio, from: &iterator)
      if rules.contains(.testsAlignmentAtExtraction) {
        let first = Int(bio.vectors.first?.offset ?? 0) + bio.startOffset
        if first & limits.dmaAlignment != 0 { throw fail(.invalidArgument, .segmentExtracted) }
      }
      iterator.advance(by: bio.byteCount)
      return
    }
    bio.isPinned = !rules.contains(.referencesUserPages)
    repeat {
      do throws(Errno) {
        try fillOnce(&bio, from: &iterator, &fill)
      } catch {
        if error == .invalidArgument {
          releasePages(of: bio, marksDirty: false)
          bio.vectors = []
          throw fail(.invalidArgument, .segmentExtracted)
        }
        record.decision = .fault
        if bio.vectors.isEmpty { throw error }
        break
      }
    } while iterator.count > 0 && !bio.isFull
    if !rules.contains(.trimsEachExtraction) {
      try alignDown(&bio, &iterator)
    }
  }

  /// Uses the iterator's own table. Kernel: `bio_iov_bvec_set()`, block/bio.c.
  func borrow(_ bio: inout CallBio, from iterator: inout IOVIter) {
    bio.isBorrowed = true
    bio.vectors = unsafe Array(iterator.remainingBioVectors)
    bio.startOffset = iterator.offset
    bio.byteCount = iterator.count
  }

  private mutating func fillOnce(
    _ bio: inout CallBio, from iterator: inout IOVIter, _ fill: inout FillRecord
  ) throws(Errno) {
    if rules.contains(.testsAlignmentAtExtraction) && !suitsDMA(iterator) {
      throw .invalidArgument
    }
    let room = bio.maxVectors - bio.vectors.count
    let found = try extract(
      &iterator, maxBytes: Int(UInt32.max) - bio.byteCount, maxPages: room, mode: mode,
      into: &fill.lookups)
    var size = found.byteCount
    var kept = 0
    if rules.contains(.trimsEachExtraction) {
      let rest = size & blockMask
      iterator.revert(by: rest)
      size -= rest
      if rest > 0 && call.bugs.contains(.trimKeepsPin) { kept = 1 }
    }
    let used = size == 0 ? 0 : pageCount(covering: found.offset + size)
    add(found, size: size, to: &bio)
    release(found.pages[used...].dropFirst(kept))
    if size == 0 { throw .badAddress }
  }

  /// Whether the current segment suits the DMA alignment, empty or not.
  ///
  /// Kernel: the first lines of `iov_iter_extract_bvecs()`, lib/iov_iter.c, v7.3.
  func suitsDMA(_ iterator: IOVIter) -> Bool {
    guard let range = iterator.currentUserRange else { return true }
    return (Int(truncatingIfNeeded: range.address) | range.byteCount) & limits.dmaAlignment == 0
  }

  /// Adds pieces: page by page where pieces merge, else one for each folio's contiguous part.
  func add(_ found: Extraction, size: Int, to bio: inout CallBio) {
    var left = size
    var offset = found.offset
    var index = 0
    let merging = rules.contains(.mergesPieces)
    while left > 0 {
      let count = merging ? 1 : contiguousPages(found.pages, from: index, left: left, offset)
      let length = min(left, count * pageSize - offset)
      let piece = BioVec(
        page: found.pages[index], offset: UInt32(offset), length: UInt32(length))
      if bio.add(piece, merging: merging) {
        release(PageRun(first: found.pages[index], count: 1))
      }
      left -= length
      index += count
      offset = 0
    }
  }

  /// How many pages from one on follow each other within one folio.
  ///
  /// Kernel: `get_contig_folio_len()`, lib/iov_iter.c, v7.3.
  private func contiguousPages(
    _ pages: [Page], from first: Int, left: Int, _ offset: Int
  ) -> Int {
    let most = min(pages.count - first, pageCount(covering: offset + left))
    var count = 1
    while count < most, pages[first + count] == pages[first].advanced(by: count),
      memory.sameFolio(pages[first], pages[first + count])
    {
      count += 1
    }
    return count
  }

  /// Cuts a bio to whole blocks: gives the rest back to the iterator and releases the pages of it.
  ///
  /// With the defect `trim-keeps-pin`, of a bvec that goes whole one page is released however many it touches, and of
  /// one that is cut none.
  ///
  /// - Throws: `.badAddress` if not one block remains.
  ///
  /// Kernel: `bio_iov_iter_align_down()`, block/bio.c, v6.18 and v7.3.
  mutating func alignDown(
    _ bio: inout CallBio, _ iterator: inout IOVIter, holdsPages: Bool = true
  ) throws(Errno) {
    var rest = bio.byteCount & blockMask
    if rest == 0 { return }
    iterator.revert(by: rest)
    bio.byteCount -= rest
    let keepsPin = call.bugs.contains(.trimKeepsPin)
    // A bounced read's bytes lie in the user's pages, which the bio lists apart.
    var vectors = bio.isBounced && !call.isWrite ? bio.userVectors : bio.vectors
    defer {
      if bio.isBounced && !call.isWrite { bio.userVectors = vectors } else { bio.vectors = vectors }
    }
    while let last = vectors.last, rest >= Int(last.length) {
      if holdsPages {
        release(keepsPin ? PageRun(first: last.pageRun.first, count: 1) : last.pageRun)
      }
      vectors.removeLast()
      rest -= Int(last.length)
      if vectors.isEmpty { throw fail(.badAddress, .fault) }
    }
    let place = vectors.count - 1
    let before = vectors[place].pageRun
    vectors[place].length -= UInt32(rest)
    let after = vectors[place].pageRun
    if holdsPages && !keepsPin {
      release(PageRun(first: after.end, count: before.count - after.count))
    }
  }

  /// Releases what a bio holds, and notes it.
  ///
  /// Kernel: `bio_release_pages()` and `__bio_release_pages()`, block/bio.c.
  mutating func releasePages(of bio: CallBio, marksDirty: Bool) {
    let holds = rules.contains(.referencesUserPages) ? !bio.isBorrowed : bio.isPinned
    if !holds { return }
    record.releases.insert(BioEvent(bio: bio.number, marksDirty: marksDirty))
    for vector in bio.vectors where vector.page != foreignPage { release(vector.pageRun) }
  }
}
