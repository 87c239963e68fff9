// One distribution at one moment: how many values fell into each bucket, their sum, and percentiles.

import Histogram
import Memory

/// The samples of a distribution.
public struct DistributionFigures: Sendable, Equatable {
  /// Values by bucket of `CounterBlock`.
  public var samples: [Int]
  /// The sum of the values.
  public var sum: Int

  /// No values.
  public static let none = DistributionFigures(
    samples: Array(repeating: 0, count: CounterBlock.bucketCount), sum: 0)

  /// Puts figures together.
  public init(samples: [Int], sum: Int) {
    precondition(samples.count == CounterBlock.bucketCount, "not the samples of a distribution")
    self.samples = samples
    self.sum = sum
  }

  /// What all workers have counted.
  init(of distribution: Distribution, _ counters: CounterSet) {
    self.init(samples: counters.samples(of: distribution), sum: counters.total(of: distribution))
  }

  /// How many values there are.
  public var count: Int { samples.reduce(0, +) }

  /// What came since an earlier moment.
  public func subtracting(_ earlier: DistributionFigures) -> DistributionFigures {
    DistributionFigures(
      samples: zip(samples, earlier.samples).map(-), sum: sum - earlier.sum)
  }

  /// The values of both.
  public func adding(_ other: DistributionFigures) -> DistributionFigures {
    DistributionFigures(samples: zip(samples, other.samples).map(+), sum: sum + other.sum)
  }

  /// Values that are not above a power of two, for each of several: cumulative, as OpenMetrics has its buckets.
  /// - Parameter exponents: ascending, from 0 to 46.
  func cumulative(upTo exponents: ClosedRange<Int>) -> [Int] {
    var result: [Int] = []
    var total = 0
    var bucket = 0
    for exponent in exponents {
      let last = CounterBlock.bucket(of: 1 << exponent)
      while bucket <= last {
        total += samples[bucket]
        bucket += 1
      }
      result.append(total)
    }
    return result
  }

  /// For `stats.json`: number, sum, the buckets that have values as `[largest value, number]`, and percentiles.
  ///
  /// Percentiles are HdrHistogram's, fed with the upper bound of each bucket. Buckets are a quarter of a power of two
  /// wide, so a percentile is at most 25 % above the value that it stands for, and exact for powers of two.
  var json: String {
    // As long as need be: it is walked for each percentile.
    let last = samples.lastIndex { $0 > 0 } ?? 0
    let greatest = UInt64(min(CounterBlock.upperBound(ofBucket: last), 1 << 48))
    var histogram = Histogram<UInt64>(
      highestTrackableValue: 2 * greatest, numberOfSignificantValueDigits: .one)
    var buckets: [String] = []
    for (bucket, count) in samples.enumerated() where count > 0 {
      let bound = CounterBlock.upperBound(ofBucket: bucket)
      buckets.append("[\(bound), \(count)]")
      histogram.record(UInt64(min(bound, 1 << 48)), count: UInt64(count))
    }
    var percentiles = ""
    if !buckets.isEmpty {
      for (name, percentile) in [("p50", 50.0), ("p90", 90), ("p99", 99), ("p99.9", 99.9)] {
        let value = histogram.valueAtPercentile(percentile)
        percentiles += ", \"\(name)\": \(histogram.lowestEquivalentForValue(value))"
      }
    }
    return "{\"count\": \(count), \"sum\": \(sum)\(percentiles), "
      + "\"buckets\": [\(buckets.joined(separator: ", "))]}"
  }
}
