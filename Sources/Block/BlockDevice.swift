// What the block layer asks of a device: a place to send bios, and the completions that come back.

import Glibc
import Memory
import Ring

/// Something that stores blocks. Shared by all workers; each makes a queue of its own.
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
  ///   - ring: a ring to submit to, whose owner sends it off and hands completions back through `note`; nil for a
  ///     queue that looks after itself. A device without a use for it leaves it alone.
  /// - Throws: the errno of what could not be set up.
  func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: IORing?
  ) throws(Errno) -> any DeviceQueue

  /// Gives back storage, or zeroes it.
  /// - Parameters:
  ///   - mode: flags of fallocate(2).
  ///   - offset: bytes.
  ///   - length: bytes.
  /// - Throws: `.notSupported` for a mode the device cannot do.
  func allocate(mode: Int32, offset: Int, length: Int) throws(Errno)

  /// Finds data or holes.
  /// - Parameters:
  ///   - offset: bytes.
  ///   - whence: `SEEK_DATA` or `SEEK_HOLE`.
  /// - Throws: ENXIO beyond the last data.
  func seek(offset: Int, whence: Int32) throws(Errno) -> Int

  /// Whether the device holds memory that it could do without while it is idle.
  var canRelax: Bool { get }

  /// Gives up memory that is held for speed only. For a device that was idle for a while.
  func relax()

  /// Makes everything acknowledged so far survive a loss of power. Blocks. Kernel: `blkdev_issue_flush()`.
  func flush() throws(Errno)
}

extension BlockDevice {
  /// Whether nothing was ever written to a range, so that it reads as zeroes. A device that does not know says no.
  public func isHole(at offset: Int, byteCount: Int) -> Bool {
    let seekData: Int32 = 3
    do throws(Errno) {
      return try seek(offset: offset, whence: seekData) >= min(offset + byteCount, self.byteCount)
    } catch {
      // ENXIO: no data from there to the end.
      return error.rawValue == ENXIO
    }
  }
}

extension BlockDevice {
  /// Bios take their time, unless a device knows better.
  public var isImmediate: Bool { false }
  /// Nothing is held, unless a device knows better.
  public var canRelax: Bool { false }
  /// Nothing is held, unless a device knows better.
  public func relax() {}
  /// All of it is stored, unless a device knows better.
  public var storedByteCount: Int { byteCount }
}

/// One worker's way to a device: bios go in, ended ones come out in any order. One owner thread.
public protocol DeviceQueue: AnyObject {
  /// Whether bios are through when `submit` returns, so that there is nothing to gain from gathering them.
  var isImmediate: Bool { get }

  /// Bios submitted and not yet handed back.
  var inFlightCount: Int { get }

  /// Takes a bio. Its result comes back through `nextCompleted()`, never earlier than that call.
  func submit(_ bio: consuming Bio)

  /// Sends what was submitted to the device, and looks for completions. On a ring of somebody else's that is
  /// its owner's affair, and this does nothing.
  func kick()

  /// Takes a completion of the ring that the queue was given.
  func note(_ completion: RingCompletion)

  /// The next bio that is through, with its status set, or nil.
  func nextCompleted() -> Bio?

  /// Lets go of the device, on the queue's own thread, when nothing is under way and nothing more will come.
  func close()

  /// Blocks until a completion may be there or one of two descriptors is readable.
  func wait(readable first: Int32, _ second: Int32)
}

extension DeviceQueue {
  /// A queue that submits to no ring is told of no completions.
  public func note(_ completion: RingCompletion) {
    preconditionFailure("a completion came for a queue without a ring")
  }

  /// Nothing is held, unless a queue knows better.
  public func close() {}
}
