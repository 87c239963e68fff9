// Where the daemon's lines go and what they look like: the options `log`, `log_level` and `log_format`.

import CSystem
import FUSEServer
import Glibc
import Logging
import Volumes

/// What `-o` says of the log.
struct LogOptions {
  enum Target: Equatable {
    /// Standard error in front; in the background the journal if there is one, else syslog.
    case auto
    case stderr, journal, syslog
    case file(SystemPath)
  }

  enum Format: String, CaseIterable { case text, json }

  var target = Target.auto
  var level = Logger.Level.info
  var format = Format.text

  static let levels: [Logger.Level] = [.debug, .info, .notice, .warning, .error]

  /// Reads the target: a word, or a path with a slash in it.
  static func target(_ value: String) throws(OptionError) -> Target {
    switch value {
    case "auto": return .auto
    case "stderr": return .stderr
    case "journal": return .journal
    case "syslog": return .syslog
    default:
      if value.contains("/") { return .file(SystemPath(ArgumentText.bytes(value))) }
      throw OptionError(
        message: "log=\(value): use auto, stderr, journal, syslog, or a path with a / in it")
    }
  }
}

/// An open way out for lines. None of them waits for its reader, and none can end the process.
struct LogSink: Sendable {
  /// Takes a level and a line without its end.
  private let send: @Sendable (Logger.Level, String) -> Void
  /// Whether the reader adds the time and the program's name.
  let isStamped: Bool

  func write(_ level: Logger.Level, _ line: String) { send(level, line) }

  /// Opens what the options say.
  /// - Throws: `DaemonFailure` where that is not to be had.
  init(_ target: LogOptions.Target, isBackground: Bool) throws {
    switch target {
    case .auto:
      if !isBackground {
        self = Self.stream(STDERR_FILENO, isStamped: true)
      } else {
        self = JournalSocket().map(Self.journal) ?? Self.syslog
      }
    case .stderr: self = Self.stream(STDERR_FILENO, isStamped: true)
    case .syslog: self = Self.syslog
    case .journal:
      guard let socket = JournalSocket() else {
        throw DaemonFailure("log=journal: no journal answers here; use log=syslog")
      }
      self = Self.journal(socket)
    case .file(let path):
      // Without a reader, a pipe is refused rather than waited for.
      let flags = O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK
      let file = path.open(flags, mode: 0o640)
      if file < 0 { throw DaemonFailure("log=\(path.shown): \(describe(errno))") }
      self = Self.stream(file, isStamped: false)
    }
  }

  private init(isStamped: Bool, send: @escaping @Sendable (Logger.Level, String) -> Void) {
    self.isStamped = isStamped
    self.send = send
  }

  private static func stream(_ descriptor: Int32, isStamped: Bool) -> LogSink {
    LogSink(isStamped: isStamped) { _, line in StreamWriter.log(line + "\n", to: descriptor) }
  }

  private static func journal(_ socket: JournalSocket) -> LogSink {
    LogSink(isStamped: true) { level, line in socket.send(priority(level), line) }
  }

  private static var syslog: LogSink {
    LogSink(isStamped: true) { level, line in
      unsafe extractfs_syslog(priority(level) | LOG_DAEMON, line)
    }
  }

  private static func priority(_ level: Logger.Level) -> Int32 {
    switch level {
    case .trace, .debug: LOG_DEBUG
    case .info: LOG_INFO
    case .notice: LOG_NOTICE
    case .warning: LOG_WARNING
    case .error: LOG_ERR
    case .critical: LOG_CRIT
    }
  }
}

/// The socket of systemd's journal. A datagram that it does not take at once is lost.
///
/// Reference: systemd, "Native Journal Protocol".
struct JournalSocket: Sendable {
  private static let path = "/run/systemd/journal/socket"
  private let socket: Int32

  /// Nil where no journal is running.
  init?() {
    socket = Glibc.socket(AF_UNIX, EXTRACTFS_SOCK_DGRAM, 0)
    if socket < 0 { return nil }
    var name = sockaddr_un()
    name.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &name.sun_path) {
      unsafe $0.copyBytes(from: Self.path.utf8)
    }
    let error = unsafe withUnsafePointer(to: name) { name in
      unsafe name.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    if error != 0 {
      close(socket)
      return nil
    }
  }

  /// One entry. The line has no line ends.
  func send(_ priority: Int32, _ line: String) {
    let bytes = Array("PRIORITY=\(priority)\nSYSLOG_IDENTIFIER=extractfs\nMESSAGE=\(line)\n".utf8)
    _ = unsafe bytes.withUnsafeBytes {
      unsafe Glibc.send(socket, $0.baseAddress, $0.count, EXTRACTFS_MSG_DONTWAIT)
    }
  }
}

/// Makes lines of events.
struct DaemonLogHandler: LogHandler {
  let sink: LogSink
  let format: LogOptions.Format
  /// The mountpoint, for logs that several mounts share.
  let mountpoint: String
  var metadata: Logger.Metadata = [:]
  var logLevel: Logger.Level

  init(_ sink: LogSink, _ options: LogOptions, mountpoint: String) {
    self.sink = sink
    format = options.format
    logLevel = options.level
    self.mountpoint = mountpoint
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    // One line, and short enough for a pipe to take in one piece.
    let message = String("\(event.message)".prefix(1000)).split(whereSeparator: \.isNewline)
      .joined(separator: " ")
    switch format {
    case .text:
      let stamp = sink.isStamped ? "" : "\(Self.timestamp()) \(event.level) [\(getpid())] "
      sink.write(event.level, "\(stamp)extractfs: \(message)")
    case .json:
      sink.write(
        event.level,
        JSONText.line([
          "time": Self.timestamp(), "level": "\(event.level)", "message": message,
          "mountpoint": mountpoint, "pid": Int(getpid()),
        ]))
    }
  }

  /// The time in UTC, as RFC 3339 has it, to the millisecond.
  private static func timestamp() -> String {
    var now = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &now)
    var parts = unsafe tm()
    unsafe gmtime_r(&now.tv_sec, &parts)
    func digits(_ number: Int, _ count: Int) -> String {
      let text = "\(number)"
      return String(repeating: "0", count: max(0, count - text.count)) + text
    }
    let (year, month, day) = unsafe (
      Int(parts.tm_year) + 1900, Int(parts.tm_mon) + 1, Int(parts.tm_mday)
    )
    let (hour, minute, second) = unsafe (
      Int(parts.tm_hour), Int(parts.tm_min), Int(parts.tm_sec)
    )
    return "\(digits(year, 4))-\(digits(month, 2))-\(digits(day, 2))T\(digits(hour, 2)):"
      + "\(digits(minute, 2)):\(digits(second, 2)).\(digits(now.tv_nsec / 1_000_000, 3))Z"
  }
}
