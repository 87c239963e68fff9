// The file `pins`: who holds what now, who held longest, and who kept pages from being moved.

import DirectIO
import IOVector
import Memory

extension Server {
  /// Holders a line each; everything else in lines that begin with `#`.
  func pinsText() -> String {
    let now = monotonicNanoseconds()
    let entries = ledger.entries()
    let history = ledger.history
    history.reconcile(with: entries, at: now)
    var text = "# request inode offset length kind mode pages age_us pid\n"
    for entry in entries { text += "\(line(entry, microseconds: now - entry.startNanoseconds))\n" }
    for hold in history.longestHolds {
      let ago = max(0, now - hold.endNanoseconds) / 1000
      text +=
        "# longest: \(line(hold.entry, microseconds: hold.heldNanoseconds)) ended_us_ago=\(ago)\n"
    }
    for blocked in history.blockedMigrations {
      let before = blocked.detectedNanoseconds - blocked.entry.startNanoseconds
      let released =
        blocked.releasedNanoseconds == 0
        ? "not released"
        : "released_after_us=\(max(0, blocked.releasedNanoseconds - blocked.detectedNanoseconds) / 1000)"
      text += "# blocked: \(line(blocked.entry, microseconds: before)) \(released)\n"
    }
    for defect in defects.lines { text += "# defect: \(defect)\n" }
    return text
  }

  private func line(_ entry: LedgerEntry, microseconds nanoseconds: Int) -> String {
    let mode = entry.mode.contains(.pin) ? "pin" : entry.mode.contains(.get) ? "get" : "none"
    return
      "\(entry.unique) \(entry.inode) \(entry.offset) \(entry.length) \(entry.kind.name) \(mode) "
      + "\(entry.pages) \(max(0, nanoseconds) / 1000) \(entry.thread)"
  }

  /// Tries to move what requests hold now.
  /// - Returns: the reply.
  func migrate() -> String {
    let now = monotonicNanoseconds()
    let entries = ledger.entries()
    let holders = ledger.history.migrate(entries, at: now)
    // One that let go between the look and the note has left no mark there.
    ledger.history.reconcile(with: ledger.entries(), at: monotonicNanoseconds())
    if holders.isEmpty { return "ok moved, \(entries.count) requests under way" }
    return "ok blocked by " + holders.map { "request \($0.unique)" }.joined(separator: ", ")
  }
}
