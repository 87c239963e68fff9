// Whether a worker that has nothing to do looks around for a while before it sleeps, and for how long.

import DirectIO
import Glibc
import Synchronization

/// When each worker last did something, as whoever made this means it. One cache line for each.
@safe final class Pulses: @unchecked Sendable {
  // Guard of the unchecked Sendable: every word is an Atomic, and only its worker writes it.
  private let words: UnsafeMutablePointer<Atomic<Int>>
  let workerCount: Int

  /// Words from one worker's to the next's: two cache lines, since they are fetched in pairs.
  private static let stride = 16

  init(workerCount: Int) {
    self.workerCount = workerCount
    unsafe words = .allocate(capacity: workerCount * Self.stride)
    for index in 0..<workerCount * Self.stride { unsafe (words + index).initialize(to: Atomic(0)) }
  }

  deinit {
    unsafe words.deinitialize(count: workerCount * Self.stride)
    unsafe words.deallocate()
  }

  func beat(_ worker: Int, at nanoseconds: Int) {
    unsafe words[worker * Self.stride].store(nanoseconds, ordering: .relaxed)
  }

  /// A worker's latest beat.
  func beat(of worker: Int) -> Int {
    unsafe words[worker * Self.stride].load(ordering: .relaxed)
  }

  /// The latest beat of any worker.
  var latest: Int {
    var latest = 0
    for worker in 0..<workerCount {
      unsafe latest = max(latest, words[worker * Self.stride].load(ordering: .relaxed))
    }
    return latest
  }
}

/// One worker's attention.
///
/// A client that waits for each answer alternates with its worker on one CPU. If another CPU is idle, the scheduler
/// wakes the client there, and waking an idle CPU costs more than the whole request: measured on two virtual CPUs, 4 KiB
/// reads one at a time ran at 34,000 a second, and at 120,000 and more where the other CPU's worker looked around
/// meanwhile and so kept it from idling. So while requests follow one another closely, the workers of a small machine
/// look around, giving way to anyone who wants the CPU; `spin` is the longest time after the last such request.
struct Attention {
  private let worker: Int
  private let pulses: Pulses
  private let maximumNanoseconds: Int
  private var idleSince = 0

  /// With more workers than these, each looks around for itself only: keeping all CPUs from idling would cost more
  /// than it brings.
  private static let companyLimit = 2
  /// If giving way took so long, somebody else has use for the CPU.
  private static let busyNanoseconds = 30_000

  init(worker: Int, pulses: Pulses, maximumNanoseconds: Int) {
    self.worker = worker
    self.pulses = pulses
    self.maximumNanoseconds = maximumNanoseconds
  }

  /// Whether looking around may be worth it now.
  var isPaid: Bool {
    maximumNanoseconds > 0 && monotonicNanoseconds() &- lastPulse < maximumNanoseconds
  }

  /// The latest request of all workers, or, where they are many, of this one.
  private var lastPulse: Int {
    pulses.workerCount <= Self.companyLimit ? pulses.latest : pulses.beat(of: worker)
  }

  /// Requests came: if they came soon after the last, more will.
  mutating func noteWork() {
    if maximumNanoseconds == 0 { return }
    let now = monotonicNanoseconds()
    if idleSince == 0 || now &- idleSince < maximumNanoseconds {
      pulses.beat(worker, at: now)
    }
    idleSince = 0
  }

  /// The worker goes to sleep.
  mutating func noteIdle() {
    if maximumNanoseconds > 0 { idleSince = monotonicNanoseconds() }
  }

  /// Looks around until there is news, or attention is no longer paid.
  /// - Returns: whether there is news.
  func lookAround(until hasNews: () -> Bool) -> Bool {
    var now = monotonicNanoseconds()
    while true {
      if hasNews() { return true }
      if now &- lastPulse >= maximumNanoseconds { return false }
      sched_yield()
      let before = now
      now = monotonicNanoseconds()
      if now &- before > Self.busyNanoseconds { return hasNews() }
    }
  }
}
