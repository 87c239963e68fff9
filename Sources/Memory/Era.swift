// Which kernel's rules are followed: a name, and the set of rules behind it.

import Glibc

/// A kernel, as the set of rules that it follows.
///
/// It holds nothing but the rules, so that asking for one is a test of a bit.
public struct Era: Hashable, Sendable {
  /// What this kernel does.
  public let rules: Rules

  @inlinable init(rules: Rules) { self.rules = rules }

  /// Before the series: references for every kind. Linux before 6.5; 6.1 is the witness.
  @inlinable public static var get: Era {
    Era(rules: [
      .referencesUserPages, .countsZeroPage, .testsSegmentsFirst, .trimsEachExtraction,
      .mergesPieces,
      .marksBorrowedTables, .clonesForChecksums,
    ])
  }
  /// Version 8 of the series, January 2023.
  @inlinable public static var v8: Era {
    Era(rules: [.countsZeroPage, .testsSegmentsFirst, .trimsEachExtraction, .mergesPieces])
  }
  /// As merged, Linux 6.5 to 6.11: the zero page is never counted under pins.
  @inlinable public static var merged: Era {
    Era(rules: [.testsSegmentsFirst, .trimsEachExtraction, .mergesPieces])
  }
  /// Linux 6.12 to 6.17: folios are taken whole.
  @inlinable public static var v6_12: Era {
    Era(rules: [
      .takesFoliosWhole, .testsSegmentsFirst, .trimsEachExtraction, .mergesPieces,
      .knowsFolioQueues, .registersFoliosWhole, .cachesExactTables, .buffersChecksummedWrites,
      .pinsFusePages, .zeroesFromOwnFolio,
    ])
  }
  /// Linux 6.18 and 6.19: misaligned memory is found late.
  @inlinable public static var v6_18: Era {
    Era(rules: [
      .takesFoliosWhole, .testsAlignmentAtSplit, .mergesPieces, .refusesUnsplittable,
      .knowsFolioQueues, .registersFoliosWhole, .cachesExactTables, .buffersChecksummedWrites,
      .pinsFusePages,
    ])
  }
  /// Linux 7.3: misaligned memory is found at extraction, nothing is merged, stable pages are bounced.
  @inlinable public static var v7_3: Era {
    Era(rules: [
      .takesFoliosWhole, .testsAlignmentAtExtraction, .testsAlignmentAtSplit, .refusesUnsplittable,
      .bouncesStablePages, .readsAbsentBuffered,
      .knowsFolioQueues, .registersFoliosWhole, .borrowsUncounted, .makesExactTables,
      .pinsFusePages,
    ])
  }

  /// Every era: its name, its rules, the first kernel that follows them, and the kernels in words.
  public static let table: [(name: String, era: Era, since: KernelVersion, kernels: String)] = [
    ("get", .get, KernelVersion(0, 0), "before 6.5"),
    ("v8", .v8, KernelVersion(0, 0), "version 8 of the series, never released"),
    ("merged", .merged, KernelVersion(6, 5), "6.5 to 6.11"),
    ("6.12", .v6_12, KernelVersion(6, 12), "6.12 to 6.17"),
    ("6.18", .v6_18, KernelVersion(6, 18), "6.18 and 6.19"),
    ("7.3", .v7_3, KernelVersion(7, 0), "7.0 on, as 7.3 does it"),
  ]

  /// Whether a user buffer that is the zero page is counted when pinned.
  @inlinable public var pinsZeroPage: Bool { rules.contains(.countsZeroPage) }
  /// Whether user pages get references where later kernels pin.
  @inlinable public var referencesUserPages: Bool { rules.contains(.referencesUserPages) }

  /// The names that `init(rawValue:)` takes, `auto` included.
  public static let names = table.map(\.name) + ["auto"]
}

/// A kernel's version: what stands before the second dot.
public struct KernelVersion: Comparable, Hashable, Sendable {
  /// The number before the first dot.
  public let major: Int
  /// The number after it.
  public let minor: Int

  /// Makes a version.
  public init(_ major: Int, _ minor: Int) {
    self.major = major
    self.minor = minor
  }

  /// The version of a release's name as `uname -r` prints it, or nil.
  public init?(release: String) {
    let parts = release.split(separator: ".", maxSplits: 2)
    guard parts.count >= 2, let major = Int(parts[0]),
      let minor = Int(parts[1].prefix(while: \.isNumber))
    else { return nil }
    self.init(major, minor)
  }

  /// The version of the running kernel, or nil if it does not say.
  public static var running: KernelVersion? {
    var name = utsname()
    guard unsafe uname(&name) == 0 else { return nil }
    let release = unsafe withUnsafeBytes(of: &name.release) { bytes in
      unsafe String(decoding: bytes.prefix(while: { $0 != 0 }), as: UTF8.self)
    }
    return KernelVersion(release: release)
  }

  /// Orders by age.
  public static func < (a: KernelVersion, b: KernelVersion) -> Bool {
    (a.major, a.minor) < (b.major, b.minor)
  }
}

extension Era {
  /// The era of a kernel: the latest one that began with it or before it. `v8`, which no kernel is, is never given.
  public static func nearest(to version: KernelVersion) -> Era {
    table.last { $0.era != .v8 && $0.since <= version }?.era ?? .get
  }

  /// The era of the running kernel; the default era if the kernel does not say its version.
  public static var auto: Era { KernelVersion.running.map(nearest(to:)) ?? .v8 }
}

extension Era: CaseIterable {
  /// All eras, in the order of the table.
  public static let allCases: [Era] = table.map(\.era)
}

extension Era: CustomStringConvertible {
  /// The era of a name; `auto` is that of the running kernel.
  public init?(rawValue: String) {
    if rawValue == "auto" {
      self = .auto
      return
    }
    guard let row = Self.table.first(where: { $0.name == rawValue }) else { return nil }
    self = row.era
  }

  /// The name that users meet.
  public var rawValue: String { Self.table.first { $0.era == self }?.name ?? "custom" }

  /// The name that users meet.
  public var description: String { rawValue }
}
