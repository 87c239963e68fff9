// The vocabulary of iterators: segments, kinds, directions, and what is asked of an extraction.

import Memory

/// A range of user or kernel addresses.
///
/// Kernel: `struct iovec` and `struct kvec`, include/linux/uio.h, v6.6.
public struct IOVec: Equatable, Hashable, BitwiseCopyable, Sendable {
  /// Address of the first byte.
  public var base: UInt64
  /// Bytes; a negative value stands for a length with its sign bit set, which import refuses.
  public var length: Int

  /// Makes a segment.
  /// - Parameter length: bytes.
  @inlinable public init(base: UInt64, length: Int) {
    self.base = base
    self.length = length
  }
}

/// A range of physically contiguous bytes.
///
/// Kernel: `struct bio_vec`, include/linux/bvec.h, v6.6.
public struct BioVec: Equatable, Hashable, BitwiseCopyable, Sendable {
  /// The page from whose start `offset` counts.
  public var page: Page
  /// Bytes from the start of `page` to the first byte; may exceed a page.
  public var offset: UInt32
  /// Bytes.
  public var length: UInt32

  /// Makes a segment.
  /// - Parameters:
  ///   - offset: bytes from the start of `page`.
  ///   - length: bytes.
  @inlinable public init(page: Page, offset: UInt32, length: UInt32) {
    self.page = page
    self.offset = offset
    self.length = length
  }

  /// The pages that the segment touches.
  @inlinable public var pageRun: PageRun {
    if length == 0 { return PageRun(first: page, count: 0) }
    let first = Int(offset) >> pageShift
    let last = (Int(offset) &+ Int(length) &- 1) >> pageShift
    return PageRun(first: page.advanced(by: first), count: last &- first &+ 1)
  }
}

/// Which way data moves.
///
/// Kernel: `data_source` of `struct iov_iter`: `ITER_DEST` and `ITER_SOURCE`.
public enum Direction: UInt8, Sendable {
  /// Data goes into the buffer: a read.
  case destination
  /// Data comes out of the buffer: a write.
  case source
}

/// Qualifies an extraction.
///
/// Kernel: `iov_iter_extraction_t`, include/linux/uio.h, v8 series, patch 1.
public struct ExtractionFlags: OptionSet, Sendable {
  /// The bits.
  public let rawValue: UInt32

  /// Wraps the bits.
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Peer-to-peer DMA pages are accepted. Kernel: `ITER_ALLOW_P2PDMA`.
  @inlinable public static var allowP2PDMA: ExtractionFlags { ExtractionFlags(rawValue: 1) }
}

/// What is taken on extracted pages: what the iterator's kind calls for, or one thing for every kind.
///
/// Differs: the kernel knows `auto` only; the others let one workload be replayed under every mode.
public enum CleanupPolicy: String, CaseIterable, Sendable {
  /// User memory is pinned, all else is listed.
  case auto
  /// Every page is pinned.
  case pin
  /// Every page gets a reference.
  case get
  /// Nothing is taken on any page.
  case none

  /// The cleanup mode for pages of an iterator: `.pin`, `.get` or nothing.
  @inlinable public func mode(for iterator: borrowing IOVIter) -> FollFlags {
    switch self {
    case .auto: iterator.extractMode
    case .pin: .pin
    case .get: .get
    case .none: []
    }
  }

  /// What stands in the policy's place while bugs are switched on: a reference for user memory instead of a pin.
  public func misread(_ bugs: ModelBugs, for iterator: borrowing IOVIter) -> CleanupPolicy {
    if iterator.isUserBacked, bugs.contains(.refInsteadOfPin), self == .pin || self == .auto {
      return .get
    }
    return self
  }
}
