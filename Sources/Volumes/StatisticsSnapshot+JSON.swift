// A snapshot as JSON, written by hand: whoever looks every second is not to be felt, and Foundation takes 7 ms for it.

import Memory

extension StatisticsSnapshot {
  /// A JSON document: `schema`, `counters` as in `stats`, `histograms`, `files`, `checkpoints`.
  func json(checkpoints: [[String: Any]]) -> String {
    var histograms = Distribution.allCases.map { ($0.name, self[$0]) }
    histograms.append(("latency_ns", self[.readNanoseconds].adding(self[.writeNanoseconds])))
    var text = "{\n\"schema\": \(Statistics.schemaVersion),\n\"counters\": {\n"
    text.reserveCapacity(16 << 10)
    // Names need no escapes: they are of letters, digits, dots and underscores.
    text += values.map { "  \"\($0.name)\": \($0.value)" }.joined(separator: ",\n")
    text += "\n},\n\"histograms\": {\n"
    text += histograms.map { "  \"\($0.0)\": \($0.1.json)" }.joined(separator: ",\n")
    text += "\n},\n\"files\": [\n"
    text += files.map { share in
      "  {\"inode\": \(share.inode), \"requests\": \(share.requestCount), \"bytes\": \(share.byteCount)}"
    }.joined(separator: ",\n")
    text += "\n],\n\"checkpoints\": "
    text += checkpoints.isEmpty ? "[]\n" : JSONText.make(checkpoints)
    return text + "}\n"
  }
}
