// What a device can take.

/// The limits of a device's queue.
///
/// Kernel: `struct queue_limits`, include/linux/blkdev.h, v6.6.
public struct QueueLimits: Equatable, Hashable, Sendable {
  /// Bytes in a logical block, a power of two; 0 for a bio without a device, which is not trimmed.
  public var logicalBlockSize: Int = 512
  /// Sectors (512 bytes) in one pass-through request.
  public var maxHwSectors: UInt32 = 2560
  /// Segments in one request.
  public var maxSegments: Int = 128
  /// Bytes in one segment.
  public var maxSegmentSize: UInt32 = 65536
  /// No segment crosses an address with all these bits clear that it does not start at.
  public var segBoundaryMask: UInt64 = 0xffff_ffff
  /// Segments join only at addresses with these bits clear.
  public var virtBoundaryMask: UInt64 = 0
  /// Bits that must be clear in the address of pass-through data.
  public var dmaAlignment: UInt32 = 511
  /// Whether peer-to-peer pages are accepted.
  public var allowsPeerToPeerDMA = false
  /// Sectors (512 bytes) in one zone append.
  public var maxZoneAppendSectors: UInt32 = 2560

  /// Makes limits of a common device.
  public init() {}
}
