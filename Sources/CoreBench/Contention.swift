// One measurement, by one thread or by several at once that start together.

import Foundation
import Glibc
import Memory
import Synchronization

/// The meeting point of the threads of one measurement, and what came of it.
final class Contention: Sendable {
  private let missing: Atomic<Int>
  private let outcome = Mutex(Outcome())

  /// What the threads did together.
  private struct Outcome {
    var nanoseconds = 0
    var error: Errno?
    var lastBegin: SuspendingClock.Instant?
    var firstEnd: SuspendingClock.Instant?
    var longest = Duration.zero
    var wasPreempted = false

    /// Whether the threads ran at the same time for most of their time, and none of them waited for a processor.
    var isContended: Bool {
      guard let lastBegin, let firstEnd, !wasPreempted else { return false }
      return lastBegin.duration(to: firstEnd) >= longest * 0.8
    }

    mutating func note(
      begin: SuspendingClock.Instant, end: SuspendingClock.Instant, processorTime: Duration
    ) {
      lastBegin = lastBegin.map { max($0, begin) } ?? begin
      firstEnd = firstEnd.map { min($0, end) } ?? end
      longest = max(longest, begin.duration(to: end))
      if processorTime < begin.duration(to: end) * 0.9 { wasPreempted = true }
    }
  }

  private init(threads: Int) { missing = Atomic(threads) }

  /// Runs a case in as many threads as it says, again if they did not run at the same time.
  ///
  /// - Parameters:
  ///   - iterations: requests of each thread.
  ///   - attempts: after so many the last one counts as it is.
  /// - Returns: nanoseconds a request, the mean over threads, and whether all threads ran at the same time.
  static func measure(
    _ one: CoreCase, on machine: CoreMachine, iterations: Int, attempts: Int = 1
  ) throws(Errno) -> CoreSample {
    for _ in 1..<attempts {
      let result = try measureOnce(one, on: machine, iterations: iterations)
      if one.threads == 1 || result.isContended { return result }
    }
    return try measureOnce(one, on: machine, iterations: iterations)
  }

  private static func measureOnce(
    _ one: CoreCase, on machine: CoreMachine, iterations: Int
  ) throws(Errno) -> CoreSample {
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
    let outcome = contention.outcome.withLock { $0 }
    if let error = outcome.error { throw error }
    let perRequest = max(1, Double(outcome.nanoseconds)) / Double(iterations * one.threads)
    return (perRequest, outcome.isContended)
  }

  private func take(part one: CoreCase, on machine: CoreMachine, iterations: Int) {
    let worker = CoreWorker(one, on: machine)
    waitForOthers()
    let (begin, processorBegin) = (SuspendingClock.now, Self.processorTime)
    let result: Result<Int, Errno>
    do throws(Errno) { result = .success(try worker.run(iterations)) } catch {
      result = .failure(error)
    }
    let (end, processorTime) = (SuspendingClock.now, Self.processorTime - processorBegin)
    outcome.withLock {
      $0.note(begin: begin, end: end, processorTime: processorTime)
      switch result {
      case .success(let nanoseconds): $0.nanoseconds += nanoseconds
      case .failure(let error): $0.error = error
      }
    }
  }

  /// What the calling thread has had of processors so far.
  private static var processorTime: Duration {
    var time = timespec()
    unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
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
