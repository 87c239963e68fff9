// What is wrong with the accounting, in words: each line names the request that did it.

import Memory
import Synchronization

/// A bounded list of defects. Empty in a correct run.
public final class DefectLog: Sendable {
  private let entries = Guarded<[String]>([])

  /// Makes an empty log.
  public init() {}

  /// Adds a line; after 64 the oldest go.
  public func note(_ line: String) {
    entries.withLock { entries in
      entries.append(line)
      if entries.count > 64 { entries.removeFirst() }
    }
  }

  /// The lines, oldest first.
  public var lines: [String] { entries.withLock { $0 } }
}
