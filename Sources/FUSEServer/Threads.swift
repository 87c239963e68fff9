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

/// Makes a worker on its own thread, as rings with one issuer want it, and reports how that went: first whether there
/// is a worker, then, when all workers are there, whether it could begin.
final class WorkerStart: @unchecked Sendable {
  // Guard of the unchecked Sendable: the semaphores order each write before its reads.
  let index: Int
  private let server: Server
  private let made = DispatchSemaphore(value: 0)
  private let mayGo = DispatchSemaphore(value: 0)
  private let opened = DispatchSemaphore(value: 0)
  private var result: Result<Worker, Errno>?
  private var serves = false
  private var openingError: Errno?

  init(server: Server, index: Int) {
    self.server = server
    self.index = index
  }

  /// The thread's body: makes the worker, waits for the others, serves.
  func run() {
    do throws(Errno) {
      result = .success(try Worker(index: index, server: server))
    } catch {
      result = .failure(error)
    }
    made.signal()
    mayGo.wait()
    serve()
    server.noteWorkerEnded()
  }

  private func serve() {
    guard serves, case .success(let worker) = result else { return opened.signaled() }
    CurrentThread.worker = worker
    do throws(Errno) {
      try worker.transport.open(for: worker)
    } catch {
      openingError = error
      return opened.signaled()
    }
    opened.signal()
    worker.run()
  }

  /// Waits until the worker is there, or could not be made.
  func worker() -> Worker? {
    made.wait()
    if case .success(let worker) = result { return worker }
    return nil
  }

  /// Why there is no worker, once `worker()` has returned.
  var failure: Errno? {
    if case .failure(let error) = result { return error }
    return nil
  }

  /// Lets the thread go on.
  /// - Parameter serving: whether it is to serve, or to end.
  func go(serving: Bool) {
    serves = serving
    mayGo.signal()
  }

  /// Waits until the worker takes requests.
  /// - Returns: why it cannot, or nil.
  func openingFailure() -> Errno? {
    opened.wait()
    return openingError
  }
}

extension DispatchSemaphore {
  /// Signals, for a caller that returns nothing.
  fileprivate func signaled() { signal() }
}
