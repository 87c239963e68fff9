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
  /// What was written before and is acknowledged is made durable first. Without bytes, a write that is a flush.
  /// Kernel: `REQ_PREFLUSH`, include/linux/blk_types.h, v6.6.
  @inlinable public static var preflush: BioFlags { BioFlags(rawValue: 0x8) }
  /// The bio is through when its own bytes are durable. Kernel: `REQ_FUA`, include/linux/blk_types.h, v6.6.
  @inlinable public static var fua: BioFlags { BioFlags(rawValue: 0x10) }
  /// Zeroes are written without giving storage back. Kernel: `REQ_NOUNMAP`, include/linux/blk_types.h, v6.6.
  @inlinable public static var noUnmap: BioFlags { BioFlags(rawValue: 0x20) }
  /// A hint: the transfer is better made through the host's page cache, where there is one, as small writes are that
  /// change blocks in part and have the file alone. Differs: the kernel's bios are below its page cache; a device
  /// here may be a file above one. The counterpart is an `IOCB_DIRECT` that is not set, include/linux/fs.h, v6.6.
  @inlinable public static var cached: BioFlags { BioFlags(rawValue: 0x40) }
  /// Its segments lie in memory that can be registered with the kernel once for the mount, so that no transfer pins
  /// it again. Set by who made the memory. Kernel: `ITER_BVEC` of a registered buffer, `io_import_fixed()`,
  /// io_uring/rsrc.c, v6.6.
  @inlinable public static var registered: BioFlags { BioFlags(rawValue: 0x80) }

  /// The flags that say what the device is to heed. They are handed on to the parts of a bio, and are the caller's to
  /// set; the others are the bio's own. Kernel: those of `bi_opf`, where the others are `bi_flags`.
  @inlinable public static var request: BioFlags { BioFlags(rawValue: 0xf8) }

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
  /// The blocks get storage where they have none; what they read as stays. Differs: the kernel has no such operation
  /// for a block device; one was proposed in 2023 (REQ_OP_PROVISION) and not merged. A host's file can do it.
  case provision = 63
  /// A pass-through command with data from the device.
  case driverIn = 34
  /// A pass-through command with data to the device.
  case driverOut = 35

  /// Whether the operation has a range but no segments to walk.
  ///
  /// Kernel: `bio_no_advance_iter()`, include/linux/bio.h, v6.6.
  @inlinable public var hasNoSegments: Bool {
    self == .discard || self == .secureErase || self == .writeZeroes || self == .provision
  }
}
