// Filling a bio from an iterator: extraction after extraction, until the iterator is empty or the table is full.

import IOVector
import Memory

extension Bio {
  /// Takes pages from an iterator until it is empty or the bio is full.
  ///
  /// The bio notes how its pages are to be released. A `bvec` iterator's table is shared, unless the policy
  /// forces something on its pages; that table then stays in place until the bio has ended.
  /// - Parameters:
  ///   - iterator: moved past what the bio holds afterwards.
  ///   - limits: the device's; each extraction is cut to whole logical blocks.
  ///   - policy: what is taken on the pages.
  /// - Throws: if not even one page could be added: the error of the extraction, `.badAddress` for an empty iterator
  ///   or less than a block, `.invalidArgument` if a limit of zone append forbids it, `.ioError` for a bio whose
  ///   table is shared. Nothing is held then.
  ///
  /// Kernel: `bio_iov_iter_get_pages()`, block/bio.c, v6.6.
  public mutating func fill(
    from iterator: inout IOVIter, limits: QueueLimits = QueueLimits(),
    policy: CleanupPolicy = .auto
  ) throws(Errno) {
    if flags.contains(.cloned) { throw .ioError }
    let context = self.context
    let policy = context.bugs.isEmpty ? policy : policy.misread(context.bugs, for: iterator)
    if iterator.kind == .bvec && policy == .auto {
      share(&iterator, limits: limits, context)
    } else {
      let legacy = context.era.referencesUserPages && policy == .auto
      let mode = legacy ? .get : policy.mode(for: iterator)
      unsafe slot.pointee.flags.formUnion(BioFlags(cleanupMode: mode))
      repeat {
        do throws(Errno) {
          try fillOnce(from: &iterator, limits: limits, policy: policy, legacy: legacy, context)
        } catch {
          if vectorCount == 0 { throw error }
          break
        }
      } while iterator.count > 0 && vectorCount < vectorCapacity
    }
    context.counters.add(.bios, 1)
    context.counters.record(byteCount, in: .bioBytes)
  }

  /// Uses a `bvec` iterator's own table: nothing is copied, counted or released.
  ///
  /// Kernel: `bio_iov_bvec_set()`, block/bio.c, v6.6.
  private mutating func share(
    _ iterator: inout IOVIter, limits: QueueLimits, _ context: MemoryContext
  ) {
    var size = iterator.count
    if operation == .zoneAppend { size = min(size, Int(limits.maxZoneAppendSectors) << 9) }
    size = Int(UInt32(truncatingIfNeeded: size))
    let listed = iterator.npages(max: .max, maxBytes: size)
    context.counters.add(.simPagesListed, listed)
    context.counters.add(.pagesListed, kind: Int(IOVIter.Kind.bvec.rawValue), listed)
    let vectors = unsafe iterator.remainingBioVectors
    unsafe slot.pointee.table = vectors.baseAddress
    unsafe slot.pointee.tableCount = vectors.count
    unsafe slot.pointee.vectorCount = vectors.count
    unsafe slot.pointee.iterator.done = UInt32(truncatingIfNeeded: iterator.offset)
    unsafe slot.pointee.iterator.size = UInt32(size)
    unsafe slot.pointee.flags.insert(.cloned)
    iterator.advance(by: size)
  }

  /// One extraction.
  ///
  /// Kernel: `__bio_iov_iter_get_pages()`, block/bio.c, v6.6.
  private mutating func fillOnce(
    from iterator: inout IOVIter, limits: QueueLimits, policy: CleanupPolicy,
    legacy: Bool, _ context: MemoryContext
  ) throws(Errno) {
    let room = vectorCapacity &- vectorCount
    let maxBytes = Int(UInt32.max &- self.iterator.size)
    unsafe slot.pointee.pool.pointee.scratch.removeAll()
    let bytes: Int
    let offset: Int
    if legacy {
      (bytes, offset) = try unsafe iterator.getPages(
        into: &slot.pointee.pool.pointee.scratch, maxBytes: maxBytes, maxPages: room,
        flags: limits.allowsPeerToPeerDMA ? .allowP2PDMA : [], in: context)
    } else {
      (bytes, offset) = try unsafe iterator.extractPages(
        into: &slot.pointee.pool.pointee.scratch, maxBytes: maxBytes, maxPages: room,
        flags: limits.allowsPeerToPeerDMA ? .allowP2PDMA : [], policy: policy, in: context)
    }
    if bytes == 0 { throw .badAddress }
    // Each extraction is cut to whole blocks, not the bio: the rest goes back to the iterator.
    let cut = limits.logicalBlockSize == 0 ? 0 : bytes & (limits.logicalBlockSize &- 1)
    iterator.revert(by: cut)
    if operation == .zoneAppend || context.pages.hasPeerToPeerPages {
      let left = addPageByPage(bytes &- cut, from: offset, limits: limits, context)
      iterator.revert(by: left)
      if left > 0 { throw .invalidArgument }
    } else if context.era.rules.contains(.mergesPieces) {
      addRuns(bytes &- cut, from: offset, context)
    } else {
      addFolioParts(bytes &- cut, from: offset, context)
    }
    if bytes == cut { throw .badAddress }
  }

  /// Adds whole runs: within a run each page follows the one before, so the run is one piece.
  ///
  /// Pages beyond the bytes wanted are released.
  @inline(__always)
  private mutating func addRuns(_ byteCount: Int, from offset: Int, _ context: MemoryContext) {
    let mode = flags.cleanupMode
    var left = byteCount
    var skip = offset
    for index in 0..<scratchRunCount {
      let run = scratchRun(index)
      let length = min(run.count &* pageSize &- skip, left)
      let used = length == 0 ? 0 : pageCount(covering: skip &+ length)
      if length > 0 {
        let part = BioVec(page: run.first, offset: UInt32(skip), length: UInt32(length))
        addPiece(part, pageCount: used, mode: mode, context)
      }
      if used < run.count {
        context.release(
          PageRun(first: run.first.advanced(by: used), count: run.count &- used), mode: mode)
      }
      left &-= length
      skip = 0
    }
  }

  /// Adds a segment for each folio's part of a run: nothing is merged, and every page keeps its pin.
  ///
  /// Pages beyond the bytes wanted are released.
  ///
  /// Kernel: `iov_iter_extract_bvecs()` and `get_contig_folio_len()`, lib/iov_iter.c, v7.3.
  @inline(never)
  private mutating func addFolioParts(
    _ byteCount: Int, from offset: Int, _ context: MemoryContext
  ) {
    let pages = context.pages
    var left = byteCount
    var skip = offset
    for index in 0..<scratchRunCount {
      let run = scratchRun(index)
      var used = 0
      while used < run.count && left > 0 {
        let first = run.first.advanced(by: used)
        var count = 1
        if pages.contains(first) && pages.isCompound(first) {
          let folioEnd = pages.head(of: first).number + (1 << pages.order(of: first))
          count = min(run.count &- used, folioEnd &- first.number)
        }
        let length = min(count &* pageSize &- skip, left)
        appendVector(BioVec(page: first, offset: UInt32(skip), length: UInt32(length)))
        let touched = Memory.pageCount(covering: skip &+ length)
        noteAddition(.newVector, pageCount: touched, context)
        used &+= touched
        left &-= length
        skip = 0
      }
      context.release(
        PageRun(first: run.first.advanced(by: used), count: run.count &- used),
        mode: flags.cleanupMode)
    }
  }

  /// Adds a piece; a page that the last segment holds already gives its second pin back at once.
  ///
  /// Kernel: `bio_iov_add_page()`, block/bio.c, v6.6.
  @inline(__always)
  private mutating func addPiece(
    _ part: BioVec, pageCount: Int, mode: FollFlags, _ context: MemoryContext
  ) {
    let addition = merge(part)
    if addition == .refused {
      appendVector(part)
      noteAddition(.newVector, pageCount: pageCount, context)
      return
    }
    if addition == .mergedSamePage && !context.bugs.contains(.mergeKeepsPin) {
      context.release(PageRun(first: part.page, count: 1), mode: mode)
    }
    noteAddition(addition, pageCount: pageCount, context)
  }

  /// Adds page after page, because a limit or the nature of a page may forbid the next one.
  ///
  /// - Returns: bytes that could not be added; their pages are released.
  ///
  /// Kernel: `bio_iov_add_zone_append_page()`, block/bio.c, v6.6.
  private mutating func addPageByPage(
    _ byteCount: Int, from offset: Int, limits: QueueLimits, _ context: MemoryContext
  ) -> Int {
    let hardware = operation == .zoneAppend
    return addEachPage(byteCount, from: offset, context) { bio, part in
      if hardware {
        return bio.addHardware(part, limits: limits, maxSectors: limits.maxZoneAppendSectors)
      }
      let merged = bio.merge(part)
      if merged == .refused { bio.appendVector(part) }
      return merged == .refused ? .newVector : merged
    }
  }

  /// Hands the scratch list's pages to `add` one by one until it refuses; releases what was not added.
  @inline(__always)
  mutating func addEachPage(
    _ byteCount: Int, from offset: Int, _ context: MemoryContext,
    _ add: (inout Bio, BioVec) -> Addition
  ) -> Int {
    let mode = flags.cleanupMode
    var left = byteCount
    var skip = offset
    for index in 0..<scratchRunCount {
      let run = scratchRun(index)
      var used = 0
      while used < run.count && left > 0 {
        let page = run.first.advanced(by: used)
        let length = min(pageSize &- skip, left)
        let part = BioVec(page: page, offset: UInt32(skip), length: UInt32(length))
        let addition = add(&self, part)
        if addition == .refused {
          releaseScratch(fromRun: index, page: used, mode: mode, context)
          return left
        }
        if addition == .mergedSamePage && !context.bugs.contains(.mergeKeepsPin) {
          context.release(PageRun(first: page, count: 1), mode: mode)
        }
        noteAddition(addition, pageCount: 1, context)
        used &+= 1
        left &-= length
        skip = 0
      }
      if left == 0 {
        releaseScratch(fromRun: index, page: used, mode: mode, context)
        return 0
      }
    }
    return left
  }

  /// Releases the pages of the scratch list from a place on.
  func releaseScratch(
    fromRun first: Int, page: Int, mode: FollFlags, _ context: MemoryContext
  ) {
    var skip = page
    for index in first..<scratchRunCount {
      let run = scratchRun(index)
      context.release(
        PageRun(first: run.first.advanced(by: skip), count: run.count - skip), mode: mode)
      skip = 0
    }
  }

  @inline(__always)
  private var scratchRunCount: Int { unsafe slot.pointee.pool.pointee.scratch.runCount }

  @inline(__always)
  private func scratchRun(_ index: Int) -> PageRun {
    unsafe slot.pointee.pool.pointee.scratch.run(at: index)
  }

  @inline(__always)
  func noteAddition(_ addition: Addition, pageCount: Int, _ context: MemoryContext) {
    let merges = addition == .newVector ? pageCount &- 1 : pageCount
    if addition == .newVector { context.counters.add(.bvecs, 1) }
    if merges > 0 { context.counters.add(.bvecMerges, merges) }
    if addition == .mergedSamePage && !context.bugs.contains(.mergeKeepsPin) {
      context.counters.add(.samePageMerges, 1)
    }
  }
}
