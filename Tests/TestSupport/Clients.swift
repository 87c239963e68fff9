// Small clients of a file: threads that go on until they are told to stop, and what a file holds.

import CSystem
import Foundation
import Synchronization

/// Allocation modes of fallocate(2), <linux/falloc.h>.
public enum AllocationMode: Int, CaseIterable, Sendable {
  case punchHole = 3
  case zeroRange = 0x10
  case zeroRangeKeepingSize = 0x11
}

extension OpenFile {
  /// Frees or zeroes a range.
  public func change(_ mode: AllocationMode, at offset: Int, count: Int) throws {
    try system(SYS_fallocate, self, mode.rawValue, offset, count)
  }

  /// Writes blocks of 512 bytes past filesystem and page cache, `count` bytes at `offset`, at most 12,288.
  public func passThroughWrite(_ value: UInt8, count: Int, at offset: Int) throws {
    let message = AlignedBuffer(count: 64 + 12288)
    message.fill(with: value)
    for index in 0..<64 { message[index] = 0 }
    message.store(UInt32(1), at: 0)  // EXTRACTFS_PASSTHROUGH_VERSION
    message.store(UInt32(2), at: 4)  // EXTRACTFS_PASSTHROUGH_WRITE
    message.store(UInt64(offset / 512), at: 8)
    message.store(UInt32(count / 512), at: 16)
    try system(SYS_ioctl, self, Self.passThroughNumber, message)
  }

  /// `_IOWR('x', 0x45, …)` of a structure of 64 and 12,288 bytes.
  public static let passThroughNumber = 3 << 30 | (64 + 12288) << 16 | 0x78 << 8 | 0x45

  /// Writes `count` equal bytes at an offset, from memory that suits direct I/O.
  public func fill(_ value: UInt8, count: Int, at offset: Int = 0) throws {
    let buffer = AlignedBuffer(count: count)
    buffer.fill(with: value)
    let written = try write(from: buffer, count: count, at: offset)
    if written != count { throw TestFailure("wrote \(written) bytes of \(count) to \(path)") }
  }

  /// Reads `count` bytes at an offset, all of them.
  public func content(count: Int, at offset: Int = 0) throws -> AlignedBuffer {
    let buffer = AlignedBuffer(count: count)
    let found = try read(into: buffer, count: count, at: offset)
    if found != count { throw TestFailure("read \(found) bytes of \(count) of \(path)") }
    return buffer
  }
}

/// Whether all bytes of a buffer are one value.
public func holdsOnly(_ value: UInt8, _ buffer: AlignedBuffer) -> Bool {
  let wanted = AlignedBuffer(count: buffer.count)
  wanted.fill(with: value)
  return buffer.firstDifference(from: wanted, count: buffer.count) == nil
}

/// Something that runs beside a test on a thread of its own, once or again and again.
public final class Background: Sendable {
  private struct State {
    var rounds = 0
    var isStopped = false
    var hasEnded = false
    var failure: (any Error)?
  }

  private let state = Mutex(State())
  private let ended = DispatchSemaphore(value: 0)
  private let progress = DispatchSemaphore(value: 0)

  /// Starts `body`; with `again`, it is called until `stop`, with the number of the round.
  public init(again: Bool = false, _ body: @escaping @Sendable (Int) throws -> Void) {
    let thread = Thread { [self] in
      do {
        repeat {
          try body(state.withLock { $0.rounds })
          state.withLock { $0.rounds += 1 }
          progress.signal()
        } while again && !state.withLock { $0.isStopped }
      } catch { state.withLock { $0.failure = error } }
      state.withLock { $0.hasEnded = true }
      progress.signal()
      ended.signal()
    }
    thread.start()
  }

  /// Whether the body has returned or failed.
  public var hasEnded: Bool { state.withLock { $0.hasEnded } }

  /// Waits until so many rounds more are through, or the body has failed.
  public func awaitRounds(_ count: Int, limitSeconds: Int = 60) throws {
    for _ in 0..<count where !hasEnded {
      if progress.wait(timeout: .now() + .seconds(limitSeconds)) == .timedOut {
        throw TestFailure("no progress in \(limitSeconds) s")
      }
    }
  }

  /// Waits for the end.
  /// - Throws: what the body threw, or `TestFailure` if it hangs; the thread is then left behind.
  public func wait(limitSeconds: Int = 60) throws {
    if ended.wait(timeout: .now() + .seconds(limitSeconds)) == .timedOut {
      throw TestFailure("a client has not ended after \(limitSeconds) s")
    }
    ended.signal()
    if let failure = state.withLock({ $0.failure }) { throw failure }
  }

  /// Lets the round under way be the last, and waits for its end.
  public func stop(limitSeconds: Int = 60) throws {
    state.withLock { $0.isStopped = true }
    try wait(limitSeconds: limitSeconds)
  }
}

extension ClientProcess {
  /// Ends the program and waits until it has gone, so that it keeps no mount busy.
  public func end() {
    kill()
    _ = try? wait(limitSeconds: 10)
  }
}

extension FuseConnection {
  /// Looks until each of the clients has ended, or requests wait and nothing goes on any more.
  /// - Throws: `TestFailure` after 30 seconds.
  public func awaitStandstill(orEndOf clients: [Background]) throws {
    let start = ContinuousClock.now
    var (last, sameLooks) = (0, 0)
    while !clients.allSatisfy(\.hasEnded), last == 0 || sameLooks < 1000 {
      let count = try waitingRequests()
      sameLooks = count == last ? sameLooks + 1 : 0
      last = count
      if ContinuousClock.now - start > .seconds(30) {
        throw TestFailure("\(last) requests wait, and their number does not settle")
      }
      sched_yield()
    }
  }
}
