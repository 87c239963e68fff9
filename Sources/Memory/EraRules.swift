// The rules of direct I/O by name: what one kernel does and another does not.

extension Era {
  /// Rules, each of which some kernel follows. Code asks for a rule, never for a version.
  ///
  /// Which era follows which stands in `Era.table`, and as prose on the page "Eras".
  public struct Rules: OptionSet, Hashable, Sendable {
    /// The bits.
    public let rawValue: UInt32

    /// Wraps the bits.
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// User pages get references; a pin does not exist for bios.
    ///
    /// Kernel: `iov_iter_get_pages2()`, lib/iov_iter.c, until v6.4.
    @inlinable public static var referencesUserPages: Rules { Rules(rawValue: 1 << 0) }
    /// The shared zero page is counted under pins like any other page.
    ///
    /// Kernel: `try_grab_folio()`, mm/gup.c; the exception for the zero page is of v6.5.
    @inlinable public static var countsZeroPage: Rules { Rules(rawValue: 1 << 1) }
    /// Pages of one folio are added to a bio, and released, as one range.
    ///
    /// Kernel: `get_contig_folio_len()`, block/bio.c, v6.12.
    @inlinable public static var takesFoliosWhole: Rules { Rules(rawValue: 1 << 2) }
    /// Before anything is extracted, every segment's address is tested against the DMA mask and every segment's
    /// length against the logical block.
    ///
    /// Kernel: `blkdev_dio_unaligned()`, v6.1; `bdev_iter_is_aligned()`, block/fops.c, until v6.17.
    @inlinable public static var testsSegmentsFirst: Rules { Rules(rawValue: 1 << 3) }
    /// The DMA alignment of segments is tested when the block layer looks for places to split.
    ///
    /// Kernel: `bio_split_io_at()`, block/blk-merge.c, v6.18.
    @inlinable public static var testsAlignmentAtSplit: Rules { Rules(rawValue: 1 << 4) }
    /// The DMA alignment of a segment is tested when it is extracted.
    ///
    /// Kernel: `iov_iter_extract_bvecs()`, lib/iov_iter.c, v7.3.
    @inlinable public static var testsAlignmentAtExtraction: Rules { Rules(rawValue: 1 << 5) }
    /// Each extraction is cut to whole logical blocks; without it the finished bio is, once.
    ///
    /// Kernel: `__bio_iov_iter_get_pages()`, block/bio.c, until v6.17; `bio_iov_iter_align_down()` from v6.18 on.
    @inlinable public static var trimsEachExtraction: Rules { Rules(rawValue: 1 << 6) }
    /// A piece that follows the last bvec in memory joins it, and of a page that is there already the second pin goes
    /// back.
    ///
    /// Kernel: `bvec_try_merge_page()` as called for iterators, block/bio.c, until v6.19.
    @inlinable public static var mergesPieces: Rules { Rules(rawValue: 1 << 7) }
    /// A bio of which not even one logical block suits the queue is refused.
    ///
    /// Kernel: `bio_split_io_at()`, block/blk-merge.c, v6.18.
    @inlinable public static var refusesUnsplittable: Rules { Rules(rawValue: 1 << 8) }
    /// Files whose pages must stay unchanged in flight are read and written through kernel folios.
    ///
    /// Kernel: `bio_iov_iter_bounce()`, block/bio.c, v7.0.
    @inlinable public static var bouncesStablePages: Rules { Rules(rawValue: 1 << 9) }
    /// The iterator kind of queued folios exists.
    ///
    /// Kernel: `iov_iter_folio_queue()`, lib/iov_iter.c, v6.12.
    @inlinable public static var knowsFolioQueues: Rules { Rules(rawValue: 1 << 10) }
    /// A registered buffer within one large folio is one bvec.
    ///
    /// Kernel: `io_sqe_buffer_register()`, io_uring/rsrc.c, v6.12.
    @inlinable public static var registersFoliosWhole: Rules { Rules(rawValue: 1 << 11) }
    /// A bio that borrows an iterator's table says by a flag of its own that nothing is to be released.
    ///
    /// Kernel: `BIO_NO_PAGE_REF`, include/linux/blk_types.h, until v6.4.
    @inlinable public static var marksBorrowedTables: Rules { Rules(rawValue: 1 << 12) }
    /// A bio that borrows an iterator's table has no table count of its own.
    ///
    /// Kernel: `bio_iov_bvec_set()`, block/bio.c, v7.3.
    @inlinable public static var borrowsUncounted: Rules { Rules(rawValue: 1 << 13) }
    /// The smallest tables of pooled bios have the room that was asked for; without it they have room for four.
    ///
    /// Kernel: `bio_alloc_bioset()`, block/bio.c, v7.3.
    @inlinable public static var makesExactTables: Rules { Rules(rawValue: 1 << 14) }
    /// Such tables are exact already where a ring's cache of bios gives them.
    ///
    /// Kernel: `bio_alloc_percpu_cache()`, block/bio.c, v6.12.
    @inlinable public static var cachesExactTables: Rules { Rules(rawValue: 1 << 15) }
    /// Data with checksums is written through the page cache although direct I/O was asked for.
    ///
    /// Kernel: `btrfs_direct_write()`, fs/btrfs/direct-io.c, v6.12 (stable) and v6.15.
    @inlinable public static var buffersChecksummedWrites: Rules { Rules(rawValue: 1 << 16) }
    /// Blocks that are written in part are filled up from a buffer of zeroes that is not the shared zero page.
    ///
    /// Kernel: `iomap_dio_init()`, fs/iomap/direct-io.c, v6.11 to v6.17.
    @inlinable public static var zeroesFromOwnFolio: Rules { Rules(rawValue: 1 << 18) }
    /// Where checksums are made, the device gets a clone of the bio, not the bio itself.
    ///
    /// Kernel: `btrfs_submit_direct()`, fs/btrfs/inode.c, until v6.3.
    @inlinable public static var clonesForChecksums: Rules { Rules(rawValue: 1 << 19) }
    /// A read whose pages are not there is finished through the page cache instead of faulting them in.
    ///
    /// Kernel: `btrfs_direct_read()`, fs/btrfs/direct-io.c, v7.3.
    @inlinable public static var readsAbsentBuffered: Rules { Rules(rawValue: 1 << 20) }
    /// A FUSE client's pages are pinned; without it they are referenced.
    ///
    /// Kernel: `fuse_get_user_pages()`, fs/fuse/file.c, v6.11.
    @inlinable public static var pinsFusePages: Rules { Rules(rawValue: 1 << 17) }
  }
}

extension Era.Rules {
  /// Every rule with its name, one sentence, and where a kernel has it.
  public static let catalogue: [(rule: Era.Rules, name: String, summary: String, source: String)] =
    [
      (
        .referencesUserPages, "references-user-pages", "user pages get references, not pins",
        "iov_iter_get_pages2() until v6.4"
      ),
      (
        .countsZeroPage, "counts-zero-page", "the zero page is counted like any other",
        "try_grab_folio() until v6.4"
      ),
      (
        .takesFoliosWhole, "takes-folios-whole", "a folio's pages are added and released at once",
        "get_contig_folio_len() since v6.12"
      ),
      (
        .testsSegmentsFirst, "tests-segments-first",
        "each segment's address and length is tested before anything else",
        "bdev_iter_is_aligned() until v6.17"
      ),
      (
        .testsAlignmentAtSplit, "tests-alignment-at-split",
        "DMA alignment is tested in the block layer", "bio_split_io_at() since v6.18"
      ),
      (
        .testsAlignmentAtExtraction, "tests-alignment-at-extraction",
        "DMA alignment is tested segment by segment", "iov_iter_extract_bvecs() since v7.3"
      ),
      (
        .trimsEachExtraction, "trims-each-extraction",
        "each extraction is cut to whole blocks, not the bio",
        "__bio_iov_iter_get_pages() until v6.17"
      ),
      (
        .mergesPieces, "merges-pieces", "pieces that follow each other in memory share a bvec",
        "bvec_try_merge_page() until v6.19"
      ),
      (
        .refusesUnsplittable, "refuses-unsplittable",
        "a bio of which not one block suits the queue is refused",
        "bio_split_io_at() since v6.18"
      ),
      (
        .bouncesStablePages, "bounces-stable-pages",
        "pages that must not change in flight are copied", "bio_iov_iter_bounce() since v7.0"
      ),
      (
        .knowsFolioQueues, "knows-folio-queues", "iterators over queues of folios exist",
        "iov_iter_folio_queue() since v6.12"
      ),
      (
        .registersFoliosWhole, "registers-folios-whole",
        "a registered buffer within one folio is one bvec", "io_sqe_buffer_register() since v6.12"
      ),
      (
        .marksBorrowedTables, "marks-borrowed-tables", "a borrowed table is flagged",
        "BIO_NO_PAGE_REF until v6.4"
      ),
      (
        .borrowsUncounted, "borrows-uncounted", "a borrowed table is not counted",
        "bio_iov_bvec_set() since v7.3"
      ),
      (
        .makesExactTables, "makes-exact-tables", "small tables have the room asked for",
        "bio_alloc_bioset() since v7.3"
      ),
      (
        .cachesExactTables, "caches-exact-tables", "so do those from a ring's cache",
        "bio_alloc_percpu_cache() since v6.12"
      ),
      (
        .buffersChecksummedWrites, "buffers-checksummed-writes",
        "checksummed data is written through the page cache", "btrfs_direct_write() in v6.12"
      ),
      (
        .zeroesFromOwnFolio, "zeroes-from-own-folio",
        "parts of blocks are filled from a buffer of its own", "iomap_dio_init() in v6.12"
      ),
      (
        .clonesForChecksums, "clones-for-checksums", "the device gets a clone of the bio",
        "btrfs_submit_direct() until v6.3"
      ),
      (
        .readsAbsentBuffered, "reads-absent-buffered",
        "a checksummed read into absent pages uses the page cache", "btrfs_direct_read() in v7.3"
      ),
      (
        .pinsFusePages, "pins-fuse-pages", "a FUSE client's pages are pinned",
        "fuse_get_user_pages() since v6.11"
      ),
    ]

  /// The names of the rules that are in the set, in the order of the catalogue.
  public var names: [String] { Self.catalogue.filter { contains($0.rule) }.map(\.name) }
}
