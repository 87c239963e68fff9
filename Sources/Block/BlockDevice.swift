// What the block layer asks of a device: a place to send bios, and the completions that come back.

import Glibc
import Memory

/// Something that stores blocks. Shared by all workers; each makes a queue of its own.
///
/// Whatever touches the stored bytes is a bio given to a queue's `submit`: reads and writes, flushes, discards and
/// zeroes. A device itself only says what it is. No member has a default, so that a filter which forgot one does not
/// answer wrongly for the device behind it: `FilterDevice` forwards them all.
///
/// Kernel: `struct block_device` and its request queue.
public protocol BlockDevice: AnyObject, Sendable {
  /// What reports call it, as `uring (O_DIRECT)`.
  var name: String { get }
  /// What bios must keep to.
  var limits: QueueLimits { get }
  /// Size in bytes; need not be a multiple of the logical block.
  var byteCount: Int { get }
  /// Storage that the content takes, in bytes; less than `byteCount` for an image with holes.
  var storedByteCount: Int { get }
  /// Whether the device refuses writes.
  var isReadOnly: Bool { get }
  /// Whether bios are through as soon as they are submitted, so that few requests at once suffice.
  var isImmediate: Bool { get }

  /// Makes the calling thread's queue.
  /// - Parameters:
  ///   - pool: where the bios of this queue live.
  ///   - depth: the most bios in flight, at least 1.
  ///   - context: gives the memory of pages and the worker's counters.
  ///   - ring: the calling thread's ring, if it has one, whose completions that thread hands out. This layer knows no
  ///     ring; a device or filter that can use one casts it to the type it knows, once, here. Without a ring a
  ///     queue gets along by itself: `nextCompleted` has what was submitted, if need be by blocking in `submit`.
  /// - Throws: the errno of what could not be set up.
  func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: AnyObject?
  ) throws(Errno) -> any DeviceQueue

  /// Finds data or holes; changes nothing.
  /// - Parameters:
  ///   - offset: bytes.
  ///   - whence: `SEEK_DATA` or `SEEK_HOLE`.
  /// - Throws: ENXIO beyond the last data.
  func seek(offset: Int, whence: Int32) throws(Errno) -> Int

  /// Whether nothing was ever written to a range, so that it reads as zeroes. A device that does not know says no;
  /// one whose `seek` knows asks `isHoleBySeeking`.
  func isHole(at offset: Int, byteCount: Int) -> Bool

  /// Whether the device holds memory that it could do without while it is idle.
  var canRelax: Bool { get }

  /// Gives up memory that is held for speed only. For a device that was idle for a while.
  func relax()
}

extension BlockDevice {
  /// The answer to `isHole` of a device whose `seek` knows data from holes.
  public func isHoleBySeeking(at offset: Int, byteCount: Int) -> Bool {
    let seekData: Int32 = 3
    do throws(Errno) {
      return try seek(offset: offset, whence: seekData) >= min(offset + byteCount, self.byteCount)
    } catch {
      // ENXIO: no data from there to the end.
      return error.rawValue == ENXIO
    }
  }
}

/// One worker's way to a device: bios go in, ended ones come out in any order. One owner thread.
public protocol DeviceQueue: AnyObject {
  /// Whether bios are through when `submit` returns, so that there is nothing to gain from gathering them.
  var isImmediate: Bool { get }

  /// What was submitted and has not been handed back; parts of a bio may count each, but it is 0 exactly when there
  /// is nothing.
  var inFlightCount: Int { get }

  /// Takes a bio. Its result comes back through `nextCompleted()`, never earlier than that call. A flag that the
  /// device has no use for is a promise kept by other means, not one to be left out: see `BioFlags`.
  ///
  /// Kernel: `submit_bio()`, block/blk-core.c, v6.6.
  func submit(_ bio: consuming Bio)

  /// The next bio that is through, with its status set, or nil.
  func nextCompleted() -> Bio?

  /// Lets go of the device, on the queue's own thread, when nothing is under way and nothing more will come.
  func close()
}
