// Devices without I/O: the image's content in memory, and nothing at all.

import Block
import CSystem
import Glibc
import Memory
import Ring

/// The image's content, read once into memory. What is written is lost at the end; the image stays as it is.
@safe public final class MemoryDevice: BlockDevice, @unchecked Sendable {
  // Guard of the unchecked Sendable: as on a disk, who writes and reads the same bytes at once gets either.
  /// `memory`.
  public var name: String { "memory" }
  /// A copy or less is all there is to do.
  public let isImmediate = true
  /// What bios must keep to.
  public let limits: QueueLimits
  /// Size in bytes.
  public let byteCount: Int
  /// Whether writes are refused.
  public let isReadOnly: Bool
  private let bytes: UnsafeMutableRawPointer
  private let mappedBytes: Int

  /// Reads an image.
  /// - Throws: `.noMemory`, or what reading the image failed with.
  public init(image: ImageFile, isReadOnly: Bool) throws(Errno) {
    byteCount = image.byteCount
    self.isReadOnly = isReadOnly
    limits = image.limitsForCopies
    mappedBytes = (byteCount + 4095) / 4096 * 4096
    let mapped = unsafe mmap(
      nil, mappedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else { throw .noMemory }
    unsafe bytes = unsafe mapped
    unsafe try image.readData(into: UnsafeMutableRawBufferPointer(start: mapped, count: byteCount))
  }

  deinit { unsafe munmap(bytes, mappedBytes) }

  /// Makes a queue that copies.
  public func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: IORing?
  ) throws(Errno) -> any DeviceQueue {
    MemoryQueue(device: self, pool: pool, depth: depth, context: context)
  }

  /// Zeroes the range, for punching and zeroing.
  public func allocate(mode: Int32, offset: Int, length: Int) throws(Errno) {
    let zeroes = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) != 0
    if !zeroes && mode & ~FALLOC_FL_KEEP_SIZE != 0 { throw .notSupported }
    precondition(offset >= 0 && length >= 0 && offset + length <= byteCount)
    if zeroes {
      unsafe (bytes + offset).initializeMemory(as: UInt8.self, repeating: 0, count: length)
    }
  }

  /// All of it is data.
  public func seek(offset: Int, whence: Int32) throws(Errno) -> Int {
    if offset < 0 || offset >= byteCount { throw Errno(rawValue: ENXIO) }
    return whence == EXTRACTFS_SEEK_HOLE ? byteCount : offset
  }

  /// There is nothing to flush to.
  public func flush() throws(Errno) {}

  /// Copies a bio's bytes; what lies past the end reads as zeroes and is not written.
  fileprivate func copy(_ bio: borrowing Bio, pages: PageTable) {
    var offset = Int(bio.sector) << 9
    var position = bio.iterator
    while let vector = bio.nextVector(&position) {
      let segment = unsafe pages.memory(
        at: vector.page, offset: Int(vector.offset), length: Int(vector.length))
      let inside = max(0, min(segment.count, byteCount - offset))
      if let start = segment.baseAddress {
        if bio.isWrite {
          unsafe memcpy(bytes + offset, start, inside)
        } else {
          unsafe memcpy(start, bytes + offset, inside)
          unsafe memset(start + inside, 0, segment.count - inside)
        }
      }
      offset += segment.count
    }
  }
}

final class MemoryQueue: ImmediateQueue {
  private let device: MemoryDevice

  init(device: MemoryDevice, pool: BioPool, depth: Int, context: MemoryContext) {
    self.device = device
    super.init(pool: pool, depth: depth, context: context)
  }

  override func perform(_ bio: borrowing Bio) -> Errno? {
    if bio.operation == .flush { return nil }
    countTransfer(bio, in: context)
    device.copy(bio, pages: context.pages)
    return nil
  }
}

/// A device that says yes to everything and moves nothing: reads give whatever the buffer held. The floor of the
/// transport, for measurements.
public final class NullDevice: BlockDevice {
  /// `null`.
  public var name: String { "null" }
  /// A copy or less is all there is to do.
  public let isImmediate = true
  /// What bios must keep to.
  public let limits: QueueLimits
  /// The image's size in bytes.
  public let byteCount: Int
  /// Whether writes are refused.
  public let isReadOnly: Bool

  /// Takes an image's size.
  public init(image: ImageFile, isReadOnly: Bool) {
    byteCount = image.byteCount
    self.isReadOnly = isReadOnly
    limits = image.limitsForCopies
  }

  /// Makes a queue that does nothing.
  public func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: IORing?
  ) throws(Errno) -> any DeviceQueue {
    NullQueue(pool: pool, depth: depth, context: context)
  }

  /// Nothing to do.
  public func allocate(mode: Int32, offset: Int, length: Int) throws(Errno) {}
  /// All of it is data.
  public func seek(offset: Int, whence: Int32) throws(Errno) -> Int {
    if offset < 0 || offset >= byteCount { throw Errno(rawValue: ENXIO) }
    return whence == EXTRACTFS_SEEK_HOLE ? byteCount : offset
  }
  /// Nothing to do.
  public func flush() throws(Errno) {}
}

final class NullQueue: ImmediateQueue {
  override func perform(_ bio: borrowing Bio) -> Errno? {
    if bio.operation != .flush { countTransfer(bio, in: context) }
    return nil
  }
}

extension ImageFile {
  /// Limits for devices that copy: any address will do.
  var limitsForCopies: QueueLimits {
    var limits = QueueLimits()
    limits.logicalBlockSize = blockSize
    limits.dmaAlignment = 0
    return limits
  }

  /// Reads the image's data, leaving holes untouched.
  func readData(into bytes: UnsafeMutableRawBufferPointer) throws(Errno) {
    var offset = 0
    while offset < bytes.count {
      let data = lseek(bufferedDescriptor, offset, EXTRACTFS_SEEK_DATA)
      if data < 0 { return }
      let hole = min(lseek(bufferedDescriptor, data, EXTRACTFS_SEEK_HOLE), bytes.count)
      offset = data
      while offset < hole {
        let count = unsafe pread(
          bufferedDescriptor, bytes.baseAddress! + offset, hole - offset, offset)
        if count < 0 && errno != EINTR { throw Errno(rawValue: errno) }
        if count == 0 { return }
        offset += max(count, 0)
      }
    }
  }
}
