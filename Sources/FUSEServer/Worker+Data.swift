// Reads and writes: where the range lies is asked of the volume, the engine moves it, the volume finishes it, and the
// answer leaves. A range of more extents than a slot's list holds is moved in rounds.

import Block
import DirectIO
import Glibc
import IOVector
import Memory
import Volumes

extension Worker {
  // MARK: Starting

  /// Starts a READ or a WRITE.
  func start(_ request: DataRequest, slot: Slot) {
    slots[slot].job = .data
    slots[slot].data = request
    slots[slot].doneBytes = 0
    slots[slot].roundBytes = 0
    slots[slot].endsShort = false
    slots[slot].arrivalNanoseconds = monotonicNanoseconds()
    slots[slot].latencyNanoseconds = 0
    counters.add(.requestsInflight, 1)
    counters.record(request.length, in: .requestBytes)
    if isDebugging { trace(request, "") }
    if request.isWrite && isReadOnly { return answer(slot, error: .readOnlyFileSystem) }
    chooseDataOffset(slot)
    startRound(slot)
  }

  /// A read may land anywhere in its buffer: where the offset in the block is kept, whole blocks need no bounce.
  private func chooseDataOffset(_ slot: Slot) {
    let request = slots[slot].data
    if request.isWrite { return }
    if shape.current.kind == .pipe {
      // A pipe's pages are filled from their starts.
      slots[slot].dataOffset = 0
    } else if slots[slot].dataOffset == 0 {
      slots[slot].dataOffset = request.offset & blockMask
    }
  }

  /// Asks where what is left lies, and has it moved.
  private func startRound(_ slot: Slot) {
    let age = traits.allocatesBlocks ? mappingAge(slot) : nil
    do throws(Errno) {
      if try fillExtents(slot, mayBlock: false) { return move(slot, mappingAge: age) }
    } catch {
      return answer(slot, error: error)
    }
    fillExtentsLater(slot) { worker, error in
      if let error { return worker.answer(slot, error: error) }
      worker.move(slot, mappingAge: age, beginning: .delayed)
    }
  }

  private func mappingAge(_ slot: Slot) -> Int {
    OpenFile.with(slots[slot].data.fileHandle) { $0.state.gate.mappingAge }
  }

  /// Asks where the volume may wait for an answer.
  private func fillExtentsLater(
    _ slot: Slot, limit: Int = .max, then: @escaping @Sendable (Worker, Errno?) -> Void
  ) {
    onVolumeQueue(
      { worker throws(Errno) in _ = try worker.fillExtents(slot, limit: limit, mayBlock: true) },
      then: then)
  }

  /// - Returns: false if the volume would have to wait.
  private func fillExtents(
    _ slot: Slot, limit: Int = .max, mayBlock: Bool
  ) throws(Errno) -> Bool {
    let request = slots[slot].data
    let start = request.offset + slots[slot].doneBytes
    let wanted = min(limit, request.length - slots[slot].doneBytes)
    var covered = 0
    slots[slot].endsShort = false
    buffers[extents: slot].removeAll()
    while covered < wanted && !buffers[extents: slot].isFull {
      let extent: Extent?
      do throws(Errno) {
        extent = try volume.extent(
          of: request.inode, at: start + covered, limit: wanted - covered,
          for: request.isWrite ? .write : .read, mayBlock: mayBlock)
      } catch {
        // What lies before is moved; the error is that of what follows, if it is asked for again.
        if covered == 0 { throw error }
        break
      }
      guard let extent else {
        if covered == 0 { return false }
        break
      }
      if extent.byteCount == 0 {
        slots[slot].endsShort = true
        break
      }
      buffers[extents: slot].append(extent)
      covered += extent.byteCount
    }
    slots[slot].roundBytes = covered
    return true
  }

  /// Hands the mapped part to the engine.
  private func move(
    _ slot: Slot, mappingAge: Int?, beginning: DirectBeginning = .fresh
  ) {
    let request = slots[slot].data
    let done = slots[slot].doneBytes
    let length = slots[slot].roundBytes
    if length == 0 {
      // At the end: nothing more to read, no room to write.
      if request.isWrite && done == 0 && request.length > 0 { return answer(slot, error: .noSpace) }
      return answer(slot, error: nil)
    }
    var shape = shape.current
    if done > 0 && shape.kind == .pipe { shape.kind = .ubuf }
    OpenFile.with(request.fileHandle) { file in
      let usesGate = request.isWrite || traits.allocatesBlocks
      var direct = DirectRequest(
        request.isWrite ? .write : .read, unique: slots[slot].unique, inode: request.inode,
        fileOffset: request.offset + done, length: length,
        dataOffset: slots[slot].dataOffset + done, shape: shape, zeroing: zeroing,
        gate: usesGate ? file.state.gate : nil)
      direct.mappingAge = mappingAge
      if shape.alignment == .kernel { direct.askedLength = request.length - done }
      direct.thread = slots[slot].thread
      direct.arrivalNanoseconds = slots[slot].arrivalNanoseconds
      direct.beginning = done > 0 ? .continued : beginning
      direct.isDurable = request.isDurable && !traits.allocatesBlocks
      direct.finishesInVolume = request.isWrite && traits.allocatesBlocks
      direct.mayUseHostCache = request.isWrite && traits.blockBytes >= pageSize
      engine.start(slot, direct)
    }
  }

  /// The file's extents have changed since they were asked for; now they cannot change any more. The engine goes on with
  /// as many bytes as it was promised.
  func remap(_ slot: Slot) {
    let promised = slots[slot].roundBytes
    let resume: @Sendable (Worker, Errno?) -> Void = { worker, error in
      worker.engine.resume(slot, error: error ?? worker.complete(slot, to: promised))
    }
    do throws(Errno) {
      if try fillExtents(slot, limit: promised, mayBlock: false) { return resume(self, nil) }
    } catch {
      return resume(self, error)
    }
    fillExtentsLater(slot, limit: promised, then: resume)
  }

  /// Makes a list as long as was promised.
  ///
  /// A file may have been cut meanwhile: what a read finds behind its end is a hole, and is not answered. Or it lies in
  /// more pieces than a list holds: then the rest is refused, and asked for again by whoever wants it.
  /// - Returns: why that cannot be.
  private func complete(_ slot: Slot, to promised: Int) -> Errno? {
    let missing = promised - slots[slot].roundBytes
    if missing == 0 { return nil }
    if slots[slot].data.isWrite || buffers[extents: slot].isFull { return .noSpace }
    buffers[extents: slot].append(
      Extent(deviceOffset: 0, byteCount: missing, kind: .hole))
    return nil
  }

  // MARK: Ending

  /// The engine is through with a slot's part.
  func finishData(_ slot: Slot, error: Errno?, latencyNanoseconds: Int) {
    let request = slots[slot].data
    slots[slot].latencyNanoseconds = latencyNanoseconds
    if !request.isWrite { return endRound(slot, error: error) }
    if !traits.allocatesBlocks {
      if error == nil {
        noteWritten(
          request.inode, at: request.offset + slots[slot].doneBytes,
          byteCount: slots[slot].roundBytes)
      }
      return endRound(slot, error: error)
    }
    let finish: @Sendable (Worker, Bool) throws(Errno) -> Bool = { worker, mayBlock throws(Errno) in
      let state = worker.slots[slot]
      let isFinished = try worker.volume.finishWrite(
        to: request.inode, at: request.offset + state.doneBytes,
        byteCount: error == nil ? state.roundBytes : 0, mayBlock: mayBlock)
      // Who was told that these blocks were never written must ask again: they have data now.
      if isFinished && worker.wroteFreshBlocks(slot) {
        OpenFile.with(request.fileHandle) { $0.state.gate.noteMappingChange() }
      }
      return isFinished
    }
    do throws(Errno) {
      if try finish(self, false) { return endRound(slot, error: error) }
    } catch let failure {
      return endRound(slot, error: error ?? failure)
    }
    onVolumeQueue({ worker throws(Errno) in _ = try finish(worker, true) }) { worker, failure in
      worker.endRound(slot, error: error ?? failure)
    }
  }

  private func wroteFreshBlocks(_ slot: Slot) -> Bool {
    for index in 0..<buffers[extents: slot].count
    where buffers[extents: slot][index].kind != .mapped { return true }
    return false
  }

  /// Tells a volume whose blocks are given of a write: that waits for nothing.
  func noteWritten(_ inode: UInt64, at offset: Int, byteCount: Int) {
    do throws(Errno) {
      _ = try volume.finishWrite(to: inode, at: offset, byteCount: byteCount, mayBlock: false)
    } catch {
      server.defects.note("inode \(inode): a write could not be finished: errno \(error.rawValue)")
    }
  }

  private func endRound(_ slot: Slot, error: Errno?) {
    let request = slots[slot].data
    if error == nil { slots[slot].doneBytes += slots[slot].roundBytes }
    let isWhole = slots[slot].doneBytes >= request.length || slots[slot].endsShort
    if error == nil && !isWhole {
      engine.release(slot)
      return startRound(slot)
    }
    if slots[slot].doneBytes > 0 && request.isDurable && traits.allocatesBlocks {
      return makeDurable(slot)
    }
    answer(slot, error: slots[slot].doneBytes > 0 ? nil : error)
  }

  /// A durable write to a volume that allocates: what the volume keeps goes first, then the flush.
  private func makeDurable(_ slot: Slot) {
    let inode = slots[slot].data.inode
    onVolumeQueue({ worker throws(Errno) in
      _ = try worker.volume.prepareSync(.file(inode, dataOnly: true))
    }) { worker, error in
      if let error { return worker.answer(slot, error: error) }
      worker.slots[slot].job = .flush
      worker.engine.startFlush(slot)
    }
  }

  /// The flush of a durable write is through.
  func finishDurable(_ slot: Slot, error: Errno?) {
    slots[slot].job = .data
    slots[slot].latencyNanoseconds = 0
    answer(slot, error: error)
  }

  // MARK: Answering

  /// Answers a READ or WRITE and frees its slot.
  func answer(_ slot: Slot, error: Errno?) {
    if watch.isOn && keepsForWatch(slot, error: error) { return }
    let state = slots[slot]
    let request = state.data
    counters.add(.requestsInflight, -1)
    counters.add(request.isWrite ? .requestsWrite : .requestsRead, 1)
    var error = error
    // A program's asynchronous direct write that came short would be told EIO by the kernel.
    if error == nil && request.isDirect && request.isWrite && state.doneBytes < request.length {
      error = .noSpace
    }
    // First of all the gate is left: with the answer the client may close the file, and with the file the gate goes.
    engine.release(slot)
    if let error {
      counters.add(.ioErrors, 1)
      transport.answer(slot, unique: request.unique, error: error)
    } else if request.isWrite {
      counters.add(.bytesWritten, state.doneBytes)
      transport.answer(slot, unique: request.unique, written: state.doneBytes)
    } else {
      counters.add(.bytesRead, state.doneBytes)
      transport.answer(
        slot, unique: request.unique, dataAt: state.dataOffset, byteCount: state.doneBytes)
    }
    let latency =
      state.latencyNanoseconds > 0
      ? state.latencyNanoseconds : monotonicNanoseconds() &- state.arrivalNanoseconds
    counters.record(latency, in: request.isWrite ? .writeNanoseconds : .readNanoseconds)
    activity.count(request.inode, byteCount: state.doneBytes)
    if trace.isOn { noteReply(slot, error: error, latencyNanoseconds: latency) }
    if isDebugging { trace(request, error.map { " = \(describeErrno($0.rawValue))" } ?? " done") }
    leaveChange(slot)
    slots[slot].job = .none
    transport.release(slot)
  }

  /// A line for `-d`, beside libfuse's own of all other requests.
  private func trace(_ request: DataRequest, _ outcome: String) {
    LibfuseLog.debug(
      "unique: \(request.unique), opcode: \(request.isWrite ? "WRITE" : "READ"), nodeid: \(request.inode), "
        + "offset: \(request.offset), size: \(request.length)\(outcome)")
  }

  // MARK: The volume's queue

  /// Runs `work` on the volume's queue, and `then` on this worker's thread afterwards.
  func onVolumeQueue(
    _ work: @escaping @Sendable (Worker) throws(Errno) -> Void,
    then: @escaping @Sendable (Worker, Errno?) -> Void
  ) {
    pendingVolumeWork += 1
    server.volumeQueue.async { [self] in
      var failure: Errno?
      do throws(Errno) { try work(self) } catch { failure = error }
      let outcome = failure
      mailbox.post(
        .run { worker in
          worker.pendingVolumeWork -= 1
          then(worker, outcome)
        })
    }
  }
}
