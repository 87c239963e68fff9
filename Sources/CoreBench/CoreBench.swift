// The benchmark of the core: what extraction, bios and release cost, beside a yardstick of the same run.

import IOVector
import Memory

/// What is measured.
public enum CoreOperation: String, CaseIterable, Sendable {
  /// Extraction of a whole buffer and release of its pages.
  case extract
  /// A bio from its making to its end: fill, detach, adopt, end.
  case bio
  /// Release alone, of pages pinned before.
  case release
  /// Yardstick: copying as many bytes.
  case memcpy
  /// Yardstick: 256 relaxed atomic adds on neighbouring words.
  case adds
}

/// What the pages of a buffer are.
public enum CoreLayout: String, CaseIterable, Sendable {
  /// Folios of one page each, next to one another.
  case small
  /// One folio of 2 MiB.
  case folio
}

/// One thing to measure.
public struct CoreCase: Hashable, Sendable {
  /// What is measured.
  public let operation: CoreOperation
  /// The iterator kind; `ubuf` for release, nil for yardsticks.
  public let kind: IOVIter.Kind?
  /// Bytes of one request; 0 for the atomic adds.
  public let byteCount: Int
  /// What the pages are; nil for yardsticks.
  public let layout: CoreLayout?
  /// Threads that do the same to the same pages at once.
  public let threads: Int

  /// Pages of one request; for the atomic adds, how many there are.
  public var pageCount: Int {
    operation == .adds ? 256 : Memory.pageCount(covering: byteCount)
  }

  /// Buffer sizes, in bytes.
  public static let sizes = [4 << 10, 64 << 10, 1 << 20, 2 << 20]
  /// Kinds that are extracted from.
  public static let kinds: [IOVIter.Kind] = [.ubuf, .iovec, .kvec, .bvec, .xarray, .pipe]

  /// Every case, yardsticks included.
  public static let all: [CoreCase] = [1, 2].flatMap { threads in
    let sized = sizes.flatMap { size in
      CoreLayout.allCases.flatMap { layout in
        kinds.map { CoreCase(.extract, $0, size, layout, threads) }
          + kinds.map { CoreCase(.bio, $0, size, layout, threads) }
          + [CoreCase(.release, .ubuf, size, layout, threads)]
      } + [CoreCase(.memcpy, nil, size, nil, threads)]
    }
    return sized + [CoreCase(.adds, nil, 0, nil, threads)]
  }

  init(
    _ operation: CoreOperation, _ kind: IOVIter.Kind?, _ byteCount: Int, _ layout: CoreLayout?,
    _ threads: Int
  ) {
    self.operation = operation
    self.kind = kind
    self.byteCount = byteCount
    self.layout = layout
    self.threads = threads
  }
}

/// One measurement: nanoseconds a request, and whether all its threads ran at the same time.
typealias CoreSample = (nanoseconds: Double, isContended: Bool)

/// Measures all cases, round by round, so that what disturbs the machine disturbs them alike.
public struct CoreBench {
  /// How often everything is measured.
  public let rounds: Int
  /// How long one measurement takes, about.
  public let windowNanoseconds: Int
  /// How often two threads may try to run at the same time.
  private let attempts: Int

  /// Chooses how long to measure.
  /// - Parameter quick: whether a rough answer will do.
  public init(quick: Bool) {
    rounds = quick ? 3 : 11
    windowNanoseconds = quick ? 50_000 : 500_000
    attempts = quick ? 2 : 4
  }

  /// Measures.
  /// - Throws: what extraction threw; that is a defect of the core.
  public func run() throws(Errno) -> CoreReport {
    let machines = CoreLayout.allCases.map { CoreMachine($0) }
    var iterations: [CoreCase: Int] = [:]
    var samples: [CoreCase: [CoreSample]] = [:]
    for _ in 0..<rounds {
      for one in CoreCase.all {
        let machine = machines[one.layout == .folio ? 1 : 0]
        let count: Int
        if let known = iterations[one] {
          count = known
        } else {
          count = try calibrate(one, machine)
          iterations[one] = count
        }
        let sample = try Contention.measure(
          one, on: machine, iterations: count, attempts: attempts)
        samples[one, default: []].append(sample)
      }
    }
    for machine in machines {
      precondition(machine.isClean, "the benchmark left something held")
    }
    return CoreReport(samples: samples, rounds: rounds)
  }

  /// How many requests fill the window; found by doubling, which warms everything up as well.
  private func calibrate(_ one: CoreCase, _ machine: CoreMachine) throws(Errno) -> Int {
    var count = 1
    while true {
      let perRequest = try Contention.measure(one, on: machine, iterations: count).nanoseconds
      let spent = perRequest * Double(count)
      if spent * 4 >= Double(windowNanoseconds) {
        return max(1, Int(Double(windowNanoseconds) / perRequest))
      }
      count *= 2
    }
  }
}
