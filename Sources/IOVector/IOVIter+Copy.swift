// Copying between an iterator's buffer and plain bytes, by the processor.

import Memory

extension IOVIter {
  /// Copies bytes into the buffer and advances past them.
  ///
  /// - Returns: bytes copied: fewer than asked at the end or at the first byte that cannot be accessed; 0 if the
  ///   iterator is a source.
  ///
  /// Kernel: `copy_to_iter()`, lib/iov_iter.c, v6.6.
  public mutating func copyTo(_ source: RawSpan, in context: MemoryContext) -> Int {
    if direction == .source { return 0 }
    return unsafe source.withUnsafeBytes { bytes in
      unsafe transfer(bytes.count, writes: true, in: context) { chunk, done in
        unsafe chunk.copyMemory(
          from: UnsafeRawBufferPointer(rebasing: bytes[done..<done + chunk.count]))
      }
    }
  }

  /// Copies bytes out of the buffer and advances past them.
  ///
  /// - Returns: bytes copied: fewer than asked at the end or at the first byte that cannot be accessed; 0 if the
  ///   iterator is a destination.
  ///
  /// Kernel: `copy_from_iter()`, lib/iov_iter.c, v6.6.
  public mutating func copyFrom(
    _ destination: inout MutableRawSpan, in context: MemoryContext
  ) -> Int {
    if direction == .destination { return 0 }
    return unsafe destination.withUnsafeMutableBytes { bytes in
      unsafe transfer(bytes.count, writes: false, in: context) { chunk, done in
        unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[done..<done + chunk.count])
          .copyMemory(from: UnsafeRawBufferPointer(chunk))
      }
    }
  }

  /// Fills the buffer with zeroes and advances past them; the direction is not asked for, as in the kernel.
  ///
  /// - Parameter byteCount: bytes.
  /// - Returns: bytes filled.
  ///
  /// Kernel: `iov_iter_zero()`, lib/iov_iter.c, v6.6.
  public mutating func zero(_ byteCount: Int, in context: MemoryContext) -> Int {
    unsafe transfer(byteCount, writes: true, in: context) { chunk, _ in
      unsafe chunk.initializeMemory(as: UInt8.self, repeating: 0)
    }
  }

  /// Hands each accessible piece of the next bytes to `body`, and moves past them.
  ///
  /// Unlike `advance`, it comes to rest at the start of the next segment, even if that is empty.
  @inline(__always)
  private mutating func transfer(
    _ byteCount: Int, writes: Bool, in context: MemoryContext,
    _ body: (_ chunk: UnsafeMutableRawBufferPointer, _ done: Int) -> Void
  ) -> Int {
    let limit = min(byteCount, count)
    if limit <= 0 { return 0 }
    let walk = Walk(context: context, writes: writes)
    var done = 0
    switch kind {
    case .ubuf:
      done = unsafe walk.user(start &+ UInt64(offset), limit, 0, body)
      offset &+= done
    case .iovec, .kvec, .bvec, .folioq: done = unsafe transferSegments(limit, walk, body)
    case .xarray:
      done = unsafe transferCache(limit, walk, body)
      offset &+= done
    case .pipe: return unsafe transferPipe(limit, walk, body)
    case .discard: done = limit
    }
    count &-= done
    return done
  }

  private mutating func transferSegments(
    _ limit: Int, _ walk: Walk, _ body: (UnsafeMutableRawBufferPointer, Int) -> Void
  ) -> Int {
    var done = 0
    while done < limit && segmentsLeft > 0 {
      let length = segmentLength(segmentIndex)
      let wanted = min(limit &- done, length &- offset)
      let moved = unsafe transferSegment(segmentIndex, wanted, done, walk, body)
      done &+= moved
      offset &+= moved
      if offset < length { break }
      offset = 0
      segmentsLeft &-= 1
    }
    return done
  }

  private func transferSegment(
    _ index: Int, _ length: Int, _ done: Int, _ walk: Walk,
    _ body: (UnsafeMutableRawBufferPointer, Int) -> Void
  ) -> Int {
    switch kind {
    case .bvec, .folioq:
      let segment = bioVector(index)
      return unsafe walk.pages(segment.page, Int(segment.offset) &+ offset, length, done, body)
    case .kvec: return unsafe walk.kernel(vector(index).base &+ UInt64(offset), length, done, body)
    default: return unsafe walk.user(vector(index).base &+ UInt64(offset), length, done, body)
    }
  }

  private func transferCache(
    _ limit: Int, _ walk: Walk, _ body: (UnsafeMutableRawBufferPointer, Int) -> Void
  ) -> Int {
    var cursor = xarrayCursor
    var skip = Int((start &+ UInt64(offset)) & UInt64(pageSize - 1))
    var done = 0
    while done < limit, let run = cursor.nextRun(limit: pageCount(covering: skip &+ limit &- done))
    {
      let wanted = min(limit &- done, run.count &* pageSize &- skip)
      let moved = unsafe walk.pages(run.first, skip, wanted, done, body)
      done &+= moved
      if moved < wanted { break }
      skip = 0
    }
    return done
  }

  /// Kernel: `copy_pipe_to_iter()`, lib/iov_iter.c, v6.4.
  private mutating func transferPipe(
    _ limit: Int, _ walk: Walk, _ body: (UnsafeMutableRawBufferPointer, Int) -> Void
  ) -> Int {
    var list = PageList(runCapacity: 2)
    var done = 0
    while done < limit {
      let begin = pipePages.offset
      list.removeAll()
      guard let bytes = appendOnePage(limit - done, into: &list) else { break }
      let moved = unsafe walk.pages(list.page(at: 0), begin, bytes, done, body)
      done += moved
      if moved < bytes {
        revert(by: bytes - moved)
        break
      }
    }
    return done
  }

  private mutating func appendOnePage(_ size: Int, into list: inout PageList) -> Int? {
    do throws(Errno) { return try appendToPipe(size, maxPages: 1, into: &list) } catch {
      return nil
    }
  }
}

/// Walks the bytes behind addresses and pages, piece by piece, until one cannot be accessed.
private struct Walk {
  let context: MemoryContext
  let writes: Bool

  /// User memory, page by page; a page is faulted in when its turn comes.
  func user(
    _ address: UInt64, _ length: Int, _ before: Int,
    _ body: (UnsafeMutableRawBufferPointer, Int) -> Void
  ) -> Int {
    var done = 0
    while done < length {
      let (position, overflow) = address.addingReportingOverflow(UInt64(done))
      guard !overflow, let page = context.userPage(at: position, write: writes) else { break }
      let skip = Int(position & UInt64(pageSize - 1))
      let wanted = min(length - done, pageSize - skip)
      let moved = unsafe pages(page, skip, wanted, before + done, body)
      done += moved
      if moved < wanted { break }
    }
    return done
  }

  /// Kernel memory, page by page.
  func kernel(
    _ address: UInt64, _ length: Int, _ before: Int,
    _ body: (UnsafeMutableRawBufferPointer, Int) -> Void
  ) -> Int {
    var done = 0
    while done < length {
      let position = address &+ UInt64(done)
      guard let page = context.kernel.mappedPage(at: position) else { break }
      let skip = Int(position & UInt64(pageSize - 1))
      let wanted = min(length - done, pageSize - skip)
      let moved = unsafe pages(page, skip, wanted, before + done, body)
      done += moved
      if moved < wanted { break }
    }
    return done
  }

  /// Physically contiguous memory, in one piece, as far as the page table goes.
  func pages(
    _ page: Page, _ offset: Int, _ length: Int, _ before: Int,
    _ body: (UnsafeMutableRawBufferPointer, Int) -> Void
  ) -> Int {
    let start = page.number &* pageSize &+ offset
    let there = min(length, context.pages.count &* pageSize &- start)
    if there <= 0 || !context.pages.hasMemory { return 0 }
    unsafe body(context.pages.memory(at: page, offset: offset, length: there), before)
    return there
  }
}
