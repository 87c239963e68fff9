// What a run of the vectors found.

/// How many vectors passed, and why the others did not.
public struct ConformanceReport: Sendable {
  /// A vector that was not reproduced.
  public struct Failure: Equatable, Sendable {
    /// The vector's id, or file and line for a line that is not a vector.
    public let id: String
    /// Path, expectation and finding of the first difference, or why the vector cannot be run.
    public let difference: String

    /// Makes a failure.
    public init(id: String, difference: String) {
      self.id = id
      self.difference = difference
    }
  }

  /// Passed and failed vectors of one family.
  public struct FamilyCount: Equatable, Sendable {
    /// Vectors that were reproduced.
    public var passed = 0
    /// Vectors that were not.
    public var failed = 0
  }

  /// Vectors that were reproduced.
  public internal(set) var passed = 0
  /// Vectors that were not, and lines that are not vectors.
  public internal(set) var failed = 0
  /// Why, in the order of files and lines.
  public internal(set) var failures: [Failure] = []
  /// Counts by the family that the vectors name; lines without one are under "".
  public internal(set) var families: [String: FamilyCount] = [:]

  /// Counts of vectors that name a kernel, by kernel and family.
  public internal(set) var kernels: [String: [String: FamilyCount]] = [:]

  /// Makes an empty report.
  public init() {}

  mutating func notePass(family: String, kernel: String?) {
    passed += 1
    if let kernel { kernels[kernel, default: [:]][family, default: FamilyCount()].passed += 1 }
    families[family, default: FamilyCount()].passed += 1
  }

  mutating func noteFailure(_ id: String, _ difference: String, family: String, kernel: String?) {
    failed += 1
    if let kernel { kernels[kernel, default: [:]][family, default: FamilyCount()].failed += 1 }
    failures.append(Failure(id: id, difference: difference))
    families[family, default: FamilyCount()].failed += 1
  }
}
