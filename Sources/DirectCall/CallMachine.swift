// What runs a call: the caller's memory, the rules, and the record of what happened.

import IOVector
import Memory

/// Runs calls, one after the other, in the same memory.
struct CallMachine {
  let call: DirectCall
  let memory: CallMemory
  let rules: Era.Rules
  var record = CallRecord(offset: 0, left: 0)
  /// Where the next call's position is.
  var position = 0
  /// Pages of the file that the page cache has, from earlier calls as well.
  var cachedFilePages: Set<Int> = []
  /// Whether page faults are forbidden, so that a filesystem may hold its locks.
  var isFaultFree = false
  /// The bio of a failed try whose memory the next one gets.
  var recycled: Int?
  /// Whether whoever called does not wait for the end, as a ring does not.
  var isAsynchronous: Bool { call.interface == .ring || call.interface == .ringFixed }

  init(_ call: DirectCall, _ memory: CallMemory) {
    self.call = call
    self.memory = memory
    rules = call.era.rules
  }

  var limits: CallLimits { call.limits }
  var blockMask: Int { limits.logicalBlockSize - 1 }
  var mode: FollFlags { rules.contains(.referencesUserPages) ? .get : .pin }

  /// Makes one call.
  /// - Parameters:
  ///   - segments: the buffer.
  ///   - position: in bytes.
  mutating func call(_ segments: [IOVec], at position: Int) -> CallRecord {
    record = CallRecord(offset: position, left: segments.reduce(0) { $0 &+ max($1.length, 0) })
    // Vectored calls and rings take -1 for the file's own position, which is its start.
    self.position = position == -1 && !call.hasSingleBuffer ? 0 : position
    recycled = nil
    let before = memory.pins
    let result: Int
    do throws(Errno) { result = try dispatch(segments) } catch { result = -Int(error.rawValue) }
    record.result = result
    record.acquired = memory.pins.acquired - before.acquired
    record.released = memory.pins.released - before.released
    return record
  }

  private mutating func dispatch(_ segments: [IOVec]) throws(Errno) -> Int {
    switch call.interface {
    case .ringFixed: return try withBorrowedTable(registeredTable(segments))
    case .spliceIn: return try withBorrowedTable(pipeTable(segments))
    case .spliceOut: return try spliceOut(segments)
    case .synchronous, .ring: break
    }
    if call.hasSingleBuffer, let segment = segments.first {
      // `vfs_read()`, fs/read_write.c: the range is tested before its length is cut.
      let length = UInt64(bitPattern: Int64(segment.length))
      if position < 0 { throw fail(.invalidArgument, .positionOrTotal) }
      if length > userAddressLimit || segment.base > userAddressLimit - length {
        throw fail(.badAddress, .fault)
      }
    }
    let table = UnsafeMutableBufferPointer<IOVec>.allocate(capacity: segments.count)
    _ = unsafe table.initialize(from: segments)
    defer { unsafe table.deallocate() }
    let iterator = unsafe try IOVIter.importUserVectors(
      table, direction: call.isWrite ? .source : .destination)
    return try transfer(iterator)
  }

  /// Moves data between an iterator and the target; a ring tries without waiting first.
  ///
  /// Kernel: `io_read()` and `io_write()`, io_uring/rw.c, v6.1.
  mutating func transfer(_ iterator: IOVIter) throws(Errno) -> Int {
    if !isAsynchronous { return try transfer(iterator, mustNotWait: call.mustNotWait) }
    do throws(Errno) { return try transfer(iterator, mustNotWait: true) } catch {
      if error != .wouldBlock || call.mustNotWait { throw error }
    }
    return try transfer(iterator, mustNotWait: false)
  }

  private mutating func transfer(
    _ iterator: IOVIter, mustNotWait: Bool
  ) throws(Errno) -> Int {
    if iterator.count == 0 {
      record.decision = .nothingToDo
      return 0
    }
    // `rw_verify_area()`, fs/read_write.c.
    if position < 0 || position.addingReportingOverflow(iterator.count).overflow {
      throw fail(.invalidArgument, .positionOrTotal)
    }
    var iterator = iterator
    switch call.target {
    case .device: return try deviceTransfer(&iterator, mustNotWait: mustNotWait)
    case .file(.btrfs, let state):
      return try checksummedTransfer(&iterator, state, mustNotWait: mustNotWait)
    case .file(let system, let state):
      return try fileTransfer(&iterator, system, state, mustNotWait: mustNotWait)
    case .server: return try serverTransfer(&iterator)
    }
  }

  /// Ends the call with an error, and notes what decided it.
  mutating func fail(_ error: Errno, _ decision: Decision) -> Errno {
    record.decision = decision
    return error
  }
}
