// How pages are to be looked up and what is to be taken on them; numbering of the v8 series.

/// Flags for looking up user pages, and, as `.pin`, `.get` or nothing, the cleanup mode of what was extracted.
///
/// The two cleanup modes stand in bits 0 and 1, equal to the bio's flags, so that one is made from the
/// other by a mask.
///
/// Kernel: `FOLL_*`, include/linux/mm_types.h, v8 series, patch 10.
public struct FollFlags: OptionSet, Equatable, Hashable, Sendable {
  /// The bits.
  public let rawValue: UInt32

  /// Wraps the bits.
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Pages are pinned: hardware may touch them until they are unpinned.
  @inlinable public static var pin: FollFlags { FollFlags(rawValue: 0x1) }
  /// Pages get a plain reference each.
  @inlinable public static var get: FollFlags { FollFlags(rawValue: 0x2) }
  /// The pages will be written to.
  @inlinable public static var write: FollFlags { FollFlags(rawValue: 0x4) }
  /// The page is marked accessed.
  @inlinable public static var touch: FollFlags { FollFlags(rawValue: 0x8) }
  /// An error instead of the zero page, for core dumps.
  @inlinable public static var dump: FollFlags { FollFlags(rawValue: 0x10) }
  /// Access is forced, as debuggers need it.
  @inlinable public static var force: FollFlags { FollFlags(rawValue: 0x20) }
  /// Nothing is waited for.
  @inlinable public static var noWait: FollFlags { FollFlags(rawValue: 0x40) }
  /// No page is faulted in.
  @inlinable public static var noFault: FollFlags { FollFlags(rawValue: 0x80) }
  /// Poisoned pages are reported.
  @inlinable public static var hardwarePoison: FollFlags { FollFlags(rawValue: 0x100) }
  /// A fault has been retried once.
  @inlinable public static var tried: FollFlags { FollFlags(rawValue: 0x200) }
  /// The address space is not the caller's own.
  @inlinable public static var remote: FollFlags { FollFlags(rawValue: 0x400) }
  /// Only anonymous memory is accepted.
  @inlinable public static var anonymous: FollFlags { FollFlags(rawValue: 0x800) }
  /// The pin will last: movable zones are refused.
  @inlinable public static var longTerm: FollFlags { FollFlags(rawValue: 0x1000) }
  /// A huge page is split first.
  @inlinable public static var splitPMD: FollFlags { FollFlags(rawValue: 0x2000) }
  /// No fall-back to the slow path.
  @inlinable public static var fastOnly: FollFlags { FollFlags(rawValue: 0x4000) }
  /// Peer-to-peer DMA pages are accepted.
  @inlinable public static var pciP2PDMA: FollFlags { FollFlags(rawValue: 0x8000) }
  /// Signals may interrupt.
  @inlinable public static var interruptible: FollFlags { FollFlags(rawValue: 0x10000) }

  /// What was taken, as a cleanup mode: `.pin`, `.get`, or nothing.
  @inlinable public var cleanupMode: FollFlags { FollFlags(rawValue: rawValue & 0x3) }
}
