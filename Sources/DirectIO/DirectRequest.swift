// One read or write on its way through the engine.

import IOVector
import Memory

/// What is to be read or written.
public struct DirectRequest {
  /// Whether data goes to the device.
  public var isWrite: Bool
  /// The FUSE request's number.
  public var unique: UInt64
  /// The inode.
  public var inode: UInt64
  /// Byte offset in the file.
  public var fileOffset: Int
  /// Byte offset on the device; any alignment.
  public var deviceOffset: Int
  /// Bytes; any number up to the largest request.
  public var length: Int
  /// Where the data lies after the payload's first byte.
  public var dataOffset: Int
  /// The iterator to make, and the rules.
  public var shape: RequestShape
  /// What a write does about fresh blocks that it covers in part.
  public var zeroing: Zeroing
  /// Whether whole blocks go straight to the device, from a buffer mapped under the hardware's limits.
  public var isPassThrough: Bool

  /// Puts a request together.
  public init(
    isWrite: Bool, unique: UInt64, inode: UInt64, fileOffset: Int, deviceOffset: Int, length: Int,
    dataOffset: Int, shape: RequestShape, zeroing: Zeroing = .off,
    isPassThrough: Bool = false
  ) {
    self.isWrite = isWrite
    self.unique = unique
    self.inode = inode
    self.fileOffset = fileOffset
    self.deviceOffset = deviceOffset
    self.length = length
    self.dataOffset = dataOffset
    self.shape = shape
    self.zeroing = zeroing
    self.isPassThrough = isPassThrough
  }
}

/// A request that is through.
public struct FinishedRequest {
  /// Its place in the engine's table.
  public let index: Int
  /// Why it failed, or nil: then all of it was moved.
  public let error: Errno?
  /// From start to end.
  public let latencyNanoseconds: Int

  /// Puts the result together.
  public init(index: Int, error: Errno?, latencyNanoseconds: Int) {
    self.index = index
    self.error = error
    self.latencyNanoseconds = latencyNanoseconds
  }
}

/// A part of a request that goes through the bounce buffer: whole blocks on the device, any bytes in the caller's buffer.
struct BouncedPart {
  /// Where the first block is on the device, in bytes.
  var deviceOffset = 0
  /// Whole blocks, in bytes; 0 for no part.
  var byteCount = 0
  /// Where the caller's bytes begin after the first block's start.
  var skip = 0
  /// The caller's bytes.
  var dataCount = 0
  /// The first bounce page.
  var page = Page(0)

  /// Whether the first and the last block hold bytes that are not the caller's.
  var hasPartialHead: Bool { skip > 0 }
  func hasPartialTail() -> Bool { skip + dataCount < byteCount }
}

/// How far a request is.
enum RequestPhase: UInt8 {
  case idle
  /// Waits for the write gate.
  case parked
  /// Reads the blocks that a write covers in part.
  case readingEdges
  /// Moves the data.
  case moving
  /// Flushes the device.
  case flushing
}

/// What the engine knows of one request. Lives in a table; its worker alone touches it.
struct RequestState {
  var request: DirectRequest
  var phase = RequestPhase.idle
  var iterator: IOVIter
  /// Bytes of the caller's before the part that moves without a copy.
  var head = BouncedPart()
  /// Bytes that move without a copy, between head and tail.
  var bodyCount = 0
  /// Bytes after them.
  var tail = BouncedPart()
  /// Zeroes around a write into fresh space.
  var padding = ZeroPadding()
  /// Bios under way.
  var pendingBios = 0
  /// The first error, as an errno, or 0.
  var errorNumber: Int32 = 0
  /// Pages on which something is held, and what.
  var heldPages = 0
  var heldMode: FollFlags = []
  var holdsGateExclusively = false
  var holdsGate = false
  var startNanoseconds = 0
  var takenNanoseconds = 0
}
