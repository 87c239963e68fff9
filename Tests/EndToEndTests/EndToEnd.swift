// The root of all tests that mount: one at a time, since they share the machine's counters.

import Foundation
import TestSupport
import Testing

/// Everything that is tested through a real mount.
@Suite("extractfs, mounted", .serialized)
struct EndToEnd {}

extension Trait where Self == ConditionTrait {
  /// Skips the test where the machine lacks something, unless everything is demanded.
  static func needs(_ features: Feature...) -> ConditionTrait {
    let names = features.map(\.rawValue).joined(separator: ", ")
    return .enabled("needs \(names)") { Feature.permit(features) }
  }
}

/// The iterator kinds that serve both reads and writes, and `pipe`, which reads only.
let iteratorKinds = ["ubuf", "iovec", "kvec", "bvec", "xarray", "pipe"]

extension EndToEnd {
  @Suite("The machine")
  struct MachineTests {
    @Test(
      "has everything the tests need when EXTRACTFS_REQUIRE_ALL is 1",
      .enabled(if: Feature.allRequired, "only where EXTRACTFS_REQUIRE_ALL is 1"),
      arguments: Feature.allCases.filter(\.isExpected))
    func isComplete(feature: Feature) {
      #expect(feature.isPresent, "missing: \(feature.rawValue)")
    }
  }
}
