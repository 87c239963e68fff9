// The figures of a mount: gathered once into a snapshot, which is then written as text, JSON or OpenMetrics.

import Foundation
import Memory
import Synchronization

/// All figures of a mount at one moment, in the order in which `stats` shows them.
public struct StatisticsSnapshot: Sendable {
  /// Names and values.
  public var values: [(name: String, value: Int)]
  /// Every distribution, by its place in `Distribution`.
  public var distributions: [DistributionFigures]
  /// The busiest files, by bytes; at most 32.
  public var files: [FileShare]

  /// One `name value` a line.
  public var text: String {
    values.map { "\($0.name) \($0.value)\n" }.joined()
  }

  /// The value of a name, or nil.
  public subscript(name: String) -> Int? { values.first { $0.name == name }?.value }

  /// A distribution.
  public subscript(distribution: Distribution) -> DistributionFigures {
    distributions[distribution.rawValue]
  }
}

/// Reads the counters of a mount; `reset` makes the present state the new zero.
public final class Statistics: Sendable {
  private let counters: CounterSet
  private let activity: [FileActivity]
  private let baseline: Guarded<Baseline>
  private let checkpoints = Guarded<[(name: String, time: Timestamp, text: String)]>([])

  private struct Baseline {
    var counters: [Int]
    var kinds: [Int]
    var distributions: [DistributionFigures]
    var files: [FileShare] = []
    var kernel: KernelCounters?
  }

  /// The version of the layout of `stats.json`: it grows when a name changes its meaning or goes.
  public static let schemaVersion = 2
  /// The most files that a snapshot has.
  private static let fileLimit = 32

  /// Counters that are levels, not sums: a reset leaves them alone.
  private static let levels: Set<Counter> = [.requestsInflight, .simPinnedMaximum]

  /// How long at most to wait for figures that all later ones are set against.
  private static let baselineSeconds = 5.0

  /// Starts at the counters' present state.
  /// - Parameter activity: the workers' tables of files.
  public init(counters: CounterSet, activity: [FileActivity] = []) {
    self.counters = counters
    self.activity = activity
    baseline = Guarded(
      Baseline(
        counters: Counter.allCases.map { _ in 0 }, kinds: Self.kindCells.map { _ in 0 },
        distributions: Distribution.allCases.map { _ in .none },
        kernel: KernelCounters.read(limitSeconds: Self.baselineSeconds)))
  }

  private static let kindCells: [(kind: Int, counter: KindCounter)] =
    countedKindNames.indices.flatMap { kind in KindCounter.allCases.map { (kind, $0) } }

  /// Makes the present state the new zero for sums. Pages held across the reset are kept in view: what is
  /// released later was acquired in this period too.
  public func reset() {
    let kernel = KernelCounters.read(limitSeconds: Self.baselineSeconds)
    baseline.withLock { base in
      let released = counters.sum(.simPinReleased)
      let put = counters.sum(.simGetReleased)
      base.counters = Counter.allCases.map { counter in
        switch counter {
        case .simPinAcquired: released
        case .simGetAcquired: put
        case .simPinReleased: released
        case .simGetReleased: put
        default: Self.levels.contains(counter) ? 0 : counters.sum(counter)
        }
      }
      base.kinds = Self.kindCells.map { counters.sum($0.counter, kind: $0.kind) }
      base.distributions = Distribution.allCases.map { DistributionFigures(of: $0, counters) }
      base.files = activity.busiest(.max)
      base.kernel = kernel
    }
  }

  /// Keeps the present figures under a name; they appear in `stats.json`.
  public func checkpoint(_ name: String) {
    let text = snapshot().text
    checkpoints.withLock { list in
      list.removeAll { $0.name == name }
      list.append((name, .now(), text))
      if list.count > 64 { list.removeFirst() }
    }
  }

  /// All figures now. Releases are read before acquisitions, so that what is held is never negative.
  public func snapshot() -> StatisticsSnapshot {
    let kernel = KernelCounters.read()
    return baseline.withLock { base in
      var now = [Int](repeating: 0, count: Counter.allCases.count)
      let releases: [Counter] = [.simPinReleased, .simGetReleased]
      for counter in releases + Counter.allCases.filter({ !releases.contains($0) }) {
        now[counter.rawValue] = counters.sum(counter) - base.counters[counter.rawValue]
      }
      func value(_ counter: Counter) -> Int { now[counter.rawValue] }

      var values: [(name: String, value: Int)] = []
      for counter in Counter.allCases {
        if counter == .simLeaks {
          values.append(("sim_pages_pinned", value(.simPinAcquired) - value(.simPinReleased)))
          values.append(("sim_pages_reffed", value(.simGetAcquired) - value(.simGetReleased)))
        }
        if counter == .requestsRead {
          values += kindValues(since: base)
          values += kernelValues(kernel, since: base)
        }
        values.append((counter.name, value(counter)))
      }
      let distributions = Distribution.allCases.map { distribution in
        DistributionFigures(of: distribution, counters)
          .subtracting(base.distributions[distribution.rawValue])
      }
      return StatisticsSnapshot(
        values: values, distributions: distributions, files: files(since: base))
    }
  }

  /// A file that got its place anew since the reset has less behind it than it had then: that counts from zero.
  private func files(since base: Baseline) -> [FileShare] {
    let former = Dictionary(base.files.map { ($0.inode, $0) }, uniquingKeysWith: { $1 })
    let shares = activity.busiest(former.isEmpty ? Self.fileLimit : .max)
      .map { share in
        guard let old = former[share.inode], old.requestCount <= share.requestCount,
          old.byteCount <= share.byteCount
        else { return share }
        return FileShare(
          inode: share.inode, requestCount: share.requestCount - old.requestCount,
          byteCount: share.byteCount - old.byteCount)
      }
    return Array(shares.sorted { $0.byteCount > $1.byteCount }.prefix(Self.fileLimit))
  }

  private func kindValues(since base: Baseline) -> [(name: String, value: Int)] {
    Self.kindCells.enumerated().map { index, cell in
      (
        "sim_\(countedKindNames[cell.kind])_\(cell.counter.name)",
        counters.sum(cell.counter, kind: cell.kind) - base.kinds[index]
      )
    }
  }

  private func kernelValues(
    _ kernel: KernelCounters?, since base: Baseline
  ) -> [(name: String, value: Int)] {
    guard let kernel, let start = base.kernel else { return [] }
    return [
      ("kernel_nr_foll_pin_acquired", kernel.pinAcquired - start.pinAcquired),
      ("kernel_nr_foll_pin_released", kernel.pinReleased - start.pinReleased),
      ("kernel_pins_exact", kernel.isExact && start.isExact ? 1 : 0),
    ]
  }

  /// The snapshot as JSON; see `StatisticsSnapshot.json(checkpoints:)`.
  public func json() -> String {
    snapshot().json(
      checkpoints: checkpoints.withLock { $0 }.map { mark in
        ["name": mark.name, "time": mark.time.seconds, "stats": Self.parse(mark.text)]
      })
  }

  private static func parse(_ text: String) -> [String: Int] {
    var result: [String: Int] = [:]
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")
      if words.count == 2 { result[String(words[0])] = Int(words[1]) }
    }
    return result
  }
}

/// JSON text in one style everywhere: sorted keys, indented, a newline at the end.
public enum JSONText {
  /// Writes a document on one line, without an end.
  public static func line(_ document: Any) -> String {
    make(document, [.sortedKeys, .withoutEscapingSlashes])
  }

  /// Writes a document made of dictionaries, arrays, strings and numbers.
  public static func make(_ document: Any) -> String {
    make(document, [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]) + "\n"
  }

  private static func make(_ document: Any, _ options: JSONSerialization.WritingOptions) -> String {
    do {
      let data = try JSONSerialization.data(withJSONObject: document, options: options)
      return String(decoding: data, as: UTF8.self)
    } catch {
      preconditionFailure("a report holds something that JSON has no form for: \(error)")
    }
  }
}
