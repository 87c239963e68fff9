// One measurement, by one thread or by several at once that start together.

import Foundation
import Memory
import Synchronization

/// The meeting point of the threads of one measurement, and what came of it.
final class Contention: Sendable {
  private let missing: Atomic<Int>
  private let outcome = Mutex<(nanoseconds: Int, error: Errno?)>((0, nil))

  private init(threads: Int) { missing = Atomic(threads) }

  /// Runs a case in as many threads as it says.
  /// - Parameter iterations: requests of each thread.
  /// - Returns: nanoseconds a request, the mean over threads.
  static func measure(
    _ one: CoreCase, on machine: CoreMachine, iterations: Int
  ) throws(Errno) -> Double {
    let contention = Contention(threads: one.threads)
    let done = DispatchSemaphore(value: 0)
    for _ in 1..<one.threads {
      Thread.detachNewThread {
        contention.take(part: one, on: machine, iterations: iterations)
        done.signal()
      }
    }
    contention.take(part: one, on: machine, iterations: iterations)
    for _ in 1..<one.threads { done.wait() }
    let (nanoseconds, error) = contention.outcome.withLock { $0 }
    if let error { throw error }
    return max(1, Double(nanoseconds)) / Double(iterations * one.threads)
  }

  private func take(part one: CoreCase, on machine: CoreMachine, iterations: Int) {
    let worker = CoreWorker(one, on: machine)
    waitForOthers()
    let result: Result<Int, Errno>
    do throws(Errno) { result = .success(try worker.run(iterations)) } catch {
      result = .failure(error)
    }
    outcome.withLock {
      switch result {
      case .success(let nanoseconds): $0.nanoseconds += nanoseconds
      case .failure(let error): $0.error = error
      }
    }
  }

  /// Spins until all threads are here: a thread that slept would come later than the others.
  private func waitForOthers() {
    missing.wrappingSubtract(1, ordering: .acquiringAndReleasing)
    var turns = 0
    while missing.load(ordering: .acquiring) > 0 {
      turns += 1
      // Where the threads share a processor, the one that waits must make room.
      if turns % 1024 == 0 { Thread.sleep(forTimeInterval: 0) }
    }
  }
}
