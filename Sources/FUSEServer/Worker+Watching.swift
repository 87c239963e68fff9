// Looking at clients' buffers before writes are answered, and keeping writes in flight for longer.

import DirectIO
import Glibc
import Memory
import Volumes

extension Worker {
  /// Looks at a write's buffer, or keeps the write for a while first.
  /// - Returns: whether it is kept; it is answered later.
  func keepsForWatch(_ slot: Slot, error: Errno?) -> Bool {
    let request = slots[slot].data
    if !request.isWrite || !request.isDirect { return false }
    let hold = server.bufferWatch.holdMilliseconds
    if hold > 0 && !slots[slot].wasHeld {
      slots[slot].wasHeld = true
      pendingVolumeWork += 1
      server.holdQueue.post(after: hold, to: mailbox) { worker in
        worker.pendingVolumeWork -= 1
        worker.answer(slot, error: error)
      }
      return true
    }
    slots[slot].wasHeld = false
    if slots[slot].doneBytes > 0 { lookAtBuffer(slot) }
    return false
  }

  /// Compares what was written with what the program's buffer has now.
  private func lookAtBuffer(_ slot: Slot) {
    let request = slots[slot].data
    let thread = slots[slot].thread
    let length = slots[slot].doneBytes
    guard thread > 0,
      let buffer = ClientBuffer(
        of: thread, inode: request.inode, offset: request.offset, length: length)
    else { return counters.add(.buffersNotWatched, 1) }
    let written = unsafe memory.map.table.memory(
      at: memory.payloadPage(slot), offset: slots[slot].dataOffset, length: length)
    var now = [UInt8](repeating: 0, count: length)
    var done = 0
    for part in buffer.parts {
      let isRead = unsafe now.withUnsafeMutableBytes { bytes in
        unsafe ClientMemory.read(
          thread, at: part.address,
          into: UnsafeMutableRawBufferPointer(rebasing: bytes[done..<done + part.length]))
      }
      if !isRead { return counters.add(.buffersNotWatched, 1) }
      done += part.length
    }
    counters.add(.buffersWatched, 1)
    let isSame = unsafe now.withUnsafeBytes { bytes in
      unsafe memcmp(bytes.baseAddress!, written.baseAddress!, length) == 0
    }
    if isSame { return }
    note(slot, changes(in: now, from: unsafe Array(written), at: request.offset), buffer)
  }

  /// Where two texts differ: ranges, and how many bytes.
  private func changes(
    in now: [UInt8], from written: [UInt8], at offset: Int
  ) -> (ranges: [ChangedRange], bytes: Int) {
    let mostRanges = 16
    // Changes that lie closer than this are one.
    let gap = 16
    var ranges: [ChangedRange] = []
    var bytes = 0
    for place in now.indices where now[place] != written[place] {
      bytes += 1
      let position = offset + place
      if let last = ranges.last, position - (last.offset + last.length) < gap {
        ranges[ranges.count - 1].length = position + 1 - last.offset
      } else if ranges.count < mostRanges {
        ranges.append(ChangedRange(offset: position, length: 1))
      }
    }
    return (ranges, bytes)
  }

  private func note(
    _ slot: Slot, _ changes: (ranges: [ChangedRange], bytes: Int), _ buffer: ClientBuffer
  ) {
    let request = slots[slot].data
    let thread = slots[slot].thread
    counters.add(.unstableBuffers, 1)
    let command = ProcText.read("/proc/\(thread)/comm").split(separator: "\n").first ?? "?"
    let write = UnstableWrite(
      request: request.unique, thread: thread,
      command: String(command).replacing(" ", with: "_"),
      path: ProcText.link("/proc/\(thread)/fd/\(buffer.descriptor)"), inode: request.inode,
      offset: request.offset, length: slots[slot].doneBytes, changedBytes: changes.bytes,
      ranges: changes.ranges)
    server.bufferWatch.add(write)
    server.configuration.log(
      "\(write.command)[\(thread)] changed \(changes.bytes) bytes of its buffer while they were written to "
        + "\(write.path), from \(changes.ranges.first?.offset ?? 0) on")
    if trace.isOn {
      trace.note(
        TraceRecord(
          .unstable, at: monotonicNanoseconds(), request: request.unique, inode: request.inode,
          offset: changes.ranges.first?.offset ?? request.offset, length: changes.bytes))
    }
  }
}
