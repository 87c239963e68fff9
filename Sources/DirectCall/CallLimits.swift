// What the model must know of a device: the limits of its queue, as sysfs shows them.

/// The limits of a device's queue, as far as whole calls depend on them.
///
/// Kernel: `struct queue_limits`, include/linux/blkdev.h, and /sys/block/*/queue.
public struct CallLimits: Equatable, Hashable, Sendable {
  /// Bytes in a logical block, a power of two.
  public var logicalBlockSize = 512
  /// Bits that must be clear in an address, and in a segment's length where that is tested.
  public var dmaAlignment = 511
  /// Segments in one request.
  public var maxSegments = 128
  /// Bytes in one segment.
  public var maxSegmentSize = 65536
  /// Bytes in one request.
  public var maxBytes = 255 * 512
  /// Segments join only at addresses with these bits clear.
  public var virtBoundaryMask = 0
  /// Whether pages must not change while they are written.
  public var stableWrites = false
  /// Bytes in the device; nil if calls never reach its end.
  public var byteCount: Int?

  /// Makes the limits of a common device.
  public init() {}

  /// The size of a request in bytes, from what sysfs shows in whole KiB.
  ///
  /// 127 KiB is the kernel's safe default of 255 sectors, of which sysfs drops the odd one.
  ///
  /// Kernel: `BLK_SAFE_MAX_SECTORS`, include/linux/blkdev.h, and `queue_max_sectors_show()`, block/blk-sysfs.c, v6.1.
  public static func requestBytes(kibibytes: Int) -> Int {
    kibibytes == 127 ? 255 * 512 : kibibytes << 10
  }
}
