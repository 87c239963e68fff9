// The host kernel's own pin counters, to set the model's beside them.

import Foundation

/// The kernel's counts of pins taken and dropped by everybody on the machine.
///
/// Kernel: `nr_foll_pin_acquired` and `nr_foll_pin_released` of /proc/vmstat, mm/vmstat.c.
public struct KernelCounters: Sendable, Equatable {
  /// Pages pinned since boot.
  public var pinAcquired: Int
  /// Pages unpinned since boot.
  public var pinReleased: Int
  /// Whether each CPU's own figures were gathered first; if not, the counts lag by some pages.
  public var isExact: Bool

  /// Reads the counters, or nil on a kernel that has none.
  ///
  /// Gathering each CPU's figures is root's to ask for, and runs on every CPU in turn: where all are busy it was seen to
  /// take half a minute. So it is not waited for without a bound.
  /// - Parameter limitSeconds: how long to wait for it at most.
  public static func read(limitSeconds: Double = 0.25) -> KernelCounters? {
    let isExact = VMStatGatherer.shared.gather(limitSeconds: limitSeconds)
    guard let text = FileManager.default.contents(atPath: "/proc/vmstat") else { return nil }
    var counters = KernelCounters(pinAcquired: -1, pinReleased: -1, isExact: isExact)
    for line in String(decoding: text, as: UTF8.self).split(separator: "\n")
    where line.hasPrefix("nr_foll_pin_") {
      let words = line.split(separator: " ")
      guard words.count == 2, let value = Int(words[1]) else { continue }
      if words[0] == "nr_foll_pin_acquired" { counters.pinAcquired = value }
      if words[0] == "nr_foll_pin_released" { counters.pinReleased = value }
    }
    return counters.pinAcquired < 0 || counters.pinReleased < 0 ? nil : counters
  }
}

/// Has the kernel gather its per-CPU figures, on a thread of its own.
///
/// Kernel: `vmstat_refresh()`, mm/vmstat.c, v6.18.
private final class VMStatGatherer: @unchecked Sendable {
  // Guard of the unchecked Sendable: everything below is touched with the condition's lock held.
  static let shared = VMStatGatherer()

  private let condition = NSCondition()
  private var asked = 0
  private var gathered = 0
  private var isRefused = false
  private var hasThread = false

  /// Asks, and waits for the answer.
  /// - Returns: whether all that had happened before the call has been gathered.
  func gather(limitSeconds: Double) -> Bool {
    condition.lock()
    defer { condition.unlock() }
    startThread()
    asked += 1
    let turn = asked
    condition.broadcast()
    let deadline = Date(timeIntervalSinceNow: limitSeconds)
    while gathered < turn && !isRefused {
      if !condition.wait(until: deadline) { break }
    }
    return gathered >= turn
  }

  private func startThread() {
    if hasThread { return }
    hasThread = true
    let thread = Thread { [self] in while serve() {} }
    thread.name = "extractfs-pins"
    thread.start()
  }

  /// Gathers once for all who have asked so far.
  /// - Returns: false if this process may not.
  private func serve() -> Bool {
    condition.lock()
    while gathered == asked { condition.wait() }
    let turn = asked
    condition.unlock()
    let isDone = Self.refresh()
    condition.lock()
    defer { condition.unlock() }
    if isDone { gathered = turn } else { isRefused = true }
    condition.broadcast()
    return isDone
  }

  private static func refresh() -> Bool {
    guard let file = FileHandle(forWritingAtPath: "/proc/sys/vm/stat_refresh") else { return false }
    do {
      try file.write(contentsOf: Data("1\n".utf8))
      return true
    } catch {
      return false
    }
  }
}
