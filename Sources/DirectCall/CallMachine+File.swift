// Direct I/O on a file: extent by extent, and bio by bio within one.

import IOVector
import Memory

/// A part of a file as its filesystem maps it.
private struct Mapping {
  var kind: Kind
  var byteCount: Int
  /// Whether its blocks have just been allocated.
  var isNew = false

  enum Kind { case mapped, unwritten, hole }
}

extension CallMachine {
  /// Bytes in a block of the filesystem.
  static var fileBlock: Int { 4096 }

  /// Kernel: `__iomap_dio_rw()`, fs/iomap/direct-io.c.
  mutating func fileTransfer(
    _ iterator: inout IOVIter, _ system: CallTarget.FileSystem, _ state: CallTarget.FileState,
    mustNotWait: Bool
  ) throws(Errno) -> Int {
    let size = state == .empty ? 0 : call.fileBytes
    if !call.isWrite && position >= size {
      record.decision = .nothingToDo
      return 0
    }
    var done = 0
    while iterator.count > 0 {
      let at = position + done
      let mapping = map(system, state, at: at, count: iterator.count, size: size)
      let moved: Int
      if mapping.kind == .mapped || call.isWrite {
        moved = try moveExtent(&iterator, mapping, at: at, system, size, mustNotWait: mustNotWait)
      } else {
        moved = zero(&iterator, mapping.byteCount)
        if moved == 0 { throw fail(.badAddress, .fault) }
      }
      if moved == 0 { break }
      done += moved
    }
    return call.isWrite ? done : min(done, size - position)
  }

  private func map(
    _ system: CallTarget.FileSystem, _ state: CallTarget.FileState, at position: Int, count: Int,
    size: Int
  ) -> Mapping {
    if call.isWrite {
      switch state {
      case .written where position < size:
        return Mapping(
          kind: .mapped, byteCount: mappedBytes(at: position, min(count, size - position)))
      case .unwritten where position < size:
        return Mapping(kind: .unwritten, byteCount: min(count, size - position))
      default:
        return Mapping(
          kind: .mapped, byteCount: Self.allocated(system, at: position, count, fileBytes: size),
          isNew: true)
      }
    }
    if position >= size || state != .written {
      return Mapping(kind: .hole, byteCount: position >= size ? count : min(count, size - position))
    }
    return Mapping(kind: .mapped, byteCount: mappedBytes(at: position, min(count, size - position)))
  }

  /// How far a written file's extent reaches.
  private func mappedBytes(at position: Int, _ count: Int) -> Int {
    guard let end = call.extentEnds.first(where: { $0 > position }) else { return count }
    return min(count, end - position)
  }

  /// How many bytes one allocation for a write gives: where the allocator rounds to aligned chunks, no extent crosses
  /// one's end.
  ///
  /// Kernel: `ext4_mb_normalize_request()`, fs/ext4/mballoc.c, v6.1.
  private static func allocated(
    _ system: CallTarget.FileSystem, at position: Int, _ count: Int, fileBytes: Int
  ) -> Int {
    if system != .ext4 { return count }
    let size = max(fileBytes, position + count)
    let chunk: Int
    switch size {
    case ...(1 << 20): return count
    case ...(4 << 20): chunk = 2 << 20
    default: chunk = 4 << 20
    }
    return min(count, chunk - position % chunk)
  }

  /// Zeroes user memory by the processor. Kernel: `iomap_dio_hole_iter()`, fs/iomap/direct-io.c.
  private mutating func zero(_ iterator: inout IOVIter, _ byteCount: Int) -> Int {
    var done = 0
    while done < byteCount, let range = iterator.nextUserRange {
      let wanted = min(range.byteCount, byteCount - done)
      let had = memory.copyableBytes(at: range.address, count: wanted, isWrite: true)
      iterator.advance(by: had)
      done += had
      if had < wanted { break }
    }
    record.copiedBytes += done
    return done
  }

  /// Kernel: `iomap_dio_bio_iter()`, fs/iomap/direct-io.c.
  private mutating func moveExtent(
    _ iterator: inout IOVIter, _ mapping: Mapping, at start: Int, _ system: CallTarget.FileSystem,
    _ size: Int, mustNotWait: Bool
  ) throws(Errno) -> Int {
    try testAlignment(iterator, position: start, length: mapping.byteCount)
    let whole = iterator.count
    iterator.truncate(to: mapping.byteCount)
    var copied = 0
    defer { iterator.reexpand(to: whole - copied) }
    let zeroes = call.isWrite && (mapping.isNew || mapping.kind == .unwritten)
    let pad = start & (Self.fileBlock - 1)
    if zeroes && pad > 0 { writeZeroes(at: start - pad, count: pad) }
    var failure: Errno?
    repeat {
      do throws(Errno) {
        copied += try moveBio(&iterator, at: start + copied, system, mustNotWait: mustNotWait)
      } catch {
        failure = error
        break
      }
    } while iterator.count > 0
    let end = start + copied
    if zeroes || (call.isWrite && end >= size) {
      let tail = end & (Self.fileBlock - 1)
      if tail > 0 { writeZeroes(at: end, count: Self.fileBlock - tail) }
    }
    if copied == 0, let failure { throw failure }
    return copied
  }

  /// Kernel: `iomap_dio_zero()`, fs/iomap/direct-io.c.
  private mutating func writeZeroes(at position: Int, count: Int) {
    var bio = CallBio(isWrite: true, sector: position >> 9, maxVectors: pooledVectors(1))
    let zero = rules.contains(.zeroesFromOwnFolio) ? nil : memory.map.table.zeroPage
    bio.vectors = [BioVec(page: zero ?? foreignPage, offset: 0, length: UInt32(count))]
    bio.byteCount = count
    _ = submit(&bio)
    // The zero page is nobody's: what a reference on it would do, is not counted.
    if rules.contains(.referencesUserPages) {
      record.releases.insert(BioEvent(bio: bio.number))
    }
  }

  /// Kernel: `iomap_dio_bio_iter_one()`, fs/iomap/direct-io.c, v7.0.
  private mutating func moveBio(
    _ iterator: inout IOVIter, at position: Int, _ system: CallTarget.FileSystem, mustNotWait: Bool
  ) throws(Errno) -> Int {
    let bounces =
      rules.contains(.bouncesStablePages)
      && (system == .btrfs ? call.isWrite : system == .xfs && limits.stableWrites)
    let wanted = bounces ? bounceVectors(iterator) : vectorsWanted(iterator, max: 256)
    var bio = CallBio(
      isWrite: call.isWrite, sector: position >> 9, maxVectors: pooledVectors(wanted))
    let dirties = !call.isWrite && iterator.isUserBacked
    if bounces {
      try bounce(
        &bio, from: &iterator, smallest: system == .btrfs ? Self.fileBlock : limits.logicalBlockSize
      )
    } else {
      try fill(&bio, from: &iterator)
      if dirties { noteDirtied(bio) }
    }
    if system == .btrfs && rules.contains(.clonesForChecksums) {
      return try moveClone(bio, dirties: dirties)
    }
    let status = submit(&bio)
    if bounces { unbounce(bio) } else { complete(bio, dirties: dirties) }
    if let status { throw status }
    return bio.byteCount
  }

  /// Sends a clone of the bio, and ends the bio itself, which was never sent.
  ///
  /// Kernel: `btrfs_submit_direct()`, fs/btrfs/inode.c, v6.1.
  private mutating func moveClone(_ bio: CallBio, dirties: Bool) throws(Errno) -> Int {
    var clone = bio
    clone.isClone = true
    clone.maxVectors = 0
    let status = submit(&clone)
    complete(bio, dirties: dirties)
    if let status { throw status }
    return bio.byteCount
  }
}
