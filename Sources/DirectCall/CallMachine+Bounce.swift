// Pages that must not change in flight: the data goes through kernel folios.

import IOVector
import Memory

extension CallMachine {
  /// Bytes in the largest bounce folio.
  static var mostBounceBytes: Int { 1 << 20 }

  /// Kernel: `bio_iov_bounce_nr_vecs()`, include/linux/bio.h, v7.0.
  func bounceVectors(_ iterator: IOVIter) -> Int {
    call.isWrite ? iterator.npages(max: 256) : iterator.npages(max: 255) + 1
  }

  /// Kernel: `bio_iov_iter_bounce()`, block/bio.c, v7.3.
  mutating func bounce(
    _ bio: inout CallBio, from iterator: inout IOVIter, smallest: Int
  ) throws(Errno) {
    bio.isBounced = true
    do throws(Errno) {
      if call.isWrite {
        try bounceWrite(&bio, from: &iterator, smallest: smallest)
      } else {
        try bounceRead(&bio, from: &iterator)
      }
      record.copiedBytes += bio.byteCount
      record.decision = .bounced
      record.bounces.append(0)
    } catch {
      record.bounces.append(-Int(error.rawValue))
      throw fail(error, .fault)
    }
  }

  /// Copies into folios of at most 1 MiB; nothing is looked up.
  private func bounceWrite(
    _ bio: inout CallBio, from iterator: inout IOVIter, smallest: Int
  ) throws(Errno) {
    if isFaultFree, let range = iterator.nextUserRange,
      memory.isAbsent(at: range.address, pageCount: pageCount(covering: range.byteCount))
    {
      throw .badAddress
    }
    while iterator.count > 0 && !bio.isFull {
      var length = min(iterator.count, Self.mostBounceBytes)
      if length > smallest * 2 { length = 1 << (Int.bitWidth - 1 - length.leadingZeroBitCount) }
      bio.vectors.append(BioVec(page: foreignPage, offset: 0, length: UInt32(length)))
      bio.byteCount += length
      var copied = 0
      while copied < length, let range = iterator.nextUserRange {
        let wanted = min(range.byteCount, length - copied)
        let had = memory.copyableBytes(at: range.address, count: wanted, isWrite: false)
        iterator.advance(by: had)
        copied += had
        if had < wanted { throw .badAddress }
      }
    }
    bio.isPinned = false
  }

  /// Pins the user's pages, and gives the device one folio.
  private mutating func bounceRead(
    _ bio: inout CallBio, from iterator: inout IOVIter
  ) throws(Errno) {
    var left = min(iterator.count, Self.mostBounceBytes)
    while left > 0 && bio.userVectors.count < bio.maxVectors - 1 {
      do throws(Errno) {
        let found = try extract(
          &iterator, maxBytes: left, maxPages: bio.maxVectors - 1 - bio.userVectors.count,
          mode: mode, into: &record.lookups)
        var user = CallBio(isWrite: false, sector: nil, maxVectors: bio.maxVectors)
        add(found, size: found.byteCount, to: &user)
        bio.userVectors += user.vectors
        bio.byteCount += found.byteCount
        left -= found.byteCount
      } catch {
        if bio.userVectors.isEmpty { throw error }
        break
      }
    }
    bio.isPinned = true
    try alignDown(&bio, &iterator)
    bio.vectors = [BioVec(page: foreignPage, offset: 0, length: UInt32(bio.byteCount))]
  }

  /// Gives the bounce buffer back, and a read's user pages.
  ///
  /// Kernel: `bio_iov_iter_unbounce()`, block/bio.c, v7.0.
  mutating func unbounce(_ bio: CallBio) {
    record.unbounced.append(BioEvent(bio: bio.number))
    for vector in bio.userVectors { release(vector.pageRun) }
  }
}
