// Flushes that clients ask for. Those of the mount itself are made where one may wait: `Server.flush`.

import CFuse3
import DirectIO
import Glibc
import Memory
import Volumes

extension Server {
  /// FUSE_FSYNC and FUSE_FSYNCDIR: the volume writes out what it keeps, then the flush goes through the worker's queue,
  /// so that other requests go on meanwhile.
  func synchronize(_ scope: SyncScope, _ inode: UInt64, _ request: LibfuseRequest) {
    guard !ControlDirectory.owns(inode), let worker = CurrentThread.worker else {
      request.reply()
      return
    }
    worker.startSynchronizing(scope, answering: request)
  }
}

extension Worker {
  /// Starts a flush for the libfuse request that is being served on this thread.
  func startSynchronizing(_ scope: SyncScope, answering request: LibfuseRequest) {
    let slot = servedSlot
    slots[slot].job = .flush
    slots[slot].request = request
    if !traits.allocatesBlocks {
      // Nothing is kept back.
      return engine.startFlush(slot)
    }
    let needsFlush = Shared(false)
    onVolumeQueue({ worker throws(Errno) in
      needsFlush.value = try worker.volume.prepareSync(scope)
    }) { worker, error in
      if error == nil && needsFlush.value { return worker.engine.startFlush(slot) }
      worker.finishFlush(slot, error: error)
    }
  }

  /// A slot's flush is through.
  func finishFlush(_ slot: Slot, error: Errno?) {
    guard let request = slots[slot].request else {
      // A durable write's.
      return finishDurable(slot, error: error)
    }
    answer(slot, error: error, request)
  }

  /// Answers the libfuse request that a slot's job was for, and frees the slot.
  func answer(_ slot: Slot, error: Errno?, _ request: LibfuseRequest) {
    answer(slot) { request.reply(error) }
  }

  /// Frees a slot whose libfuse request `reply` answers.
  func answer(_ slot: Slot, with reply: () -> Void) {
    slots[slot].request = nil
    slots[slot].job = .none
    // The gate first: with the answer the file may be closed, and with the file the gate goes.
    engine.release(slot)
    CurrentThread.route = slots[slot].route
    reply()
    CurrentThread.route = .none
    // What is through before its callback has returned is freed when that returns: `serve` finds no job.
    if currentSlot == slot { return }
    leaveChange(slot)
    transport.release(slot)
  }
}

/// A value that one thread leaves for another, ordered by the letter between them.
final class Shared<Value: Sendable>: @unchecked Sendable {
  // Guard of the unchecked Sendable: it is written before the letter is posted, and read after it was opened.
  var value: Value
  init(_ value: Value) { self.value = value }
}
