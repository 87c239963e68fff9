// Changes of a file's storage: fallocate(2), and truncation where a volume gives blocks. They have the file alone:
// no write is under way meanwhile, and none that comes later was told of blocks that are no longer the file's.

import CFuse3
import CSystem
import DirectIO
import Glibc
import Memory
import Volumes

/// A change of storage under way: what the volume does with the file alone, and what then remains to be zeroed.
final class StorageJob: @unchecked Sendable {
  // Guard of the unchecked Sendable: as of the slot that it belongs to.
  let inode: UInt64
  /// What all open files of the inode share; given back at the end.
  let state: FileState
  /// What the volume does first; gives what is to be zeroed on the device.
  let change: @Sendable () throws(Errno) -> [StorageWork]
  /// What the volume does when that is done.
  let complete: @Sendable () throws(Errno) -> Void
  /// Answers.
  let reply: @Sendable (Errno?) -> Void
  var works: [StorageWork] = []
  /// Bytes of the first work that are through, and those under way.
  var doneBytes = 0
  var roundBytes = 0
  /// Whether the file's gate was entered.
  var holdsGate = false

  init(
    inode: UInt64, state: FileState,
    change: @escaping @Sendable () throws(Errno) -> [StorageWork],
    complete: @escaping @Sendable () throws(Errno) -> Void,
    reply: @escaping @Sendable (Errno?) -> Void
  ) {
    self.complete = complete
    self.inode = inode
    self.state = state
    self.change = change
    self.reply = reply
  }
}

extension StorageChange {
  /// What a mode of fallocate(2) asks for. Throws `.notSupported` for what no volume does.
  init(mode: Int32) throws(Errno) {
    let keepsSize = mode & FALLOC_FL_KEEP_SIZE != 0
    switch mode & ~FALLOC_FL_KEEP_SIZE {
    case 0: self = .allocate(keepsSize: keepsSize)
    case FALLOC_FL_PUNCH_HOLE where keepsSize: self = .punchHole
    case FALLOC_FL_ZERO_RANGE: self = .zero(keepsSize: keepsSize)
    default: throw .notSupported
    }
  }
}

extension Server {
  /// FUSE_FALLOCATE.
  func changeStorage(
    _ inode: UInt64, handle: UInt64, mode: Int32, offset: Int, length: Int,
    _ request: LibfuseRequest
  ) {
    attempt(request) { () throws(Errno) in
      if ControlDirectory.owns(inode) { throw .notSupported }
      if configuration.isReadOnly { throw .readOnlyFileSystem }
      let change = try StorageChange(mode: mode)
      if offset < 0 || length <= 0 { throw .invalidArgument }
      if offset > Int.max - length { throw .fileTooBig }
      let file = OpenFile.behind(handle)
      if !file.isWritable { throw .badDescriptor }
      startStorageJob(
        inode, answering: request,
        change: { [volume] () throws(Errno) in
          [try volume.changeStorage(of: inode, change, offset: offset, length: length)]
        },
        complete: { [volume] () throws(Errno) in
          _ = try volume.finishWrite(to: inode, at: offset, byteCount: 0, mayBlock: true)
        }
      ) { error in request.reply(error) }
    }
  }

  /// Starts a change of storage in the slot of the request that is served on this thread.
  func startStorageJob(
    _ inode: UInt64, answering request: LibfuseRequest,
    change: @escaping @Sendable () throws(Errno) -> [StorageWork],
    complete: @escaping @Sendable () throws(Errno) -> Void = {},
    reply: @escaping @Sendable (Errno?) -> Void
  ) {
    guard let worker = CurrentThread.worker else {
      preconditionFailure("a request is served by no worker")
    }
    worker.startStorageJob(
      StorageJob(
        inode: inode, state: openFiles.retain(inode), change: change, complete: complete,
        reply: reply),
      answering: request)
  }
}

extension Worker {
  fileprivate func startStorageJob(_ job: StorageJob, answering request: LibfuseRequest) {
    let slot = servedSlot
    slots[slot].job = .storage
    slots[slot].request = request
    slots[slot].storage = job
    slots[slot].arrivalNanoseconds = monotonicNanoseconds()
    let waiter = WriteGate.Waiter(worker: index, slot: slot, isExclusive: true)
    pendingVolumeWork += 1
    if job.state.gate.enter(waiter) { changeStorage(slot) }
  }

  /// A parked change has the file's gate, alone.
  func changeStorage(_ slot: Slot) {
    pendingVolumeWork -= 1
    let job = storageJob(slot)
    job.holdsGate = true
    let change: @Sendable () throws(Errno) -> Void = { () throws(Errno) in
      job.works = try job.change()
    }
    if traits.answersAtOnce {
      do throws(Errno) { try change() } catch { return endStorage(slot, error: error) }
      return workOnStorage(slot)
    }
    onVolumeQueue({ _ throws(Errno) in try change() }) { worker, error in
      if let error { return worker.endStorage(slot, error: error) }
      worker.workOnStorage(slot)
    }
  }

  private func storageJob(_ slot: Slot) -> StorageJob {
    guard let job = slots[slot].storage else {
      preconditionFailure("a change of storage has lost its job")
    }
    return job
  }

  /// Has the next part of what remains zeroed, or ends.
  private func workOnStorage(_ slot: Slot) {
    let job = storageJob(slot)
    while let work = job.works.first, job.doneBytes >= work.byteCount {
      job.works.removeFirst()
      job.doneBytes = 0
    }
    guard let work = job.works.first else { return completeStorage(slot) }
    if traits.answersAtOnce {
      do throws(Errno) { try mapStorage(slot) } catch { return endStorage(slot, error: error) }
      return submitStorage(slot, work)
    }
    onVolumeQueue({ worker throws(Errno) in try worker.mapStorage(slot) }) { worker, error in
      if let error { return worker.endStorage(slot, error: error) }
      worker.submitStorage(slot, work)
    }
  }

  /// Fills the slot's list with the extents of what remains of the first work.
  private func mapStorage(_ slot: Slot) throws(Errno) {
    let job = storageJob(slot)
    guard let work = job.works.first else { return }
    var covered = 0
    let wanted = work.byteCount - job.doneBytes
    buffers[extents: slot].removeAll()
    while covered < wanted && !buffers[extents: slot].isFull {
      guard
        let extent = try volume.extent(
          of: job.inode, at: work.offset + job.doneBytes + covered, limit: wanted - covered,
          for: .read, mayBlock: true), extent.byteCount > 0
      else { break }
      buffers[extents: slot].append(extent)
      covered += extent.byteCount
    }
    // What is beyond the file's end reads as zeroes anyway.
    job.roundBytes = covered
    if covered == 0 { job.doneBytes = work.byteCount }
  }

  private func submitStorage(_ slot: Slot, _ work: StorageWork) {
    let job = storageJob(slot)
    if job.roundBytes == 0 { return workOnStorage(slot) }
    let operation: DirectOperation =
      switch work.kind {
      case .zero(let unmaps): .zero(unmap: unmaps)
      case .provision: .provision
      }
    engine.start(
      slot,
      DirectRequest(
        operation, unique: slots[slot].unique, inode: job.inode,
        fileOffset: work.offset + job.doneBytes, length: job.roundBytes))
  }

  /// The engine is through with a part.
  func finishStorage(_ slot: Slot, error: Errno?) {
    engine.release(slot)
    if let error { return endStorage(slot, error: error) }
    let job = storageJob(slot)
    job.doneBytes += job.roundBytes
    workOnStorage(slot)
  }

  /// All is zeroed: the volume does the rest.
  private func completeStorage(_ slot: Slot) {
    let job = storageJob(slot)
    if traits.answersAtOnce {
      do throws(Errno) { try job.complete() } catch { return endStorage(slot, error: error) }
      return endStorage(slot, error: nil)
    }
    onVolumeQueue({ _ throws(Errno) in try job.complete() }) { worker, error in
      worker.endStorage(slot, error: error)
    }
  }

  private func endStorage(_ slot: Slot, error: Errno?) {
    let job = storageJob(slot)
    // Whoever was told of extents before asks again.
    job.state.gate.noteMappingChange()
    job.state.gate.leave(exclusive: true)
    server.openFiles.release(job.state)
    if error != nil { counters.add(.ioErrors, 1) }
    slots[slot].storage = nil
    answer(slot) { job.reply(error) }
  }
}
