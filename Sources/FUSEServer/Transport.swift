// How requests reach a worker and answers leave it. There are two ways, and everything else is the same on both.

import DirectIO
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

  /// Sleeps until there is a request, a completion, a letter, or the mount's end.
  func waitForWork(for worker: Worker)

  /// Answers a slot's request with an error.
  func answer(_ slot: Int, unique: UInt64, error: Errno)

  /// Answers a WRITE.
  func answer(_ slot: Int, unique: UInt64, written byteCount: Int)

  /// Answers a READ with bytes of the slot's own buffer.
  /// - Parameter offset: where they begin in it.
  func answer(_ slot: Int, unique: UInt64, dataAt offset: Int, byteCount: Int)

  /// The worker has no more use for a slot.
  func release(_ slot: Int)

  /// Keeps a slot's request for later, since the mount is frozen.
  func hold(_ slot: Int, _ message: IncomingMessage, by route: AnswerRoute)

  /// Whether requests are kept.
  var holdsWrites: Bool { get }

  /// Hands kept requests to the worker, unless they must still wait.
  /// - Returns: whether there were any.
  func releaseHeldWrites(for worker: Worker) -> Bool

  /// Lets go of the kernel; the last call.
  func close()
}
