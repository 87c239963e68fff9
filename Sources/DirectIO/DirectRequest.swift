// One request for the engine: what is to be done, where, and how.

import IOVector
import Memory

/// What is asked of a range of a file.
public enum DirectOperation: Equatable, Sendable {
  /// Its data goes to the caller.
  case read
  /// The caller's data goes there.
  case write
  /// It becomes zeroes, at any byte; with `unmap` its storage may be given back.
  case zero(unmap: Bool)
  /// The whole blocks in it are no longer needed.
  case discard
  /// The whole blocks in it get storage; what can be read stays.
  case provision
  /// Nothing of it; what was written before is made durable.
  case flush

  /// Whether it changes a range without data of the caller's.
  var clears: Bool {
    switch self {
    case .zero, .discard, .provision: true
    case .read, .write, .flush: false
    }
  }

  /// As defects name it.
  var name: String {
    switch self {
    case .read: "read"
    case .write: "write"
    case .zero: "zero"
    case .discard: "discard"
    case .provision: "provision"
    case .flush: "flush"
    }
  }
}

/// What a request has behind it when it comes to the engine; figures of time depend on it.
public enum DirectBeginning: UInt8, Sendable {
  /// It has just arrived.
  case fresh
  /// It has waited for the volume to say where its range lies.
  case delayed
  /// It is the next part of a request whose first parts are through.
  case continued
}

/// What is to be done. Copied about freely: it owns nothing.
@safe public struct DirectRequest {
  /// What is asked.
  public var operation: DirectOperation
  /// The FUSE request's number.
  public var unique: RequestNumber
  /// The inode.
  public var inode: UInt64
  /// Byte offset in the file.
  public var fileOffset: Int
  /// Bytes; for reads and writes any number up to the largest request.
  public var length: Int
  /// Bytes that the caller asked for, where a file's end has cut them; 0 if nothing has.
  public var askedLength = 0
  /// Where the data lies after the payload's first byte.
  public var dataOffset: Int
  /// The iterator to make, and the rules.
  public var shape: RequestShape
  /// The only extent, as long as the request; nil if the slot's list has them.
  public var extent: Extent?
  /// What a write does about fresh blocks that it covers in part.
  public var zeroing: Zeroing
  /// Whether whole blocks go straight to the device, from a buffer mapped under the hardware's limits.
  public var isPassThrough: Bool
  /// Whether the answer must wait until the data is durable (O_DSYNC).
  public var isDurable = false
  /// Whether the volume has something to do between the data and the answer, as to mark blocks written.
  ///
  /// The request then finishes without a flush, and keeps its gate until `startFlush` or `release`: who comes next must
  /// see what the volume made of it.
  public var finishesInVolume = false
  /// Whether every block that the request touches is at least 4096 bytes long, aligned so on the device, and no other
  /// file's, so that a small write may go through the host's page cache.
  public var mayUseHostCache = false
  /// The thread that asked, or 0 where nobody did.
  public var thread: Int32 = 0
  /// When the request arrived, on CLOCK_MONOTONIC; 0 for now.
  public var arrivalNanoseconds = 0
  /// What was before.
  public var beginning = DirectBeginning.fresh
  /// The gate's `mappingAge` before the extents were asked for; nil if they cannot change.
  public var mappingAge: Int?
  /// The file's gate, or nil for a request that can meet no other.
  private var gate: Unmanaged<WriteGate>?

  /// Puts a request together whose extents are in the slot's list.
  /// - Parameter gate: the file's; it outlives the request, which does not count it.
  public init(
    _ operation: DirectOperation, unique: RequestNumber, inode: UInt64, fileOffset: Int,
    length: Int, dataOffset: Int = 0, shape: RequestShape = RequestShape(),
    zeroing: Zeroing = .off, isPassThrough: Bool = false, gate: WriteGate? = nil
  ) {
    self.operation = operation
    self.unique = unique
    self.inode = inode
    self.fileOffset = fileOffset
    self.length = length
    self.dataOffset = dataOffset
    self.shape = shape
    self.zeroing = zeroing
    self.isPassThrough = isPassThrough
    if let gate { setGate(gate) }
  }

  /// Puts a read or a write of one mapped extent together.
  public init(
    isWrite: Bool, unique: RequestNumber, inode: UInt64, fileOffset: Int, deviceOffset: Int,
    length: Int, dataOffset: Int, shape: RequestShape, zeroing: Zeroing = .off,
    isPassThrough: Bool = false, gate: WriteGate? = nil
  ) {
    self.init(
      isWrite ? .write : .read, unique: unique, inode: inode, fileOffset: fileOffset,
      length: length, dataOffset: dataOffset, shape: shape, zeroing: zeroing,
      isPassThrough: isPassThrough, gate: gate)
    extent = Extent(deviceOffset: deviceOffset, byteCount: length, kind: .mapped)
  }

  /// Whether data comes from the caller.
  public var isWrite: Bool { operation == .write }
  /// The first byte behind the range.
  var fileEnd: Int { fileOffset &+ length }

  /// Whether it has to pass a gate.
  var hasGate: Bool { unsafe gate != nil }

  /// Runs `body` with the gate, which is not counted.
  /// - Returns: nil if there is none.
  @inline(__always) @discardableResult
  func withGate<Result>(_ body: (WriteGate) -> Result) -> Result? {
    unsafe gate?._withUnsafeGuaranteedRef(body)
  }

  /// Names the gate, as the initialisers do.
  public mutating func setGate(_ gate: WriteGate) {
    unsafe self.gate = Unmanaged.passUnretained(gate)
  }
}

/// A request that is through.
public struct FinishedRequest {
  /// Its slot.
  public let slot: Slot
  /// Why it failed, or nil: then all of it was done.
  public let error: Errno?
  /// From arrival to end.
  public let latencyNanoseconds: Int

  /// Puts the result together.
  public init(slot: Slot, error: Errno?, latencyNanoseconds: Int) {
    self.slot = slot
    self.error = error
    self.latencyNanoseconds = latencyNanoseconds
  }
}
