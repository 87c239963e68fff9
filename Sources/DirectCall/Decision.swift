// What decided a call's result, and where the kernel decides it.

import Memory

/// Why a call ended as it did.
public enum Decision: String, CaseIterable, Sendable {
  /// All went through, from the caller's own pages.
  case transferred
  /// Nothing was asked for, or nothing is there.
  case nothingToDo
  /// The position or the total length is no multiple of the logical block.
  case positionOrTotal
  /// A segment's address or length does not suit, found before anything else.
  case segmentFirst
  /// A segment does not suit the DMA alignment, found while extracting.
  case segmentExtracted
  /// A segment does not suit the DMA alignment, found while splitting.
  case segmentSplit
  /// Not one logical block suits the queue's limits.
  case unsplittable
  /// A user address cannot be had.
  case fault
  /// A call that may not wait would have had to.
  case wouldBlock
  /// The data was copied through kernel pages, for they must not change in flight.
  case bounced
  /// The rest was transferred through the page cache.
  case finishedBuffered
  /// All was transferred through the page cache.
  case buffered
  /// It lies beyond the device's end.
  case beyondEnd
  /// The block layer had to cut a bio.
  case split
  /// The table was borrowed from the iterator: nothing was looked up.
  case borrowed

  /// What happened, as a sentence's rest.
  public var summary: String {
    switch self {
    case .transferred: "the caller's pages are transferred as they are"
    case .nothingToDo: "there is nothing to transfer"
    case .positionOrTotal: "position and length must be multiples of the logical block"
    case .segmentFirst:
      "every segment's address must suit the DMA mask, its length the logical block"
    case .segmentExtracted: "a segment does not suit the DMA alignment, found at its extraction"
    case .segmentSplit: "a segment does not suit the DMA alignment, found by the block layer"
    case .unsplittable: "not one logical block suits the queue's limits"
    case .fault: "a user page cannot be had"
    case .wouldBlock: "it would have to wait"
    case .bounced: "pages must not change in flight, so data is copied"
    case .finishedBuffered: "what direct I/O left over goes through the page cache"
    case .buffered: "the filesystem uses the page cache"
    case .beyondEnd: "it lies beyond the device's end"
    case .split: "the queue's limits cut a bio"
    case .borrowed: "the table is borrowed, nothing is looked up"
    }
  }

  /// The kernel function that decides under an era's rules, with its file.
  ///
  /// - Parameter isFile: whether the call is on a file, not on a device.
  public func source(_ era: Era, isFile: Bool = false) -> String {
    let rules = era.rules
    switch self {
    case .transferred:
      if rules.contains(.referencesUserPages) { return "iov_iter_get_pages2(), lib/iov_iter.c" }
      return rules.contains(.testsAlignmentAtExtraction)
        ? "iov_iter_extract_bvecs(), lib/iov_iter.c" : "iov_iter_extract_pages(), lib/iov_iter.c"
    case .nothingToDo:
      return isFile
        ? "__iomap_dio_rw(), fs/iomap/direct-io.c" : "blkdev_read_iter(), block/fops.c"
    case .positionOrTotal, .segmentFirst:
      if isFile { return "iomap_dio_bio_iter(), fs/iomap/direct-io.c" }
      return rules.contains(.takesFoliosWhole)
        ? "blkdev_dio_invalid(), block/fops.c" : "blkdev_dio_unaligned(), block/fops.c"
    case .segmentExtracted: return "iov_iter_extract_bvecs(), lib/iov_iter.c"
    case .segmentSplit, .unsplittable: return "bio_split_io_at(), block/blk-merge.c"
    case .fault:
      return rules.contains(.referencesUserPages)
        ? "get_user_pages_fast(), mm/gup.c" : "pin_user_pages_fast(), mm/gup.c"
    case .wouldBlock: return "__blkdev_direct_IO(), block/fops.c"
    case .bounced: return "bio_iov_iter_bounce(), block/bio.c"
    case .finishedBuffered: return "blkdev_read_iter() and direct_write_fallback()"
    case .buffered: return "btrfs_direct_write(), fs/btrfs/direct-io.c"
    case .beyondEnd: return "blkdev_write_iter(), block/fops.c"
    case .split:
      return rules.contains(.refusesUnsplittable)
        ? "bio_split_io_at(), block/blk-merge.c" : "bio_split_rw(), block/blk-merge.c"
    case .borrowed: return "bio_iov_bvec_set(), block/bio.c"
    }
  }
}
