// What one call did, in the words of the vectors: lookups, bios, pins, releases, the result, and what decided it.

import IOVector
import Memory

/// A lookup of user pages that reached the page tables.
public struct LookupRecord: Equatable, Sendable {
  /// Whether pages were pinned; they were referenced otherwise.
  public var pins: Bool
  /// The address, rounded down to a page.
  public var address: UInt64
  /// Pages wanted.
  public var wanted: Int
  /// Whether write access was asked for.
  public var isWrite: Bool
  /// Pages had, or a negative error number.
  public var result: Int
}

/// One filling of a bio from an iterator.
public struct FillRecord: Equatable, Sendable {
  /// Bytes, offset and segments left of the iterator on entry.
  public var iterator: [Int]
  /// The room of the bio's table.
  public var maxVectors: Int
  /// Whether a ring's cache of bios may have given the bio.
  public var isPooled = false
  /// The lookups within.
  public var lookups: [LookupRecord] = []
  /// 0 or a negative error number.
  public var result = 0
}

/// A bio as it reached the block layer.
public struct BioRecord: Equatable, Sendable {
  /// Whether data goes to the device.
  public var isWrite: Bool
  /// The names of its flags.
  public var flags: [String]
  /// The first sector, of 512 bytes; of a file, from the file's start; nil if only a filesystem's map knows.
  public var sector: Int?
  /// Bytes.
  public var byteCount: Int
  /// The table's count.
  public var vectorCount: Int
  /// The table's room.
  public var maxVectors: Int
  /// The table; `foreignPage` stands for pages that are not the caller's.
  public var vectors: [BioVec]
  /// Where in the table it starts: index and bytes.
  public var start: [Int] = [0, 0]
  /// A bounced read's user pages.
  public var userVectors: [BioVec] = []
  /// First sector and bytes of each part, if the block layer split it.
  public var fragments: [[Int]] = []
  /// Whether a ring's cache of bios may have given it, which makes small tables exact.
  public var isPooled = false
  /// Whether it is of the page cache, whose pages lie where the kernel found room.
  public var isCached = false
}

/// A page in a bio that is not the caller's: of a bounce buffer, of a pipe, the zero page.
public let foreignPage = Page(UInt32.max >> 1)

/// Something that was done to a bio: its place among the submitted ones, nil for one that never was; and a flag.
public struct BioEvent: Hashable, Sendable {
  /// Place among the submitted bios.
  public var bio: Int?
  /// Whether pages were marked dirty.
  public var marksDirty = false
}

/// One call and all that it did.
public struct CallRecord: Sendable {
  /// Position in bytes.
  public var offset: Int
  /// Bytes asked for.
  public var left: Int
  /// Bytes, or a negative error number.
  public var result = 0
  /// Pins taken.
  public var acquired = 0
  /// Pins given back.
  public var released = 0
  /// Fillings of bios, in order.
  public var fills: [FillRecord] = []
  /// Lookups outside of them.
  public var lookups: [LookupRecord] = []
  /// Bios in the order of submission.
  public var bios: [BioRecord] = []
  /// Results of bouncing.
  public var bounces: [Int] = []
  /// Releases of a bio's pages.
  public var releases: Set<BioEvent> = []
  /// Bios whose pages were dirtied at submission.
  public var dirtied: [BioEvent] = []
  /// Bios whose pages were looked at again at completion.
  public var checked: [BioEvent] = []
  /// Bios whose bounce buffer was given back.
  public var unbounced: [BioEvent] = []
  /// Requests to a FUSE server: whether they write, offset, bytes.
  public var serverRequests: [(isWrite: Bool, offset: Int, byteCount: Int)] = []
  /// Pages that vmsplice(2) or a registration took before, and what they gave: bytes.
  public var bytesInPipe: Int?
  /// Whether the page cache was asked for what direct I/O left over, with or without success.
  public var triedPageCache = false
  /// Bytes that the processor copied for the call: bounced, or through the page cache.
  public var copiedBytes = 0
  /// What decided the result.
  public var decision = Decision.transferred

  init(offset: Int, left: Int) {
    self.offset = offset
    self.left = left
  }
}
