// What the kernel says of a process: whether all of it sleeps, and what it has used of the CPUs.

import Foundation

/// Another process, seen from outside.
public struct ProcessWatch {
  private let process: pid_t

  /// Names a process.
  public init(_ process: pid_t) {
    self.process = process
  }

  /// Whether every thread sleeps.
  public func isAsleep() throws -> Bool {
    let directory = "/proc/\(process)/task"
    return try FileManager.default.contentsOfDirectory(atPath: directory).allSatisfy { thread in
      // A thread that has ended meanwhile does not run either.
      let line = try? String(contentsOfFile: "\(directory)/\(thread)/stat", encoding: .utf8)
      guard let line, let end = line.lastIndex(of: ")") else { return true }
      return line[end...].dropFirst(2).first == "S"
    }
  }

  /// Looks until every thread sleeps at each of a hundred looks.
  /// - Throws: `TestFailure` after a hundred thousand looks.
  public func awaitSleep() throws {
    var (looks, quiet) = (0, 0)
    while quiet < 100 {
      quiet = try isAsleep() ? quiet + 1 : 0
      looks += 1
      if looks == 100_000 { throw TestFailure("process \(process) does not go to sleep") }
    }
  }

  /// The time that CPUs have spent on the process, in nanoseconds.
  public func usedNanoseconds() throws -> Int {
    var clock = clockid_t()
    let error = unsafe clock_getcpuclockid(process, &clock)
    if error != 0 { throw SystemFailure("clock_getcpuclockid \(process)", code: error) }
    return try nanoseconds(of: clock)
  }

  /// How much the process uses while the calling thread itself uses so much, in looking at it.
  ///
  /// A measure that knows no seconds: on a machine that others keep busy, both get less.
  public func usedNanoseconds(while ownNanoseconds: Int) throws -> Int {
    let before = try usedNanoseconds()
    let start = try nanoseconds(of: CLOCK_THREAD_CPUTIME_ID)
    while try nanoseconds(of: CLOCK_THREAD_CPUTIME_ID) - start < ownNanoseconds {
      _ = try isAsleep()
    }
    return try usedNanoseconds() - before
  }

  private func nanoseconds(of clock: clockid_t) throws -> Int {
    var time = timespec()
    if unsafe clock_gettime(clock, &time) != 0 { throw SystemFailure("clock_gettime \(clock)") }
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
  }
}
