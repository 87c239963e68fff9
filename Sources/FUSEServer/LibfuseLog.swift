// What libfuse has to say, kept as lines instead of printed, so that the user gets one line of ours.

import Memory
import CFuse3
import Glibc
import Synchronization

/// Collects libfuse's messages; what it says of each request in debug mode goes to the log.
enum LibfuseLog {
  private static let lines = Guarded<[String]>([])
  private static let sink = Guarded(Sink { _ in })

  /// Where lines go. A structure, for the reason that `ChangeGate` gives.
  private struct Sink: Sendable {
    let take: @Sendable (String) -> Void
  }

  /// Takes libfuse's messages over.
  /// - Parameter debug: takes a line for each request.
  static func install(debug: @escaping @Sendable (String) -> Void) {
    sink.withLock { $0 = Sink(take: debug) }
    unsafe fuse_set_log_func { level, format, arguments in
      guard let format = unsafe format, let arguments = unsafe arguments else { return }
      let text = unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1024) { buffer in
        _ = unsafe vsnprintf(buffer.baseAddress!, buffer.count, format, arguments)
        return unsafe String(cString: buffer.baseAddress!)
      }
      if level == FUSE_LOG_DEBUG {
        LibfuseLog.debug(text)
        return
      }
      LibfuseLog.lines.withLock { lines in
        lines.append(text.trimmingSuffix(while: \.isWhitespace))
        if lines.count > 32 { lines.removeFirst() }
      }
    }
  }

  /// Writes a line of our own among libfuse's, for `-d`.
  static func debug(_ text: String) {
    let sink = sink.withLock { $0 }
    sink.take(text.trimmingSuffix(while: \.isWhitespace))
  }

  /// The newest message, or nil.
  static var lastLine: String? { lines.withLock { $0.last } }
}

extension String {
  fileprivate func trimmingSuffix(while condition: (Character) -> Bool) -> String {
    var text = self[...]
    while let last = text.last, condition(last) { text.removeLast() }
    return String(text)
  }
}
