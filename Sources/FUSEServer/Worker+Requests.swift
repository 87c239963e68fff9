// Taking requests and answering them.

import Block
import CFuse3
import DirectIO
import Glibc
import Memory
import Volumes

extension Worker {
  /// From this size on a request is started at once, alone: copying it costs more than a system call.
  static var largeRequestBytes: Int { 128 << 10 }
  /// Small requests that are taken before their I/O is sent off together.
  static var batchLimit: Int { 16 }

  /// Takes what the kernel has ready, up to a batch.
  /// - Returns: how many requests were taken.
  func takeRequests() -> Int {
    var taken = 0
    // A lone request is not kept waiting for company; it is gathered only where there was some lately.
    let gathers = !engine.isImmediate && (lastTaken > 1 || engine.inFlightCount > 0)
    let limit = gathers ? Self.batchLimit : 1
    defer { lastTaken = taken }
    while taken < limit, let slot = takeSlot() {
      let buffer = unsafe receiveBuffer(slot: slot)
      switch unsafe polling.receive(into: buffer) {
      case .message(let count):
        taken &+= 1
        let isLarge = unsafe dispatch(
          slot: slot, message: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]),
          from: polling.descriptor)
        if isLarge { return taken }
      case .nothing:
        freeSlot(slot)
        return taken
      case .ended:
        freeSlot(slot)
        hasEnded = true
        return taken
      }
    }
    return taken
  }

  /// Where a slot's next message goes: placed so that a WRITE's payload starts at the shift that is asked for.
  func receiveBuffer(slot: Int) -> UnsafeMutableRawBufferPointer {
    let shift = server.shape.current.misalignment
    unsafe slots[slot].dataOffset = shift
    let length =
      max(MessageLayout.dataHeader + server.memory.maxIOBytes, MessageLayout.minimumReceive)
    return unsafe server.memory.map.table.memory(
      at: engine.payloadPage(slot).advanced(by: -1),
      offset: pageSize + shift - MessageLayout.dataHeader, length: length)
  }

  /// Starts whatever a message asks for.
  /// - Returns: whether it was a large transfer.
  func dispatch(
    slot: Int, message bytes: UnsafeMutableRawBufferPointer, from descriptor: Int32
  ) -> Bool {
    guard let message = unsafe IncomingMessage(UnsafeRawBufferPointer(bytes)) else {
      freeSlot(slot)
      return false
    }
    switch message.opcode {
    case Opcode.read, Opcode.write:
      guard let request = message.dataRequest(limit: server.memory.maxIOBytes) else {
        Reply.error(.invalidArgument, to: message.unique, on: descriptor)
        freeSlot(slot)
        return false
      }
      if ControlDirectory.owns(request.inode) {
        serveControl(request, payload: message.payload(of: request), from: descriptor)
        freeSlot(slot)
        return false
      }
      if request.isWrite && server.isFrozen {
        heldWrites.append((message.copy(), descriptor))
        freeSlot(slot)
        return false
      }
      start(request, slot: slot, from: descriptor)
      return request.length >= Self.largeRequestBytes
    case Opcode.interrupt:
      // Every request ends by itself in bounded time, so none is cut short; the protocol allows it.
      freeSlot(slot)
    case Opcode.ioctl where server.isFrozen && message.isPassThroughWrite:
      heldWrites.append((message.copy(), descriptor))
      freeSlot(slot)
    default:
      unsafe slots[slot].unique = message.unique
      unsafe serveByLibfuse(
        slot: slot, message: bytes, isControl: ControlDirectory.owns(message.inode),
        from: descriptor)
    }
    return false
  }

  /// Starts a READ or a WRITE.
  func start(_ request: DataRequest, slot: Int, from descriptor: Int32) {
    unsafe slots[slot].unique = request.unique
    unsafe slots[slot].inode = request.inode
    unsafe slots[slot].isWrite = request.isWrite
    unsafe slots[slot].descriptor = descriptor
    counters.add(.requestsInflight, 1)
    counters.record(request.length, in: .requestBytes)
    do throws(Errno) {
      let shape = server.shape.current
      let extent = try server.volume.extent(of: request.inode, at: request.offset)
      let length = min(request.length, extent.byteCount)
      unsafe slots[slot].requestedBytes = length
      if request.isWrite {
        if server.configuration.isReadOnly { throw .readOnlyFileSystem }
        if length == 0 && request.length > 0 { throw .noSpace }
      } else if shape.kind == .pipe {
        // A pipe's pages are filled from their starts.
        unsafe slots[slot].dataOffset = 0
      } else if unsafe slots[slot].dataOffset == 0 {
        // A read may land anywhere: where the offset in the block is kept, whole blocks need no bounce.
        unsafe slots[slot].dataOffset = request.offset & (server.device.limits.logicalBlockSize - 1)
      }
      unsafe engine.start(
        slot,
        DirectRequest(
          isWrite: request.isWrite, unique: request.unique, inode: request.inode,
          fileOffset: request.offset, deviceOffset: extent.deviceOffset, length: length,
          dataOffset: slots[slot].dataOffset, shape: shape, zeroing: server.zeroing))
    } catch {
      answer(FinishedRequest(index: slot, error: error, latencyNanoseconds: 0))
    }
  }

  /// Answers a request whose I/O is through, and frees its slot.
  func answer(_ finished: FinishedRequest) {
    let slot = unsafe slots[finished.index]
    if slot.passThrough != nil { return answerPassThrough(finished) }
    if let flush = unsafe slot.flushRequest {
      unsafe slots[finished.index].flushRequest = nil
      CurrentThread.descriptor = slot.descriptor
      unsafe fuse_reply_err(flush, finished.error?.rawValue ?? 0)
      CurrentThread.descriptor = -1
      freeSlot(finished.index)
      return
    }
    counters.add(.requestsInflight, -1)
    counters.add(slot.isWrite ? .requestsWrite : .requestsRead, 1)
    if let error = finished.error {
      counters.add(.ioErrors, 1)
      Reply.error(error, to: slot.unique, on: slot.descriptor)
    } else if slot.isWrite {
      counters.add(.bytesWritten, slot.requestedBytes)
      server.volume.noteWrite(slot.inode)
      Reply.written(slot.requestedBytes, to: slot.unique, on: slot.descriptor)
    } else {
      counters.add(.bytesRead, slot.requestedBytes)
      let payload = unsafe server.memory.map.table.memory(
        at: engine.payloadPage(finished.index), offset: slot.dataOffset,
        length: slot.requestedBytes)
      if let start = payload.baseAddress {
        unsafe Reply.data(
          start, byteCount: slot.requestedBytes, to: slot.unique, on: slot.descriptor)
      }
    }
    engine.release(finished.index)
    counters.record(finished.latencyNanoseconds, in: .latencyNanoseconds)
    freeSlot(finished.index)
  }

  /// Starts writes that were held while the mount was frozen, as long as slots are free.
  func releaseHeldWrites() {
    while !heldWrites.isEmpty, let slot = takeSlot() {
      let (bytes, descriptor) = heldWrites.removeFirst()
      let buffer = unsafe receiveBuffer(slot: slot)
      let place = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<bytes.count])
      unsafe place.copyBytes(from: bytes)
      _ = unsafe dispatch(slot: slot, message: place, from: descriptor)
      if server.isFrozen { return }
    }
  }

  /// Hands a message to libfuse, whose callbacks answer at once or start a flush.
  private func serveByLibfuse(
    slot: Int, message bytes: UnsafeMutableRawBufferPointer, isControl: Bool,
    from descriptor: Int32
  ) {
    if !isControl { counters.add(.requestsOther, 1) }
    currentSlot = slot
    unsafe slots[slot].descriptor = descriptor
    CurrentThread.descriptor = descriptor
    // libfuse reads structures in place: a shifted buffer is moved to where they are aligned.
    let start = unsafe server.memory.map.table.memory(
      at: engine.payloadPage(slot).advanced(by: -1), offset: 0,
      length: max(pageSize + MessageLayout.minimumReceive, bytes.count))
    let aligned = unsafe slots[slot].dataOffset % 8 == 0
    if !aligned, let target = start.baseAddress, let source = bytes.baseAddress {
      unsafe target.copyMemory(from: source, byteCount: min(bytes.count, start.count))
    }
    var buffer = unsafe fuse_buf()
    unsafe buffer.size = bytes.count
    unsafe buffer.mem = aligned ? bytes.baseAddress : start.baseAddress
    unsafe fuse_session_process_buf(server.session, &buffer)
    CurrentThread.descriptor = -1
    currentSlot = -1
    if unsafe slots[slot].flushRequest == nil { freeSlot(slot) }
  }

  /// Starts a flush for the libfuse request that is being served on this thread.
  func startFlush(answering request: fuse_req_t) {
    unsafe slots[currentSlot].flushRequest = unsafe request
    engine.startFlush(currentSlot)
  }
}
