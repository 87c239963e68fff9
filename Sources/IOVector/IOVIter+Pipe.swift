// The pipe kind: extraction appends pages, advancing cuts the pipe to what was used, moving back drops pages.

import Memory

extension IOVIter {
  @unsafe var pipe: UnsafeMutablePointer<PipeState> {
    guard kind == .pipe, let table = unsafe table else {
      preconditionFailure("an iterator without a pipe")
    }
    // SAFETY: the kind is made from the state of a `PipeBuffer` only, which is allocated as mutable.
    return unsafe UnsafeMutablePointer(
      mutating: table.assumingMemoryBound(to: PipeState.self))
  }

  /// How many pages can still be filled, and from which byte of the first.
  ///
  /// Kernel: `pipe_npages()`, lib/iov_iter.c, v6.4.
  var pipePages: (count: Int, offset: Int) {
    let free = unsafe pipe.pointee.capacity - pipe.pointee.used
    if offset > 0 && offset < pageSize { return (free + 1, offset) }
    return (free, 0)
  }

  /// Appends room for data to the pipe: the rest of the last page, then new pages.
  ///
  /// - Returns: bytes appended; the pages are put into the list.
  /// - Throws: `.badAddress` if the pipe is full or its supply used up, `.noMemory` if no page is wanted.
  ///
  /// Kernel: `append_pipe()` and `iov_iter_extract_pipe_pages()`, lib/iov_iter.c, v6.4 and v8 series.
  mutating func appendToPipe(
    _ size: Int, maxPages: Int, into list: inout PageList
  ) throws(Errno) -> Int {
    let room = pipePages
    if room.count <= 0 { throw .badAddress }
    let wanted = min(pageCount(covering: room.offset + size), min(room.count, maxPages))
    if wanted == 0 { throw .noMemory }
    var left = min(size, wanted * pageSize - room.offset)
    var appended = 0
    if room.offset > 0 {
      appended = min(left, pageSize - room.offset)
      let last = unsafe pipe.pointee.slot(pipe.pointee.head - 1)
      unsafe last.pointee.length += appended
      offset += appended
      list.append(unsafe last.pointee.page)
      left -= appended
    }
    let supply = unsafe pipe.pointee.supply.count - pipe.pointee.supplied
    let pages = min(pageCount(covering: left), supply)
    if pages > 0 {
      let bytes = min(left, pages * pageSize)
      list.append(unsafe pipe.pointee.push(pageCount: pages, byteCount: bytes))
      pipeHead = unsafe pipe.pointee.head - 1
      offset = bytes - (pages - 1) * pageSize
      appended += bytes
    }
    if appended == 0 { throw .badAddress }
    count -= appended
    return appended
  }

  /// Kernel: `pipe_advance()`, lib/iov_iter.c, v6.4.
  mutating func advancePipe(_ size: Int) {
    if offset == 0 && size == 0 {
      unsafe pipe.pointee.discard(from: pipeStartHead)
      return
    }
    count -= size
    var left = size + offset
    while unsafe pipeHead < pipe.pointee.head {
      let slot = unsafe pipe.pointee.slot(pipeHead)
      if unsafe left <= slot.pointee.length {
        unsafe slot.pointee.length = left
        offset = left
        break
      }
      left -= unsafe slot.pointee.length
      pipeHead += 1
    }
    unsafe pipe.pointee.discard(from: pipeHead + 1)
  }

  /// Kernel: the pipe part of `iov_iter_revert()`, lib/iov_iter.c, v6.4.
  mutating func revertPipe(_ byteCount: Int) {
    var left = byteCount
    var head = unsafe pipe.pointee.head
    while head > pipeStartHead {
      head -= 1
      let slot = unsafe pipe.pointee.slot(head)
      if unsafe left < slot.pointee.length {
        unsafe slot.pointee.length -= left
        offset = unsafe slot.pointee.length
        pipeHead = head
        return
      }
      left -= unsafe slot.pointee.length
      unsafe pipe.pointee.discard(from: head)
    }
    offset = 0
    pipeHead = head
  }
}
