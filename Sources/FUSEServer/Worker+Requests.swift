// Serving requests: what the transport brought is decoded, started, and answered.

import Block
import CFuse3
import DirectIO
import Glibc
import Memory
import Volumes

extension Worker {
  /// From this size on a request is large: copying it costs more than a system call.
  static var largeRequestBytes: Int { 128 << 10 }

  /// Starts whatever a message asks for.
  /// - Parameters:
  ///   - slot: the slot in whose buffer the message lies.
  ///   - bytes: the message: header and arguments, in one piece.
  ///   - route: the way of the answer.
  /// - Returns: whether it was a large transfer.
  func dispatch(
    slot: Int, message bytes: UnsafeMutableRawBufferPointer, by route: AnswerRoute
  ) -> Bool {
    unsafe slots[slot].route = route
    guard let message = unsafe IncomingMessage(UnsafeRawBufferPointer(bytes)) else {
      transport.release(slot)
      return false
    }
    unsafe slots[slot].unique = message.unique
    switch message.opcode {
    case Opcode.read, Opcode.write:
      guard let request = message.dataRequest(limit: memory.maxIOBytes) else {
        transport.answer(slot, unique: message.unique, error: .invalidArgument)
        transport.release(slot)
        return false
      }
      if ControlDirectory.owns(request.inode) {
        serveControl(request, payload: message.payload(of: request), by: route)
        transport.release(slot)
        return false
      }
      if request.isWrite && holdsWrites {
        transport.hold(slot, message, by: route)
        return false
      }
      start(request, slot: slot)
      return request.length >= Self.largeRequestBytes
    case Opcode.interrupt:
      // Every request ends by itself in bounded time, so none is cut short; the protocol allows it.
      transport.release(slot)
    case Opcode.ioctl where holdsWrites && message.isPassThroughWrite:
      transport.hold(slot, message, by: route)
    default:
      unsafe serveByLibfuse(
        slot: slot, message: bytes, isControl: ControlDirectory.owns(message.inode), by: route)
    }
    return false
  }

  /// Whether writes must wait for a thaw. At the mount's end nobody can ask for one any more.
  private var holdsWrites: Bool { server.isFrozen && !hasEnded }

  /// Starts a READ or a WRITE.
  private func start(_ request: DataRequest, slot: Int) {
    unsafe slots[slot].inode = request.inode
    unsafe slots[slot].isWrite = request.isWrite
    counters.add(.requestsInflight, 1)
    counters.record(request.length, in: .requestBytes)
    do throws(Errno) {
      let shape = shape.current
      let extent = try volume.extent(of: request.inode, at: request.offset)
      let length = min(request.length, extent.byteCount)
      unsafe slots[slot].requestedBytes = length
      if request.isWrite {
        if isReadOnly { throw .readOnlyFileSystem }
        if length == 0 && request.length > 0 { throw .noSpace }
      } else if shape.kind == .pipe {
        // A pipe's pages are filled from their starts.
        unsafe slots[slot].dataOffset = 0
      } else if unsafe slots[slot].dataOffset == 0 {
        // A read may land anywhere: where the offset in the block is kept, whole blocks need no bounce.
        unsafe slots[slot].dataOffset = request.offset & blockMask
      }
      unsafe engine.start(
        Slot(slot),
        DirectRequest(
          isWrite: request.isWrite, unique: RequestNumber(request.unique), inode: request.inode,
          fileOffset: request.offset, deviceOffset: extent.deviceOffset, length: length,
          dataOffset: slots[slot].dataOffset, shape: shape, zeroing: zeroing,
          gate: server.gate))
    } catch {
      answer(FinishedRequest(slot: Slot(slot), error: error, latencyNanoseconds: 0))
    }
  }

  /// Answers a request whose I/O is through, and frees its slot.
  func answer(_ finished: FinishedRequest) {
    let index = finished.slot.number
    let slot = unsafe slots[index]
    if slot.passThrough != nil { return answerPassThrough(finished) }
    if let flush = unsafe slot.flushRequest {
      unsafe slots[index].flushRequest = nil
      CurrentThread.route = slot.route
      unsafe fuse_reply_err(flush, finished.error?.rawValue ?? 0)
      CurrentThread.route = .none
      transport.release(index)
      return
    }
    counters.add(.requestsInflight, -1)
    counters.add(slot.isWrite ? .requestsWrite : .requestsRead, 1)
    if let error = finished.error {
      counters.add(.ioErrors, 1)
      transport.answer(index, unique: slot.unique, error: error)
    } else if slot.isWrite {
      counters.add(.bytesWritten, slot.requestedBytes)
      volume.noteWrite(slot.inode)
      transport.answer(index, unique: slot.unique, written: slot.requestedBytes)
    } else {
      counters.add(.bytesRead, slot.requestedBytes)
      transport.answer(
        index, unique: slot.unique, dataAt: slot.dataOffset, byteCount: slot.requestedBytes)
    }
    engine.release(finished.slot)
    counters.record(finished.latencyNanoseconds, in: .latencyNanoseconds)
    transport.release(index)
  }

  /// Hands a message to libfuse, whose callbacks answer at once or start a flush.
  private func serveByLibfuse(
    slot: Int, message bytes: UnsafeMutableRawBufferPointer, isControl: Bool, by route: AnswerRoute
  ) {
    if !isControl { counters.add(.requestsOther, 1) }
    currentSlot = slot
    CurrentThread.route = route
    // libfuse reads structures in place: a shifted buffer is moved to where they are aligned.
    let start = unsafe server.memory.map.table.memory(
      at: engine.payloadPage(Slot(slot)).advanced(by: -1), offset: 0,
      length: max(pageSize + MessageLayout.minimumReceive, bytes.count))
    let aligned = Int(bitPattern: bytes.baseAddress) % 8 == 0
    if !aligned, let target = start.baseAddress, let source = bytes.baseAddress {
      unsafe target.copyMemory(from: source, byteCount: min(bytes.count, start.count))
    }
    var buffer = unsafe fuse_buf()
    unsafe buffer.size = bytes.count
    unsafe buffer.mem = aligned ? bytes.baseAddress : start.baseAddress
    unsafe fuse_session_process_buf(server.session, &buffer)
    CurrentThread.route = .none
    currentSlot = -1
    if unsafe slots[slot].flushRequest == nil { transport.release(slot) }
  }

  /// Starts a flush for the libfuse request that is being served on this thread.
  func startFlush(answering request: fuse_req_t) {
    unsafe slots[currentSlot].flushRequest = unsafe request
    engine.startFlush(Slot(currentSlot))
  }
}
