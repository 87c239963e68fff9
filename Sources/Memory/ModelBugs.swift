// Bugs that can be switched on by name, each one that the kernel had or nearly had. All are off by default.

/// A set of bugs to be shown. Empty in every mount; the labs and the tests fill it.
///
/// The branches that look at it stand where something rare happens (a bio's end, a page merged within
/// itself, a fork), so that an empty set costs nothing that can be measured.
public struct ModelBugs: OptionSet, Hashable, Sendable {
  /// The bits.
  public let rawValue: UInt32

  /// Wraps the bits.
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// A bio's end forgets its last page.
  @inlinable public static var releaseOneShort: ModelBugs { ModelBugs(rawValue: 1 << 0) }
  /// A bio's end releases its last page twice.
  @inlinable public static var doubleRelease: ModelBugs { ModelBugs(rawValue: 1 << 1) }
  /// User pages get a reference where they should be pinned.
  @inlinable public static var refInsteadOfPin: ModelBugs { ModelBugs(rawValue: 1 << 2) }
  /// A read's pages are let go without being marked dirty; who marks them later comes too late.
  @inlinable public static var dirtyTooLate: ModelBugs { ModelBugs(rawValue: 1 << 3) }
  /// The shared zero page is counted when taken, and skipped when released.
  @inlinable public static var zeroPageRef: ModelBugs { ModelBugs(rawValue: 1 << 4) }
  /// A page merged into a segment that holds it already keeps its second pin.
  @inlinable public static var mergeKeepsPin: ModelBugs { ModelBugs(rawValue: 1 << 5) }
  /// fork() shares pinned pages like all others.
  @inlinable public static var forkIgnoresPins: ModelBugs { ModelBugs(rawValue: 1 << 6) }
  /// A read-only pin is taken on a page that copy-on-write may still replace.
  @inlinable public static var pinWithoutUnshare: ModelBugs { ModelBugs(rawValue: 1 << 7) }
  /// Copy-on-write takes a shared page over as if nobody else had it.
  @inlinable public static var reuseIgnoresSharing: ModelBugs { ModelBugs(rawValue: 1 << 8) }
  /// Migration moves pages that somebody holds.
  @inlinable public static var migrateIgnoresPins: ModelBugs { ModelBugs(rawValue: 1 << 9) }
  /// A bio that is cut to whole blocks keeps pins of what it gave back.
  ///
  /// Kernel: `bio_iov_iter_align_down()`, block/bio.c, v7.3.
  @inlinable public static var trimKeepsPin: ModelBugs { ModelBugs(rawValue: 1 << 10) }

  /// Every bug with its name and one sentence, in the order of the bits.
  public static let catalogue: [(bug: ModelBugs, name: String, summary: String)] = [
    (.releaseOneShort, "release-one-short", "a bio's end forgets its last page"),
    (.doubleRelease, "double-release", "a bio's end releases its last page twice"),
    (.refInsteadOfPin, "ref-instead-of-pin", "user pages get a reference instead of a pin"),
    (.dirtyTooLate, "dirty-too-late", "a read's pages are dirtied after they were let go"),
    (.zeroPageRef, "zero-page-ref", "the zero page is counted when taken, skipped when released"),
    (.mergeKeepsPin, "merge-keeps-pin", "a page merged within itself keeps its second pin"),
    (.forkIgnoresPins, "fork-ignores-pins", "fork() shares pinned pages like all others"),
    (
      .pinWithoutUnshare, "pin-without-unshare",
      "a read-only pin is taken on a page that may still be replaced"
    ),
    (
      .reuseIgnoresSharing, "reuse-ignores-sharing",
      "copy-on-write takes a shared page over as its own"
    ),
    (.migrateIgnoresPins, "migrate-ignores-pins", "migration moves pages that somebody holds"),
    (.trimKeepsPin, "trim-keeps-pin", "a bio cut to whole blocks keeps pins of what it gave back"),
  ]

  /// The bug of a name, or nil.
  public init?(name: String) {
    guard let entry = Self.catalogue.first(where: { $0.name == name }) else { return nil }
    self = entry.bug
  }

  /// The names of the bugs that are on.
  public var names: [String] {
    Self.catalogue.filter { contains($0.bug) }.map(\.name)
  }
}
