// Direct I/O on a filesystem with checksums: tried without faults, and through the page cache where it cannot be direct.

import IOVector
import Memory

extension CallMachine {
  /// Pages that its readahead may ask for at once. Kernel: `open_ctree()`, fs/btrfs/disk-io.c, v6.1: 4 MiB.
  static var mostReadaheadPages: Int { 1024 }

  /// Kernel: `btrfs_direct_read()` and `btrfs_direct_write()`, fs/btrfs/file.c, v6.1, and direct-io.c, v6.12.
  mutating func checksummedTransfer(
    _ iterator: inout IOVIter, _ state: CallTarget.FileState, mustNotWait: Bool
  ) throws(Errno) -> Int {
    let size = state == .empty ? 0 : call.fileBytes
    if !call.isWrite && position >= size {
      record.decision = .nothingToDo
      return 0
    }
    if call.isWrite && rules.contains(.buffersChecksummedWrites) || !suitsBlocks(iterator) {
      return try bufferedTransfer(iterator, state, done: 0)
    }
    var done = 0
    var before = 0
    while iterator.count > 0 {
      isFaultFree = true
      let (moved, error) = movePart(&iterator, state, from: done)
      isFaultFree = false
      done += moved
      if let error, error != .badAddress { throw error }
      if iterator.count == 0 || (error == nil && moved == 0) { break }
      if error == nil && !call.isWrite && position + done >= size { break }
      let isStuck = iterator.count == before
      before = iterator.count
      if isStuck || (!call.isWrite && rules.contains(.readsAbsentBuffered)) {
        return try bufferedTransfer(iterator, state, done: done)
      }
      memory.faultIn()
    }
    return call.isWrite ? done : min(done, size - position)
  }

  /// One try at the common direct I/O, which may end in the middle.
  private mutating func movePart(
    _ iterator: inout IOVIter, _ state: CallTarget.FileState, from done: Int
  ) -> (moved: Int, failure: Errno?) {
    let whole = iterator.count
    let start = position
    position += done
    defer { position = start }
    do throws(Errno) {
      let moved = try fileTransfer(&iterator, .btrfs, state, mustNotWait: false)
      return (moved, nil)
    } catch { return (whole - iterator.count, error) }
  }

  /// Whether position, addresses and lengths are multiples of the filesystem's block, and no address comes twice.
  ///
  /// Kernel: `check_direct_IO()` and `check_direct_read()`, fs/btrfs/direct-io.c, v6.12.
  private func suitsBlocks(_ iterator: IOVIter) -> Bool {
    let mask = Self.fileBlock - 1
    if position & mask != 0 { return false }
    if Int(truncatingIfNeeded: iterator.alignment) & mask != 0 { return false }
    if call.isWrite { return true }
    let bases = call.segments.map(\.base)
    return Set(bases).count == bases.count
  }

  /// Transfers through the page cache, whose bios are as long as readahead and whole blocks make them.
  private mutating func bufferedTransfer(
    _ iterator: IOVIter, _ state: CallTarget.FileState, done: Int
  ) throws(Errno) -> Int {
    record.decision = .buffered
    let start = position + done
    let size = state == .empty ? 0 : call.fileBytes
    let count = call.isWrite ? iterator.count : min(iterator.count, max(0, size - start))
    var whole = iterator
    whole.truncate(to: count)
    let copied = finishBuffered(whole)
    record.decision = .buffered
    if call.isWrite {
      // All of a chunk must be readable before any of it is written.
      if copied < count { throw fail(.badAddress, .fault) }
      writeCache(start..<start + count, state)
      return done + count
    }
    if state == .written { readCache(start, count) }
    if copied == 0 && done == 0 && count > 0 { throw fail(.badAddress, .fault) }
    return done + copied
  }

  /// Kernel: `page_cache_sync_ra()` and `get_init_ra_size()`, mm/readahead.c.
  private mutating func readCache(_ start: Int, _ count: Int) {
    let first = start >> pageShift
    var pages = (start + count - 1) >> pageShift - first + 1
    if first == 0 {
      var size = 1
      while size < pages { size *= 2 }
      let most = Self.mostReadaheadPages
      pages = size <= most / 32 ? size * 4 : size <= most / 4 ? size * 2 : most
    }
    if cachedFilePages.isSuperset(of: first..<(start + count - 1) >> pageShift + 1) { return }
    let end = min((first + pages) * pageSize, call.fileBytes)
    cachedFilePages.formUnion(first..<(end + pageSize - 1) >> pageShift)
    submitCached(first * pageSize..<end, isWrite: false)
  }

  private mutating func writeCache(_ range: Range<Int>, _ state: CallTarget.FileState) {
    let block = Self.fileBlock
    let first = range.lowerBound / block * block
    let end = (range.upperBound + block - 1) / block * block
    if state == .written {
      // Blocks that are written in part are read first.
      if range.lowerBound > first { submitCached(first..<first + block, isWrite: false) }
      if range.upperBound < end && (end - block > first || range.lowerBound == first) {
        submitCached(end - block..<end, isWrite: false)
      }
    }
    submitCached(first..<end, isWrite: true)
  }

  private mutating func submitCached(_ range: Range<Int>, isWrite: Bool) {
    var bio = CallBio(isWrite: isWrite, sector: range.lowerBound >> 9, maxVectors: 256)
    bio.isCached = true
    bio.vectors = [BioVec(page: foreignPage, offset: 0, length: UInt32(range.count))]
    bio.byteCount = range.count
    _ = submit(&bio)
  }
}
