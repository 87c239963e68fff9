// Direct I/O on a block device: the checks before, one bio or a loop of them, and the rest through the page cache.

import IOVector
import Memory

extension CallMachine {
  /// Kernel: `blkdev_read_iter()` and `blkdev_write_iter()`, block/fops.c.
  mutating func deviceTransfer(
    _ iterator: inout IOVIter, mustNotWait: Bool
  ) throws(Errno) -> Int {
    let asked = iterator.count
    if let size = limits.byteCount, position + asked > size {
      if position >= size {
        record.decision = .beyondEnd
        if call.isWrite { throw .noSpace }
        return 0
      }
      iterator.truncate(to: size - position)
    }
    let direct = try deviceDirect(&iterator, mustNotWait: mustNotWait)
    if isAsynchronous || iterator.count == 0 { return direct }
    return direct + finishBuffered(iterator)
  }

  /// What the page cache transfers of the rest: all up to the first address that faults.
  ///
  /// Kernel: `filemap_read()` and `direct_write_fallback()`, mm/filemap.c.
  mutating func finishBuffered(_ iterator: IOVIter) -> Int {
    var iterator = iterator
    var done = 0
    record.triedPageCache = true
    while iterator.count > 0, let range = iterator.nextUserRange {
      let wanted = min(range.byteCount, iterator.count)
      let copied = memory.copyableBytes(
        at: range.address, count: wanted, isWrite: iterator.direction == .destination)
      iterator.advance(by: copied)
      done += copied
      if copied < wanted { break }
    }
    record.copiedBytes += done
    if done > 0 { record.decision = .finishedBuffered }
    return done
  }

  /// Kernel: `blkdev_direct_IO()`, block/fops.c.
  private mutating func deviceDirect(
    _ iterator: inout IOVIter, mustNotWait: Bool
  ) throws(Errno) -> Int {
    try testAlignment(iterator, position: position, length: iterator.count)
    let wanted = vectorsWanted(iterator, max: 257)
    if wanted > 256 { return try severalBios(&iterator, mustNotWait: mustNotWait) }
    return isAsynchronous
      ? try oneBioAsynchronously(&iterator, wanted, mustNotWait: mustNotWait)
      : try oneBio(&iterator, wanted, mustNotWait: mustNotWait)
  }

  /// The test before anything is extracted.
  ///
  /// Kernel: `blkdev_dio_invalid()`, block/fops.c, and the same lines of `iomap_dio_bio_iter()`, fs/iomap/direct-io.c.
  mutating func testAlignment(
    _ iterator: IOVIter, position: Int, length: Int
  ) throws(Errno) {
    if rules.contains(.testsSegmentsFirst) {
      if position & blockMask != 0 { throw fail(.invalidArgument, .positionOrTotal) }
      if !suitsQueue(iterator) { throw fail(.invalidArgument, .segmentFirst) }
    } else if (position | length) & blockMask != 0 {
      throw fail(.invalidArgument, .positionOrTotal)
    }
  }

  /// Whether every segment's address suits the DMA mask and every length the logical block.
  ///
  /// Differs: of a borrowed table the first segment counts from the position on, as in 6.1.y and 6.12.y; v6.6 took all of
  /// it, which is what `IOVIter.isAligned` does.
  ///
  /// Kernel: `iov_iter_is_aligned()`, lib/iov_iter.c, v6.12.
  private func suitsQueue(_ iterator: IOVIter) -> Bool {
    if iterator.kind != .bvec {
      return iterator.isAligned(
        addressMask: UInt32(limits.dmaAlignment), lengthMask: UInt32(blockMask))
    }
    var left = iterator.count
    var skip = iterator.offset
    for vector in unsafe Array(iterator.remainingBioVectors) where left > 0 {
      let length = min(Int(vector.length) - skip, left)
      if length & blockMask != 0 || (Int(vector.offset) + skip) & limits.dmaAlignment != 0 {
        return false
      }
      left -= length
      skip = 0
    }
    return true
  }

  /// Kernel: `bio_iov_vecs_to_alloc()`, include/linux/bio.h.
  func vectorsWanted(_ iterator: IOVIter, max: Int) -> Int {
    iterator.kind == .bvec ? 0 : iterator.npages(max: max)
  }

  /// The room of a pooled bio's table.
  ///
  /// Kernel: `bio_alloc_bioset()` and `bvec_alloc()`, block/bio.c.
  func pooledVectors(_ wanted: Int, fromCache: Bool = false) -> Int {
    switch wanted {
    case 0: return 0
    case ...4:
      let isExact =
        rules.contains(.makesExactTables) || (fromCache && rules.contains(.cachesExactTables))
      return isExact ? wanted : 4
    case ...16: return 16
    case ...64: return 64
    case ...128: return 128
    default: return 256
    }
  }

  /// Kernel: `__blkdev_direct_IO_simple()`, block/fops.c.
  private mutating func oneBio(
    _ iterator: inout IOVIter, _ wanted: Int, mustNotWait: Bool
  ) throws(Errno) -> Int {
    var bio = CallBio(isWrite: call.isWrite, sector: position >> 9, maxVectors: wanted)
    let dirties = !call.isWrite && iterator.isUserBacked
    try fill(&bio, from: &iterator)
    bio.mustNotWait = mustNotWait
    let status = submit(&bio)
    releasePages(of: bio, marksDirty: dirties)
    if let status { throw status }
    return bio.byteCount
  }

  /// Kernel: `__blkdev_direct_IO_async()`, block/fops.c.
  private mutating func oneBioAsynchronously(
    _ iterator: inout IOVIter, _ wanted: Int, mustNotWait: Bool
  ) throws(Errno) -> Int {
    var bio = CallBio(
      isWrite: call.isWrite, sector: position >> 9,
      maxVectors: pooledVectors(wanted, fromCache: true))
    bio.isPooled = true
    if iterator.kind == .bvec {
      borrow(&bio, from: &iterator)
    } else {
      try fill(&bio, from: &iterator)
    }
    let dirties = !call.isWrite && iterator.isUserBacked
    if dirties { noteDirtied(bio) }
    bio.mustNotWait = mustNotWait
    let status = submit(&bio)
    complete(bio, dirties: dirties)
    if let status {
      recycled = bio.number
      throw status
    }
    return bio.byteCount
  }

  /// A bio's end: its pages are looked at once more, or just released.
  ///
  /// Kernel: `bio_check_pages_dirty()` and `bio_release_pages()`, block/bio.c.
  mutating func complete(_ bio: CallBio, dirties: Bool) {
    if dirties { record.checked.append(BioEvent(bio: bio.number)) }
    releasePages(of: bio, marksDirty: false)
  }

  /// Notes that a bio's pages are marked dirty; a bio whose memory served a failed try bears that one's number.
  ///
  /// Kernel: `bio_set_pages_dirty()`, block/bio.c.
  mutating func noteDirtied(_ bio: CallBio) {
    record.dirtied.append(BioEvent(bio: bio.number ?? recycled))
    recycled = nil
  }

  /// Kernel: `__blkdev_direct_IO()`, block/fops.c.
  private mutating func severalBios(
    _ iterator: inout IOVIter, mustNotWait: Bool
  ) throws(Errno) -> Int {
    let dirties = !call.isWrite && iterator.isUserBacked
    var done = 0
    var failure: Errno?
    var wanted = 256
    while wanted > 0 {
      var bio = CallBio(
        isWrite: call.isWrite, sector: (position + done) >> 9,
        maxVectors: pooledVectors(wanted, fromCache: isAsynchronous))
      bio.isPooled = isAsynchronous
      do throws(Errno) { try fill(&bio, from: &iterator) } catch {
        complete(bio, dirties: dirties)
        // Whoever waits gets the error itself, a ring that of the bio that was never sent.
        throw isAsynchronous ? failure ?? .ioError : error
      }
      if mustNotWait && iterator.count > 0 {
        releasePages(of: bio, marksDirty: false)
        throw fail(.wouldBlock, .wouldBlock)
      }
      if dirties { noteDirtied(bio) }
      bio.mustNotWait = mustNotWait
      done += bio.byteCount
      wanted = vectorsWanted(iterator, max: 256)
      let status = submit(&bio)
      complete(bio, dirties: dirties)
      failure = failure ?? status
      if failure == .wouldBlock { recycled = bio.number }
    }
    if let failure { throw failure }
    return done
  }
}
