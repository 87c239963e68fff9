// The figures of `.extractfs/stats`, by name.

/// One snapshot of a mount's statistics.
public struct Statistics: Sendable, Equatable {
  /// Every figure by its name.
  public let values: [String: Int]

  /// Parses `name value` lines.
  /// - Throws: `TestFailure` naming the first line that is not of that form, or comes twice.
  public init(parsing text: String) throws {
    var values: [String: Int] = [:]
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count == 2, let value = Int(words[1]) else {
        throw TestFailure("not a line of statistics: '\(line)'")
      }
      guard values.updateValue(value, forKey: String(words[0])) == nil else {
        throw TestFailure("\(words[0]) comes twice in the statistics")
      }
    }
    self.values = values
  }

  /// The figure of that name, or nil if there is none.
  public subscript(name: String) -> Int? { values[name] }

  /// By how much a figure has grown since another snapshot.
  /// - Throws: `TestFailure` if one of the two lacks it.
  public func change(of name: String, since earlier: Statistics) throws -> Int {
    guard let now = values[name], let before = earlier.values[name] else {
      throw TestFailure("no figure '\(name)' in the statistics")
    }
    return now - before
  }

  /// What is wrong with the ledger when no request is in flight: empty if everything that was
  /// acquired has been released, exactly once.
  public var imbalances: [String] {
    var found: [String] = []
    for mode in ["pin", "get"] {
      let acquired = values["sim_nr_foll_\(mode)_acquired"]
      let released = values["sim_nr_foll_\(mode)_released"]
      if acquired == nil || acquired != released {
        found.append("\(mode): \(acquired ?? -1) acquired, \(released ?? -1) released")
      }
    }
    let zeros = ["sim_pages_pinned", "sim_pages_reffed", "sim_leaks", "sim_double_releases"]
    for name in zeros where values[name] != 0 {
      found.append("\(name) is \(values[name] ?? -1)")
    }
    return found
  }
}
