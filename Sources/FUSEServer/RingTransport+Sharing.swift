// Sharing requests between workers: the kernel gives all requests of one CPU's clients to one queue, and so to one
// worker, however idle the others are.

import DirectIO
import Glibc
import Memory

/// When a worker passes requests on. An entry belongs to whoever answers it, so what is passed on changes sides for
/// good, until it is passed back.
struct Sharing {
  /// Batches of small requests from this size on are shared.
  static let smallBatch = 4
  /// Copying a request of this size costs more than waking a helper: two are enough to share.
  static let largeBytes = 64 << 10
  /// So many requests of another's queue, one at a time, go home: their client is better served on its own CPU.
  static let loneLimit = 3
  /// A worker whose own queue was in use so lately is not idle.
  static let idleNanoseconds = 200_000

  /// Requests of other workers' queues that came alone, one after the other.
  var loneGuests = 0
}

extension RingTransport {
  /// Passes on what others should serve.
  /// - Parameter count: how many requests came together, first in `arrived`; those that stay are moved to the front.
  /// - Returns: how many stay.
  func share(count: Int, of worker: Worker) -> Int {
    if entries.workerCount < 2 { return count }
    let now = monotonicNanoseconds()
    var own = 0
    var isAtWork = false
    for place in 0..<count where entries.home(arrived[place]) == worker.index {
      own += 1
      // Who follows the trace keeps no worker from helping.
      if !entries.isOfControl(arrived[place]) { isAtWork = true }
    }
    if isAtWork { ownWork.beat(worker.index, at: now) }
    if own == count {
      sharing.loneGuests = 0
      return lend(count: count, of: worker, now: now)
    }
    let isLone = count == 1 && worker.engine.isIdle
    sharing.loneGuests = isLone ? sharing.loneGuests + 1 : 0
    let isBusy = now &- ownWork.beat(of: worker.index) < Sharing.idleNanoseconds
    if isBusy || sharing.loneGuests >= Sharing.loneLimit {
      return sendHome(count: count, of: worker)
    }
    return count
  }

  /// Gives half of a batch to an idle neighbour.
  private func lend(count: Int, of worker: Worker, now: Int) -> Int {
    if count < 2 { return count }
    if count < Sharing.smallBatch && entries.dataBytes(arrived[0]) < Sharing.largeBytes {
      return count
    }
    let helper = (worker.index + 1) % entries.workerCount
    if now &- ownWork.beat(of: helper) < Sharing.idleNanoseconds { return count }
    let kept = (count + 1) / 2
    let letters = (kept..<count).map { Letter.serve(arrived[$0]) }
    server.workers[helper].mailbox.post(letters)
    return kept
  }

  /// Gives the requests of other workers' queues to those.
  private func sendHome(count: Int, of worker: Worker) -> Int {
    var kept = 0
    for place in 0..<count {
      let slot = arrived[place]
      let home = entries.home(slot)
      if home == worker.index {
        arrived[kept] = slot
        kept += 1
      } else {
        server.workers[home].mailbox.post([.serve(slot)])
      }
    }
    sharing.loneGuests = 0
    return kept
  }
}
