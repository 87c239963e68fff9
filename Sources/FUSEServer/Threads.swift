// Threads with a name, and the start of a worker on its own thread.

import CSystem
import Dispatch
import Glibc
import Memory
import Synchronization

/// Starts a thread that runs `body` once.
func startThread(name: String, _ body: @escaping @Sendable () -> Void) -> pthread_t {
  final class Box: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var thread = pthread_t()
  let argument = unsafe Unmanaged.passRetained(Box(body)).toOpaque()
  let result = unsafe pthread_create(
    &thread, nil,
    { argument in
      guard let argument = unsafe argument else { return nil }
      unsafe Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body()
      return nil
    }, argument)
  precondition(result == 0, "the system gives no more threads")
  _ = unsafe pthread_setname_np(thread, name)
  return thread
}

/// Makes a worker on its own thread, as rings with one issuer want it, and reports how that went.
final class WorkerStart: @unchecked Sendable {
  // Guard of the unchecked Sendable: the semaphore orders the one write before the one read.
  private let server: Server
  private let index: Int
  private let made = DispatchSemaphore(value: 0)
  private var result: Result<Worker, Errno>?

  init(server: Server, index: Int) {
    self.server = server
    self.index = index
  }

  /// The thread's body: makes the worker, then serves.
  func run() {
    do throws(Errno) {
      let worker = try Worker(index: index, server: server)
      result = .success(worker)
      made.signal()
      worker.run()
      server.noteWorkerEnded()
    } catch {
      result = .failure(error)
      made.signal()
    }
  }

  /// Waits until the worker is there or could not be made.
  func outcome() -> Result<Worker, Errno> {
    made.wait()
    guard let result else { preconditionFailure("a worker signalled without a result") }
    return result
  }
}
