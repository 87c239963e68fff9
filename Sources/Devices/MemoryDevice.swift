// Devices without I/O: the image's content in memory, and nothing at all.

import Block
import CSystem
import Glibc
import Memory

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
    limits = .forCopies(blockSize: image.blockSize)
    mappedBytes = (byteCount + 4095) / 4096 * 4096
    unsafe bytes = try Self.map(mappedBytes)
    unsafe try image.readData(into: UnsafeMutableRawBufferPointer(start: bytes, count: byteCount))
  }

  /// Makes a small device of zeroes, as labs and tests have them.
  /// - Parameters:
  ///   - byteCount: bytes that the machine is known to have; need not be whole blocks.
  ///   - blockSize: the logical block.
  public init(byteCount: Int, blockSize: Int) {
    self.byteCount = byteCount
    isReadOnly = false
    limits = .forCopies(blockSize: blockSize)
    mappedBytes = (byteCount + 4095) / 4096 * 4096
    do throws(Errno) {
      unsafe bytes = try Self.map(mappedBytes)
    } catch {
      preconditionFailure("no memory for a device of \(byteCount) bytes")
    }
  }

  private static func map(_ count: Int) throws(Errno) -> UnsafeMutableRawPointer {
    let mapped = unsafe mmap(
      nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else { throw .noMemory }
    return unsafe mapped
  }

  deinit { unsafe munmap(bytes, mappedBytes) }

  /// The content, for those who look at it or prepare it while nothing is under way.
  @unsafe public var content: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(start: bytes, count: byteCount)
  }

  /// Makes a queue that copies.
  public func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: AnyObject?
  ) throws(Errno) -> any DeviceQueue {
    MemoryQueue(device: self, pool: pool, depth: depth, context: context)
  }

  /// All of it is data.
  public func seek(offset: Int, whence: Int32) throws(Errno) -> Int {
    if offset < 0 || offset >= byteCount { throw Errno(rawValue: ENXIO) }
    return whence == EXTRACTFS_SEEK_HOLE ? byteCount : offset
  }

  /// What holes it had is not remembered.
  public func isHole(at offset: Int, byteCount: Int) -> Bool { false }
  /// It is its memory.
  public let canRelax = false
  /// Nothing to give up.
  public func relax() {}
  /// All of it is stored.
  public var storedByteCount: Int { byteCount }

  /// Does what a bio asks for, for a queue that decides itself when that is.
  public func perform(_ bio: borrowing Bio, pages: PageTable) {
    switch bio.operation {
    case .flush: break  // There is nothing to flush to.
    case .discard, .secureErase, .writeZeroes: zero(bio)
    case .provision: break
    default: copy(bio, pages: pages)
    }
  }

  private func zero(_ bio: borrowing Bio) {
    let offset = Int(bio.sector) << 9
    let count = min(bio.byteCount, byteCount - offset)
    if count > 0 { unsafe memset(bytes + offset, 0, count) }
  }

  /// Copies a bio's bytes; what lies past the end reads as zeroes and is not written.
  private func copy(_ bio: borrowing Bio, pages: PageTable) {
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
    if bio.isTransfer { countTransfer(bio, in: context) }
    device.perform(bio, pages: context.pages)
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
    limits = .forCopies(blockSize: image.blockSize)
  }

  /// Makes a queue that does nothing.
  public func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: AnyObject?
  ) throws(Errno) -> any DeviceQueue {
    NullQueue(pool: pool, depth: depth, context: context)
  }

  /// All of it is data.
  public func seek(offset: Int, whence: Int32) throws(Errno) -> Int {
    if offset < 0 || offset >= byteCount { throw Errno(rawValue: ENXIO) }
    return whence == EXTRACTFS_SEEK_HOLE ? byteCount : offset
  }
  /// Nothing is known of holes.
  public func isHole(at offset: Int, byteCount: Int) -> Bool { false }
  /// Nothing is held.
  public var canRelax: Bool { false }
  /// Nothing is held.
  public func relax() {}
  /// As if all of it were stored.
  public var storedByteCount: Int { byteCount }
}

final class NullQueue: ImmediateQueue {
  override func perform(_ bio: borrowing Bio) -> Errno? {
    if bio.isTransfer { countTransfer(bio, in: context) }
    return nil
  }
}

extension QueueLimits {
  /// Limits for devices that copy: any address will do.
  static func forCopies(blockSize: Int) -> QueueLimits {
    var limits = QueueLimits()
    limits.logicalBlockSize = blockSize
    limits.dmaAlignment = 0
    return limits
  }
}

extension ImageFile {
  /// Reads the image's data, leaving holes untouched.
  func readData(into bytes: UnsafeMutableRawBufferPointer) throws(Errno) {
    var offset = 0
    while offset < bytes.count {
      let data = lseek(bufferedDescriptor, offset, EXTRACTFS_SEEK_DATA)
      if data < 0 { return }
      let hole = min(lseek(bufferedDescriptor, data, EXTRACTFS_SEEK_HOLE), bytes.count)
      offset = data
      while offset < hole {
        let count = retryingInterrupted {
          unsafe pread(bufferedDescriptor, bytes.baseAddress! + offset, hole - offset, offset)
        }
        if count < 0 { throw Errno(rawValue: errno) }
        if count == 0 { return }
        offset += count
      }
    }
  }
}
