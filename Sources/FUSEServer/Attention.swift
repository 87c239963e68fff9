// Whether a worker that has nothing to do looks around for a while before it sleeps, and for how long.

import DirectIO
import Glibc
import Memory
import Synchronization

/// A number of each worker's that the others read, as when it last did something. Two cache lines for each.
final class Pulses: Sendable {
  private let cells: FixedTable<PaddedNumber>

  /// Workers.
  var workerCount: Int { cells.count }

  init(workerCount: Int) { cells = FixedTable(count: workerCount) { _ in PaddedNumber() } }

  /// Sets a worker's number; its own thread alone does.
  func beat(_ worker: Int, at number: Int) {
    cells[worker].value.store(number, ordering: .relaxed)
  }

  /// A worker's number.
  func beat(of worker: Int) -> Int { cells[worker].value.load(ordering: .relaxed) }

  /// The largest number of any worker.
  var latest: Int {
    var latest = 0
    for worker in 0..<cells.count { latest = max(latest, beat(of: worker)) }
    return latest
  }
}

/// One worker's attention.
///
/// A client that waits for each answer alternates with its worker on one CPU. If another CPU is idle, the scheduler
/// wakes the client there, and waking an idle CPU costs more than the whole request: measured on two virtual CPUs, 4 KiB
/// reads one at a time ran at 34,000 a second, and at 120,000 and more where the other CPU's worker looked around
/// meanwhile and so kept it from idling. So while requests follow one another closely, the workers of a small machine
/// look around, giving way to anyone who wants the CPU.
///
/// For how long after the last such request depends on the processor: 50 us were enough on one, another wanted 300. So
/// the time grows while requests come just after a worker has gone to sleep, and shrinks while they do not come at all
/// or somebody else wants the CPU; `spin` is its bound.
///
/// Kernel: the haltpoll governor's `adjust_poll_limit()`, drivers/cpuidle/governors/haltpoll.c, v6.6, has this shape.
struct Attention {
  private let worker: Int
  private let pulses: Pulses
  /// For how long each worker looks around now, in nanoseconds.
  private let windows: Pulses
  private let maximumNanoseconds: Int
  private var idleSince = 0

  /// With more workers than these, each looks around for itself only: keeping all CPUs from idling would cost more
  /// than it brings.
  private static let companyLimit = 2
  /// If giving way took so long, somebody else has use for the CPU.
  private static let busyNanoseconds = 30_000
  /// Where the time starts, and what it does not fall below: the wish must be able to grow again.
  private static let startNanoseconds = 50_000
  private static let leastNanoseconds = 10_000

  init(worker: Int, pulses: Pulses, windows: Pulses, maximumNanoseconds: Int) {
    self.worker = worker
    self.pulses = pulses
    self.windows = windows
    self.maximumNanoseconds = maximumNanoseconds
    windows.beat(worker, at: min(Self.startNanoseconds, maximumNanoseconds))
  }

  /// For how long this worker looks around: where few keep each other company, as long as the one that wants it most.
  private var window: Int {
    pulses.workerCount <= Self.companyLimit ? windows.latest : windows.beat(of: worker)
  }

  /// Whether looking around may be worth it now.
  var isPaid: Bool {
    maximumNanoseconds > 0 && monotonicNanoseconds() &- lastPulse < window
  }

  /// The latest request of all workers, or, where they are many, of this one.
  private var lastPulse: Int {
    pulses.workerCount <= Self.companyLimit ? pulses.latest : pulses.beat(of: worker)
  }

  /// Requests came: if they came soon after the last, more will.
  mutating func noteWork() {
    if maximumNanoseconds == 0 { return }
    let now = monotonicNanoseconds()
    if idleSince == 0 {
      pulses.beat(worker, at: now)
      return
    }
    let idle = now &- idleSince
    idleSince = 0
    if idle < maximumNanoseconds {
      // A little more patience would have met this request awake.
      setWindow(windows.beat(of: worker) &* 2)
      pulses.beat(worker, at: now)
    } else {
      setWindow(windows.beat(of: worker) / 2)
    }
  }

  private func setWindow(_ nanoseconds: Int) {
    let least = min(Self.leastNanoseconds, maximumNanoseconds)
    windows.beat(worker, at: min(max(nanoseconds, least), maximumNanoseconds))
  }

  /// The worker goes to sleep.
  mutating func noteIdle() {
    if maximumNanoseconds > 0 && idleSince == 0 { idleSince = monotonicNanoseconds() }
  }

  /// Looks around until there is news, or attention is no longer paid.
  /// - Returns: whether there is news.
  func lookAround(until hasNews: () -> Bool) -> Bool {
    var now = monotonicNanoseconds()
    while true {
      if hasNews() { return true }
      if now &- lastPulse >= window { return false }
      sched_yield()
      let before = now
      now = monotonicNanoseconds()
      if now &- before > Self.busyNanoseconds {
        setWindow(windows.beat(of: worker) / 2)
        return hasNews()
      }
    }
  }
}
