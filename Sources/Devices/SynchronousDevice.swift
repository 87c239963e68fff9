// The image through preadv2 and pwritev2: each bio is through when `submit` returns.

import Block
import Glibc
import Memory

/// The image file, by blocking system calls.
public final class SynchronousDevice: FileDevice, @unchecked Sendable {
  // Guard of the unchecked Sendable: as of `FileDevice`.
  /// Serves an image.
  public init(image: ImageFile) {
    super.init(
      image: image, name: "preadv2/pwritev2 (\(image.isDirect ? "O_DIRECT" : "buffered"))",
      isImmediate: true)
  }

  /// Makes a queue that completes what it is given at once.
  public override func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: AnyObject?
  ) throws(Errno) -> any DeviceQueue {
    SynchronousQueue(image: image, mapped: nil, pool: pool, depth: depth, context: context)
  }
}

/// What devices on an image file have in common.
public class FileDevice: BlockDevice, @unchecked Sendable {
  // Guard of the unchecked Sendable: all fields are constants.
  /// The image.
  public let image: ImageFile
  /// How the image is reached.
  public let name: String
  /// Whether the worker makes transfers itself.
  public let isImmediate: Bool
  /// What the image wants of bios.
  public let limits: QueueLimits
  /// Size in bytes.
  public var byteCount: Int { image.byteCount }
  /// What the host's filesystem has allocated for the image, in bytes.
  public var storedByteCount: Int { image.storedByteCount }
  /// Whether writes are refused.
  public var isReadOnly: Bool { image.isReadOnly }

  init(image: ImageFile, name: String, isImmediate: Bool) {
    self.image = image
    self.isImmediate = isImmediate
    self.name = name
    var limits = QueueLimits()
    limits.logicalBlockSize = image.blockSize
    limits.dmaAlignment = UInt32(max(image.memoryAlignment, 1) - 1)
    self.limits = limits
  }

  /// To be given by the subclass.
  public func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: AnyObject?
  ) throws(Errno) -> any DeviceQueue {
    preconditionFailure("a file device must make its queue")
  }

  /// Nothing to give up, unless a subclass knows better.
  public var canRelax: Bool { false }
  /// Nothing to give up, unless a subclass knows better.
  public func relax() {}

  /// lseek(2) on the image.
  public func seek(offset: Int, whence: Int32) throws(Errno) -> Int {
    try image.seek(offset: offset, whence: whence)
  }

  /// As lseek(2) on the image says.
  public func isHole(at offset: Int, byteCount: Int) -> Bool {
    isHoleBySeeking(at: offset, byteCount: byteCount)
  }
}

/// A queue whose bios are through as soon as they are submitted.
class ImmediateQueue: DeviceQueue {
  let pool: BioPool
  let context: MemoryContext
  private var completed: CompletionRing

  init(pool: BioPool, depth: Int, context: MemoryContext) {
    self.pool = pool
    self.context = context
    completed = CompletionRing(capacity: pool.slotCount)
  }

  var isImmediate: Bool { true }
  var inFlightCount: Int { completed.count }

  func submit(_ bio: consuming Bio) {
    let error = perform(bio)
    if let error { bio.status = error }
    completed.append(bio.detach())
  }

  /// Does what the bio asks for. To be given by the subclass.
  func perform(_ bio: borrowing Bio) -> Errno? {
    preconditionFailure("an immediate queue must perform its bios")
  }

  func nextCompleted() -> Bio? {
    guard let index = completed.popFirst() else { return nil }
    return pool.adopt(index)
  }

  /// Nothing is ever under way.
  func close() {}
}

final class SynchronousQueue: ImmediateQueue {
  private let access: ImageAccess

  init(
    image: ImageFile, mapped: MappedImage?, pool: BioPool, depth: Int, context: MemoryContext
  ) {
    access = ImageAccess(image: image, mapped: mapped, pages: context.pages)
    super.init(pool: pool, depth: depth, context: context)
  }

  override func perform(_ bio: borrowing Bio) -> Errno? {
    if bio.isTransfer { countTransfer(bio, in: context) }
    return access.perform(bio)
  }
}
