// How requests reach a worker and answers leave it. There are two ways, and everything else is the same on both.

import DirectIO
import Glibc
import Memory

/// A worker's connection with the kernel. Used by the worker's thread only. It is handed its worker with each call and
/// keeps no reference, so that no call counts one.
protocol Transport: AnyObject {
  /// Begins to take requests; called once, when every worker is there.
  /// - Throws: what the kernel refused with.
  func open(for worker: Worker) throws(Errno)

  /// Hands what the kernel has ready to the worker.
  /// - Returns: how many requests there were.
  func takeRequests(for worker: Worker) -> Int

  /// Sends off what was prepared for the ring and takes in what is through, unless that leaves with the answers.
  func sendOff()

  /// Serves a request that another worker has passed on.
  func servePassed(_ slot: Slot, for worker: Worker)

  /// Sleeps until there is a request, a completion, a letter, or the mount's end.
  func waitForWork(for worker: Worker)

  /// Answers a slot's request with an error.
  func answer(_ slot: Slot, unique: UInt64, error: Errno)

  /// Answers a WRITE.
  func answer(_ slot: Slot, unique: UInt64, written byteCount: Int)

  /// Answers a READ with bytes of the slot's own buffer.
  /// - Parameter offset: where they begin in it.
  func answer(_ slot: Slot, unique: UInt64, dataAt offset: Int, byteCount: Int)

  /// Puts an answer in parts, the first of which is the protocol's header, into its slot; it leaves by `commit`. The
  /// one call that may come from any thread: a slot whose request is being served belongs to whoever answers it.
  func setAnswer(_ slot: Slot, parts: [MemoryWindow])

  /// Lets the answer leave that lies in a slot.
  func commit(_ slot: Slot)

  /// The worker has no more use for a slot.
  func release(_ slot: Slot)

  /// Keeps a slot's request for later, since the mount is frozen. A program's request may be told to try again where
  /// too many wait; what the kernel writes back is always kept, since nobody would.
  func hold(_ slot: Slot, _ message: IncomingMessage, by route: AnswerRoute)

  /// Whether requests are kept.
  var holdsWrites: Bool { get }

  /// Hands kept requests to the worker, unless they must still wait.
  /// - Returns: whether there were any.
  func releaseHeldWrites(for worker: Worker) -> Bool

  /// Lets go of the kernel; the last call.
  func close()
}
