// What a bio asks of an image, done by blocking system calls; and the parts of it that a ring does in steps.

import Block
import CSystem
import Glibc
import Memory

extension Bio {
  /// Whether data goes to the device.
  var isWrite: Bool {
    operation == .write || operation == .zoneAppend || operation == .driverOut
  }

  /// Whether bytes move between pages and the device. A write without any, which may carry a preflush, moves none.
  var isTransfer: Bool { operation != .flush && !operation.hasNoSegments && byteCount > 0 }

  /// Whether the device's cache is to be written out before all else.
  var flushesFirst: Bool { flags.contains(.preflush) && operation != .flush }

  /// Whether it is to be written out behind the bio: what becomes durable by no flag of the call itself.
  var flushesLast: Bool { flags.contains(.fua) && operation.hasNoSegments }
}

/// Counts a bio that goes to a device.
func countTransfer(_ bio: borrowing Bio, in context: MemoryContext) {
  context.counters.add(bio.isWrite ? .deviceWrites : .deviceReads, 1)
  context.counters.add(bio.isWrite ? .deviceBytesWritten : .deviceBytesRead, bio.byteCount)
}

/// Zeroes to write where the host's filesystem cannot make any itself.
@safe enum Zeroes {
  static let byteCount = 128 << 10
  // Never written to, and never freed.
  nonisolated(unsafe) static let start = {
    let bytes = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 4096)
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    return unsafe bytes
  }()
}

extension ImageFile {
  /// The bytes of the image that a bio with a range is about: what lies past the image's end is left out.
  func range(of bio: borrowing Bio) -> Range<Int> {
    let start = Int(bio.sector) << 9
    return start..<max(start, min(start + bio.byteCount, byteCount))
  }

  /// The mode of fallocate(2) for a discard, a write of zeroes, or storage.
  ///
  /// Kernel: `blkdev_fallocate()`, block/fops.c, v6.6, the other way around.
  func mode(of bio: borrowing Bio) -> Int32 {
    if bio.operation == .provision { return FALLOC_FL_KEEP_SIZE }
    let keepsStorage = bio.operation == .writeZeroes && bio.flags.contains(.noUnmap)
    return (keepsStorage ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE) | FALLOC_FL_KEEP_SIZE
  }

  /// Whether fallocate(2) failed in a way that leaves writing the zeroes. A discard is refused then, as a device
  /// without it does.
  ///
  /// Kernel: `blkdev_issue_zeroout()`, block/blk-lib.c, v6.6.
  func mustWriteZeroes(_ bio: borrowing Bio, after error: Errno) -> Bool {
    let unsupported = [EOPNOTSUPP, ENOSYS, EINVAL, EREMOTEIO]
    return bio.operation == .writeZeroes && unsupported.contains(error.rawValue)
  }

  /// The next piece of a range to write zeroes over: whole blocks by O_DIRECT, the rest buffered.
  func zeroPiece(_ range: Range<Int>) -> (byteCount: Int, isBuffered: Bool) {
    let most = min(range.count, Zeroes.byteCount)
    let whole = most / blockSize * blockSize
    if range.lowerBound % blockSize == 0 && whole > 0 { return (whole, false) }
    let toBlock = blockSize - range.lowerBound % blockSize
    return (min(most, toBlock), true)
  }
}

/// One thread's blocking way to an image.
final class ImageAccess {
  let image: ImageFile
  /// The image in memory, if it lies there.
  let mapped: MappedImage?
  private let segments = SegmentTable()
  private let pages: PageTable

  init(image: ImageFile, mapped: MappedImage?, pages: PageTable) {
    self.image = image
    self.mapped = mapped
    self.pages = pages
  }

  /// Does all that a bio asks for, and waits.
  /// - Returns: the error, or nil.
  func perform(_ bio: borrowing Bio) -> Errno? {
    do throws(Errno) {
      if bio.flushesFirst { try flush() }
      switch bio.operation {
      case .flush: try flush()
      case .discard, .writeZeroes, .provision: try clear(bio)
      case .secureErase: throw .notSupported
      default: if let error = transfer(bio) { throw error }
      }
      if bio.flushesLast { try flush() }
      return nil
    } catch {
      return error
    }
  }

  /// Moves a bio's bytes, if it is about any.
  /// - Parameter skip: bytes that were moved already.
  func transfer(_ bio: borrowing Bio, skip: Int = 0) -> Errno? {
    if !bio.isTransfer { return nil }
    if let mapped, skip == 0, mapped.move(bio, pages: pages) { return nil }
    let error = image.transfer(bio, skip: skip, segments: segments, pages: pages)
    if let mapped, error == nil, bio.isWrite {
      mapped.notePresent(offset: Int(bio.sector) << 9, byteCount: bio.byteCount)
    }
    return error
  }

  /// The pages of a range are about to go.
  func noteAbsent(_ range: Range<Int>) {
    mapped?.noteAbsent(offset: range.lowerBound, byteCount: range.count)
  }

  /// fdatasync(2).
  private func flush() throws(Errno) {
    if retryingInterrupted({ fdatasync(image.bufferedDescriptor) }) != 0 {
      throw Errno(rawValue: errno)
    }
  }

  private func clear(_ bio: borrowing Bio) throws(Errno) {
    let range = image.range(of: bio)
    if range.isEmpty { return }
    noteAbsent(range)
    let mode = image.mode(of: bio)
    let result = retryingInterrupted {
      fallocate(image.bufferedDescriptor, mode, range.lowerBound, range.count)
    }
    if result == 0 { return }
    let error = Errno(rawValue: errno)
    if !image.mustWriteZeroes(bio, after: error) { throw error }
    try writeZeroes(range)
  }

  private func writeZeroes(_ range: Range<Int>) throws(Errno) {
    var left = range
    while !left.isEmpty {
      let piece = image.zeroPiece(left)
      let descriptor = piece.isBuffered ? image.bufferedDescriptor : image.descriptor
      let count = retryingInterrupted {
        unsafe pwrite(descriptor, Zeroes.start, piece.byteCount, left.lowerBound)
      }
      if count < 0 { throw Errno(rawValue: errno) }
      if count == 0 { throw .noSpace }
      left = left.lowerBound + count..<left.upperBound
    }
  }
}
