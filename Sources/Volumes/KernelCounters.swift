// The host kernel's own pin counters, to set the model's beside them.

import Foundation
import Glibc

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
    let text = table()
    guard let acquired = value(of: "nr_foll_pin_acquired ", in: text),
      let released = value(of: "nr_foll_pin_released ", in: text)
    else { return nil }
    return KernelCounters(pinAcquired: acquired, pinReleased: released, isExact: isExact)
  }

  /// The bytes of /proc/vmstat, or none. Some 5 KiB, given in one piece.
  private static func table() -> [UInt8] {
    let descriptor = unsafe open("/proc/vmstat", O_RDONLY | O_CLOEXEC)
    if descriptor < 0 { return [] }
    defer { close(descriptor) }
    return unsafe [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
      unsafe count = max(0, Glibc.read(descriptor, buffer.baseAddress, buffer.count))
    }
  }

  /// The number behind a name at a line's start.
  private static func value(of name: StaticString, in text: [UInt8]) -> Int? {
    let length = name.utf8CodeUnitCount
    let wanted = name.description.utf8
    var start = 0
    while start < text.count {
      let end = text[start...].firstIndex(of: UInt8(ascii: "\n")) ?? text.count
      if end - start > length && text[start..<start + length].elementsEqual(wanted) {
        return Int(String(decoding: text[start + length..<end], as: UTF8.self))
      }
      start = end + 1
    }
    return nil
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
