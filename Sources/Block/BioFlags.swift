// What a bio says about itself: flags and operation.

import Memory

/// State of a bio; the two lowest bits are the cleanup mode of its pages.
///
/// They equal `FollFlags.pin` and `.get`, so that a mode becomes flags, and flags a mode, by one mask.
///
/// Kernel: `BIO_*`, include/linux/blk_types.h, v8 series, patches 6 and 7.
public struct BioFlags: OptionSet, Equatable, Hashable, Sendable {
  /// The bits.
  public let rawValue: UInt32

  /// Wraps the bits.
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The flags that say how pages are to be released: nothing is set by default.
  ///
  /// Kernel: `bio_set_cleanup_mode()`, include/linux/bio.h, v8 series, patch 7.
  @inlinable public init(cleanupMode: FollFlags) { rawValue = cleanupMode.rawValue & 0x3 }

  /// Pages are to be unpinned. Kernel: `BIO_PAGE_PINNED`.
  @inlinable public static var pagePinned: BioFlags { BioFlags(rawValue: 0x1) }
  /// Pages have a reference to be dropped. Kernel: `BIO_PAGE_REFFED`.
  @inlinable public static var pageReffed: BioFlags { BioFlags(rawValue: 0x2) }
  /// The segment table belongs to somebody else. Kernel: `BIO_CLONED`.
  @inlinable public static var cloned: BioFlags { BioFlags(rawValue: 0x4) }
  /// What was written before is made durable first. Kernel: `REQ_PREFLUSH`.
  @inlinable public static var preflush: BioFlags { BioFlags(rawValue: 0x8) }
  /// The bio's own data is durable at its end. Kernel: `REQ_FUA`.
  @inlinable public static var fua: BioFlags { BioFlags(rawValue: 0x10) }
  /// Blocks that become zeroes keep their storage. Kernel: `REQ_NOUNMAP`.
  @inlinable public static var noUnmap: BioFlags { BioFlags(rawValue: 0x20) }
  /// The transfer goes through the host's page cache.
  @inlinable public static var cached: BioFlags { BioFlags(rawValue: 0x40) }
  /// The one segment lies in memory that devices can register beforehand.
  @inlinable public static var registered: BioFlags { BioFlags(rawValue: 0x80) }

  /// How pages are released: `.pin`, `.get`, or not at all.
  ///
  /// One `and` with 3; no branch, no shift.
  ///
  /// Kernel: `bio_to_gup_flags()`, block/blk.h, v8 series, patch 7; `bio_flagged()` as mended by patch 5.
  @inlinable public var cleanupMode: FollFlags { FollFlags(rawValue: rawValue & 0x3) }
}

/// What a bio asks of a device; raw values as in the kernel.
///
/// Kernel: `enum req_op`, include/linux/blk_types.h, v6.6.
public enum BioOperation: UInt8, CaseIterable, Sendable {
  /// Data comes from the device.
  case read = 0
  /// Data goes to the device.
  case write = 1
  /// The device's cache is written out.
  case flush = 2
  /// The blocks are no longer needed.
  case discard = 3
  /// The blocks are erased for good.
  case secureErase = 5
  /// Data goes to the end of a zone.
  case zoneAppend = 7
  /// The blocks become zeroes.
  case writeZeroes = 9
  /// A pass-through command with data from the device.
  case driverIn = 34
  /// A pass-through command with data to the device.
  case driverOut = 35

  /// Whether the operation has a range but no segments to walk.
  ///
  /// Kernel: `bio_no_advance_iter()`, include/linux/bio.h, v6.6.
  @inlinable public var hasNoSegments: Bool {
    self == .discard || self == .secureErase || self == .writeZeroes
  }
}
