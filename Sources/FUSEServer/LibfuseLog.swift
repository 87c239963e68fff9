// What libfuse has to say, kept as lines instead of printed, so that the user gets one line of ours.

import Memory
import CFuse3
import Glibc
import Synchronization

/// Collects libfuse's messages; once a mount runs in debug mode they go to standard error.
enum LibfuseLog {
  private static let lines = Guarded<[String]>([])

  /// Takes libfuse's messages over.
  static func install() {
    unsafe fuse_set_log_func { level, format, arguments in
      guard let format = unsafe format, let arguments = unsafe arguments else { return }
      let text = unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1024) { buffer in
        _ = unsafe vsnprintf(buffer.baseAddress!, buffer.count, format, arguments)
        return unsafe String(cString: buffer.baseAddress!)
      }
      if level == FUSE_LOG_DEBUG {
        StreamWriter.log(text, to: STDERR_FILENO)
        return
      }
      LibfuseLog.lines.withLock { lines in
        lines.append(text.trimmingSuffix(while: \.isWhitespace))
        if lines.count > 32 { lines.removeFirst() }
      }
    }
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
