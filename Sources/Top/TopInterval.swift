// What happened between two samples: rates, and the percentiles of that time alone.

/// The figures of one interval.
public struct TopInterval: Sendable {
  let before: TopSample
  let now: TopSample
  /// How long it was; never 0.
  let seconds: Double

  /// Compares two samples of one mount.
  public init(from before: TopSample, to now: TopSample) {
    self.before = before
    self.now = now
    seconds = max(now.time - before.time, 1e-3)
  }

  /// By how much a figure grew a second; after a reset, what there is since.
  public func rate(_ name: String) -> Double {
    let value = now.counters[name] ?? 0
    let old = before.counters[name] ?? 0
    return Double(value >= old ? value - old : value) / seconds
  }

  /// A figure as it is now.
  public func level(_ name: String) -> Int { now.counters[name] ?? 0 }

  /// The distribution of the interval's own values.
  func distribution(_ name: String) -> [(bound: Int, count: Int)] {
    let old = before.histograms[name] ?? [:]
    let new = now.histograms[name] ?? [:]
    let wasReset =
      new.contains { $0.value < old[$0.key] ?? 0 } || old.keys.contains { new[$0] == nil }
    return new.map { ($0.key, $0.value - (wasReset ? 0 : old[$0.key] ?? 0)) }
      .filter { $0.1 > 0 }.sorted { $0.0 < $1.0 }
  }

  /// The value that so many hundredths of the interval's values do not exceed, or nil without any.
  public func percentile(_ hundredths: Double, of name: String) -> Int? {
    let values = distribution(name)
    let total = values.reduce(0) { $0 + $1.count }
    if total == 0 { return nil }
    let wanted = max(1, Int((Double(total) * hundredths / 100).rounded(.up)))
    var seen = 0
    for (bound, count) in values {
      seen += count
      if seen >= wanted { return bound }
    }
    return values.last?.bound
  }

  /// How many values a distribution got, a second.
  public func frequency(of name: String) -> Double {
    Double(distribution(name).reduce(0) { $0 + $1.count }) / seconds
  }

  /// A file's requests and bytes a second.
  public struct FileRate: Sendable, Equatable {
    /// The inode.
    public var inode: Int
    /// Requests a second.
    public var requests: Double
    /// Bytes a second.
    public var bytes: Double
  }

  /// The files that had requests in the interval, in no order.
  public var fileRates: [FileRate] {
    let old = Dictionary(before.files.map { ($0.inode, $0) }, uniquingKeysWith: { $1 })
    return now.files.compactMap { file in
      var (requests, bytes) = (file.requests, file.bytes)
      if let former = old[file.inode], former.requests <= requests, former.bytes <= bytes {
        requests -= former.requests
        bytes -= former.bytes
      }
      if requests == 0 { return nil }
      return FileRate(
        inode: file.inode, requests: Double(requests) / seconds, bytes: Double(bytes) / seconds)
    }
  }
}
