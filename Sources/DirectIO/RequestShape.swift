// How a request's buffer is presented to the model: iterator kind, cleanup, rules, cuts and shifts.

import IOVector
import Memory
import Synchronization

/// What iterator is made of a request's buffer, and under which rules.
public struct RequestShape: Equatable, Sendable {
  /// The iterator's kind; `.pipe` stands for reads only, writes then use `.ubuf`.
  public var kind: IOVIter.Kind
  /// How pages are held during the I/O.
  public var cleanup: CleanupPolicy
  /// Whose rules are followed.
  public var era: Era
  /// Into how many segments the buffer is cut, 1 to `maxSegments`.
  public var segments: Int
  /// By how many bytes the buffer starts after a page boundary, 0 to 4095.
  public var misalignment: Int
  /// What becomes of a buffer that does not suit the device.
  public var alignment = AlignmentPolicy.accept
  /// Whether pages must not change while the device has them: eras that bounce then copy.
  public var needsStablePages = false
  /// What the model does wrong on purpose; empty unless `control` switched a bug on.
  public var bugs: ModelBugs

  /// The most segments that a buffer can be cut into.
  @inlinable public static var maxSegments: Int { 64 }

  /// Puts a shape together; the defaults are those of the mount options.
  public init(
    kind: IOVIter.Kind = .ubuf, cleanup: CleanupPolicy = .auto, era: Era = .v8,
    segments: Int = 1, misalignment: Int = 0, bugs: ModelBugs = []
  ) {
    precondition((1...Self.maxSegments).contains(segments))
    precondition((0..<pageSize).contains(misalignment))
    self.kind = kind
    self.cleanup = cleanup
    self.era = era
    self.segments = segments
    self.misalignment = misalignment
    self.bugs = bugs
  }
}

/// What becomes of a request whose position, length or buffer does not suit the device.
public enum AlignmentPolicy: String, CaseIterable, Sendable {
  /// It is bounced, whatever the era.
  case accept
  /// It is refused with EINVAL where the era's kernel refuses it.
  case kernel
}

extension RequestShape {
  /// Whether the era copies the request, since its pages must not change.
  ///
  /// Kernel: `bio_iov_iter_bounce()`, block/bio.c, v7.0. Differs: a read's own pages are not pinned meanwhile.
  var bouncesForStability: Bool {
    needsStablePages && era.rules.contains(.bouncesStablePages)
  }

  /// Whether the rules have no way to hold the pages: before the series a `kvec` gave EFAULT.
  ///
  /// The engine then copies such a request through its bounce buffer, so that data is right in every era.
  ///
  /// Kernel: `iov_iter_get_pages2()`, lib/iov_iter.c, v6.4, which knows no `kvec`.
  /// So it does with a queue of folios before such iterators existed.
  var refusesKernelMemory: Bool {
    (era.referencesUserPages && cleanup == .auto && kind == .kvec)
      || (kind == .folioq && !era.rules.contains(.knowsFolioQueues))
  }

  /// What is taken on the pages: before the series a reference on those of a `bvec`, too.
  ///
  /// Differs: Linux 5.12 to 6.4 had stopped taking it where a bio shares the iterator's table
  /// (`bio_iov_bvec_set()`); here the era is that of `iov_iter_get_pages2()` for every kind, so that kinds compare.
  var policy: CleanupPolicy {
    era.referencesUserPages && cleanup == .auto && kind == .bvec ? .get : cleanup
  }
}

/// The shape in force, changeable while the mount runs: one word, read once per request.
public final class ShapeSetting: Sendable {
  private let word: Atomic<Int>

  private static let cleanups: [CleanupPolicy] = [.auto, .pin, .get, .none]
  private static let eras = Era.allCases

  /// Starts with a shape.
  public init(_ shape: RequestShape) { word = Atomic(Self.pack(shape)) }

  /// The shape for the next request.
  public var current: RequestShape {
    get { Self.unpack(word.load(ordering: .relaxed)) }
    set { word.store(Self.pack(newValue), ordering: .relaxed) }
  }

  private static func pack(_ shape: RequestShape) -> Int {
    let cleanup = cleanups.firstIndex(of: shape.cleanup) ?? 0
    let era = eras.firstIndex(of: shape.era) ?? 0
    let choices = (shape.alignment == .kernel ? 1 : 0) | (shape.needsStablePages ? 2 : 0)
    return Int(shape.kind.rawValue) | cleanup << 4 | era << 8 | choices << 12 | shape.segments << 16
      | shape.misalignment << 32 | Int(shape.bugs.rawValue) << 44
  }

  private static func unpack(_ word: Int) -> RequestShape {
    var shape = RequestShape(
      kind: IOVIter.Kind(rawValue: UInt8(word & 0xf)) ?? .ubuf, cleanup: cleanups[word >> 4 & 0xf],
      era: eras[word >> 8 & 0xf], segments: word >> 16 & 0xffff, misalignment: word >> 32 & 0xfff,
      bugs: ModelBugs(rawValue: UInt32(word >> 44 & 0xffff)))
    shape.alignment = word >> 12 & 1 == 0 ? .accept : .kernel
    shape.needsStablePages = word >> 13 & 1 != 0
    return shape
  }
}
