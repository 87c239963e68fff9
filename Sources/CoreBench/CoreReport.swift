// What the benchmark found: a row for each case, and whether the goals are met.

import IOVector
import Memory

/// The figures of one case.
public struct CoreRow: Sendable {
  /// What was measured.
  public let subject: CoreCase
  /// The median over rounds, in ns a request.
  public let nanoseconds: Double
  /// Whether the figures are of rounds in which several threads really ran at the same time.
  public let isContended: Bool
  /// Half of what lies between the slowest and the fastest round, as a part of the median.
  public let spread: Double
  /// The time over that of copying as many bytes in as many threads; nil for yardsticks.
  public let ratioToCopy: Double?
  /// The time over that of 256 atomic adds in as many threads; nil for yardsticks.
  public let ratioToAdds: Double?

  /// Nanoseconds a page.
  public var nanosecondsPerPage: Double { nanoseconds / Double(subject.pageCount) }
}

/// A limit on extraction and release, and how one iterator kind keeps it.
public struct CoreGoal: Sendable {
  /// What is extracted, for people.
  public let name: String
  /// The iterator kind.
  public let kind: IOVIter.Kind
  /// The most that it may take, in ns a request.
  public let limitNanoseconds: Double
  /// What it took.
  public let nanoseconds: Double

  /// Whether the limit is kept.
  public var isMet: Bool { nanoseconds <= limitNanoseconds }
}

/// Everything that one run found.
public struct CoreReport: Sendable {
  /// A row for each case of `CoreCase.all`, in that order.
  public let rows: [CoreRow]
  /// How often everything was measured.
  public let rounds: Int
  private let byCase: [CoreCase: CoreRow]

  init(samples all: [CoreCase: [CoreSample]], rounds: Int) {
    // A round in which the threads shared a processor says nothing of contention: it counts only if all were so.
    let samples = all.mapValues { values in
      let contended = values.filter(\.isContended)
      return (contended.isEmpty ? values : contended).map(\.nanoseconds)
    }
    let medians = samples.mapValues { $0.sorted()[$0.count / 2] }
    self.rounds = rounds
    rows = CoreCase.all.map { one in
      guard let values = samples[one]?.sorted(), let median = medians[one] else {
        preconditionFailure("a case was not measured")
      }
      let isYardstick = one.kind == nil
      let copy = medians[CoreCase(.memcpy, nil, one.byteCount, nil, one.threads)]
      let adds = medians[CoreCase(.adds, nil, 0, nil, one.threads)]
      return CoreRow(
        subject: one, nanoseconds: median,
        isContended: one.threads > 1 && all[one]?.contains { $0.isContended } == true,
        spread: (values[values.count - 1] - values[0]) / 2 / median,
        ratioToCopy: isYardstick ? nil : copy.map { median / $0 },
        ratioToAdds: isYardstick ? nil : adds.map { median / $0 })
    }
    byCase = Dictionary(uniqueKeysWithValues: rows.map { ($0.subject, $0) })
  }

  /// The row of a case.
  /// - Parameters:
  ///   - kind: nil for yardsticks.
  ///   - byteCount: of the request; 0 for the atomic adds.
  ///   - layout: nil for yardsticks.
  public func row(
    _ operation: CoreOperation, kind: IOVIter.Kind? = nil, byteCount: Int,
    layout: CoreLayout? = nil, threads: Int
  ) -> CoreRow? {
    byCase[CoreCase(operation, kind, byteCount, layout, threads)]
  }

  /// The goals, for each kind: 1 MiB of small pages in 1.5 µs, a folio of 2 MiB in 0.1 µs.
  public var goals: [CoreGoal] {
    let limits: [(name: String, byteCount: Int, layout: CoreLayout, limit: Double)] = [
      ("1 MiB of small pages", 1 << 20, .small, 1_500), ("one 2 MiB folio", 2 << 20, .folio, 100),
    ]
    return limits.flatMap { goal in
      CoreCase.kinds.compactMap { kind in
        row(.extract, kind: kind, byteCount: goal.byteCount, layout: goal.layout, threads: 1)
          .map {
            CoreGoal(
              name: goal.name, kind: kind, limitNanoseconds: goal.limit,
              nanoseconds: $0.nanoseconds)
          }
      }
    }
  }
}
