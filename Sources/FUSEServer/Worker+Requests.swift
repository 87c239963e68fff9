// Serving requests: what the transport brought is decoded and started, here or by libfuse.

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
    slot: Slot, message bytes: MemoryWindow, by route: AnswerRoute
  ) -> Bool {
    slots[slot].route = route
    guard let message = IncomingMessage(bytes) else {
      transport.release(slot)
      return false
    }
    slots[slot].unique = RequestNumber(message.unique)
    switch message.opcode {
    case Opcode.read, Opcode.write: return dispatchData(slot, message, by: route)
    case Opcode.interrupt:
      // Every request ends by itself in bounded time, so none is cut short; the protocol allows it.
      transport.release(slot)
    default:
      let isControl = ControlDirectory.owns(message.inode)
      let isChange =
        !isControl && (Opcode.changesVolume(message.opcode) || message.isPassThroughWrite)
      if isChange && !enterChange(slot) {
        transport.hold(slot, message, by: route)
        return false
      }
      if !isControl { counters.add(.requestsOther, 1) }
      serve(slot, bytes, message, by: route)
    }
    return false
  }

  /// A READ or a WRITE.
  private func dispatchData(_ slot: Slot, _ message: IncomingMessage, by route: AnswerRoute) -> Bool
  {
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
    if request.isWrite && !enterChange(slot) {
      transport.hold(slot, message, by: route)
      return false
    }
    start(request, slot: slot)
    return request.length >= Self.largeRequestBytes
  }

  // MARK: The mount's gate

  /// Counts a slot's request as a change under way.
  /// - Returns: false while the mount is frozen; then it has to wait.
  private func enterChange(_ slot: Slot) -> Bool {
    slots[slot].isChange = server.changes.enter(lane: index)
    return slots[slot].isChange
  }

  /// A slot's change is through, or was none.
  func leaveChange(_ slot: Slot) {
    if !slots[slot].isChange { return }
    slots[slot].isChange = false
    server.changes.leave(lane: index)
  }

  /// Takes over the change of the request that libfuse is looking at.
  /// - Returns: the lane in which it is to be counted out, or nil if it is none.
  func takeChange() -> Int? {
    guard let slot = currentSlot, slots[slot].isChange else { return nil }
    slots[slot].isChange = false
    return index
  }

  // MARK: By libfuse

  /// Hands a message to libfuse, whose callbacks answer at once, elsewhere, or give the slot a job.
  private func serve(
    _ slot: Slot, _ bytes: MemoryWindow, _ message: IncomingMessage, by route: AnswerRoute
  ) {
    currentSlot = slot
    CurrentThread.route = route
    if message.opcode == Opcode.temporaryFile {
      serveTemporaryFile(message)
    } else {
      server.session.process(aligned(bytes, slot: slot))
    }
    CurrentThread.route = .none
    currentSlot = nil
    if slots[slot].job == .none {
      leaveChange(slot)
      transport.release(slot)
    }
  }

  /// libfuse reads structures in place: a shifted message is moved to where they are aligned.
  private func aligned(_ bytes: MemoryWindow, slot: Slot) -> MemoryWindow {
    if bytes.address % 8 == 0 { return bytes }
    let room = memory.messageRoom(slot, byteCount: bytes.count)[0..<bytes.count]
    room.copy(bytes)
    return room
  }

  /// FUSE_TMPFILE, which libfuse 3.14 does not know: decoded and answered here, without a libfuse request.
  private func serveTemporaryFile(_ message: IncomingMessage) {
    let (server, route, unique, parent) = (
      server, CurrentThread.route, message.unique, message.inode
    )
    // `struct fuse_create_in`: flags and mode; the kernel has applied the umask.
    let start = MessageLayout.requestHeader
    if message.byteCount < start + 16 {
      return server.send(error: .invalidArgument, to: unique, by: route)
    }
    let (flags, mode) = (message.word(at: start), message.word(at: start + 4))
    let caller = message.caller
    let make: @Sendable () -> Void = {
      do throws(Errno) {
        let answer = try server.createUnnamed(in: parent, mode: mode, flags: flags, by: caller)
        server.send(bytes: answer[...], to: unique, by: route)
      } catch {
        server.send(error: error, to: unique, by: route)
      }
    }
    if traits.answersAtOnce { return make() }
    let lane = takeChange()
    server.volumeQueue.async {
      make()
      if let lane { server.changes.leave(lane: lane) }
    }
  }
}
