// The terminal as `top` uses it: a screen of its own, keys as they are pressed, and everything put back at the end.

import CSystem
import FUSEServer
import Glibc

/// A terminal in full-screen use. What `enter` changes, `leave` puts back; both may be called again and again.
@safe struct Terminal {
  /// What happens while one waits.
  enum Event {
    case key(Character)
    /// A signal that ends the process.
    case ended(Int32)
    /// The window has another size, or the process came back from a stop.
    case changed
    case timeout
    /// Nobody is at the terminal any more.
    case gone
  }

  private let output: Int32
  /// Where keys come from, or -1.
  private let input: Int32
  private let signals: Int32
  private var former = termios()
  private var isEntered = false

  /// Signals that would end the process, and those that move it between foreground and background.
  private static let endingSignals = [
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU,
  ]
  private static let watchedSignals = endingSignals + [SIGTSTP, SIGCONT, SIGWINCH]

  /// The terminal behind standard output, or nil if that is none that can be drawn on.
  init?() {
    let type = unsafe getenv("TERM").map { unsafe String(cString: $0) } ?? ""
    if isatty(STDOUT_FILENO) == 0 || type.isEmpty || type == "dumb" { return nil }
    output = STDOUT_FILENO
    input =
      isatty(STDIN_FILENO) != 0 ? STDIN_FILENO : unsafe open("/dev/tty", O_RDONLY | O_CLOEXEC)
    var set = Self.set(Self.watchedSignals)
    unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    signals = unsafe signalfd(-1, &set, EXTRACTFS_SFD_FLAGS)
    if signals < 0 { return nil }
  }

  private static func set(_ signals: [Int32]) -> sigset_t {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    for signal in signals { unsafe sigaddset(&set, signal) }
    return set
  }

  /// Columns and lines; 80 and 24 where the terminal does not say.
  var size: (width: Int, height: Int) {
    var size = winsize()
    if unsafe ioctl(output, UInt(TIOCGWINSZ), &size) != 0 || size.ws_col == 0 || size.ws_row == 0 {
      return (80, 24)
    }
    return (max(20, Int(size.ws_col)), max(5, Int(size.ws_row)))
  }

  /// Whether the user's locale shows Unicode.
  static var isUnicode: Bool {
    for name in ["LC_ALL", "LC_CTYPE", "LANG"] {
      guard let value = unsafe getenv(name).map({ unsafe String(cString: $0) }), !value.isEmpty
      else { continue }
      let text = value.lowercased()
      return text.contains("utf-8") || text.contains("utf8")
    }
    return false
  }

  /// Takes a screen of its own, without a cursor, and keys without waiting for lines.
  mutating func enter() {
    if isEntered { return }
    isEntered = true
    if unsafe input >= 0 && tcgetattr(input, &former) == 0 {
      var raw = former
      raw.c_lflag &= ~tcflag_t(ICANON | ECHO)
      unsafe tcsetattr(input, TCSADRAIN, &raw)
    }
    _ = write("\u{1b}[?1049h\u{1b}[?25l\u{1b}[H\u{1b}[2J")
  }

  /// Puts back what `enter` found.
  mutating func leave() {
    if !isEntered { return }
    isEntered = false
    _ = write("\u{1b}[0m\u{1b}[?25h\u{1b}[?1049l")
    if input >= 0 { unsafe tcsetattr(input, TCSADRAIN, &former) }
  }

  /// Draws a whole screen in one piece.
  /// - Returns: false if that cannot be done.
  func draw(_ text: String) -> Bool { write(text) }

  /// Waits for a key, a signal, or so many milliseconds.
  mutating func wait(milliseconds: Int32) -> Event {
    var waits = (
      pollfd(fd: signals, events: Int16(POLLIN), revents: 0),
      pollfd(fd: input, events: Int16(POLLIN), revents: 0)
    )
    let ready = unsafe withUnsafeMutableBytes(of: &waits) { list in
      unsafe poll(list.assumingMemoryBound(to: pollfd.self).baseAddress, 2, milliseconds)
    }
    if ready <= 0 { return .timeout }
    if waits.0.revents != 0, let signal = nextSignal() { return take(signal) }
    if waits.1.revents != 0 {
      var byte: UInt8 = 0
      let count = unsafe read(input, &byte, 1)
      if count == 1 { return .key(Character(Unicode.Scalar(byte))) }
      if count == 0 || errno != EINTR && errno != EAGAIN { return .gone }
    }
    return .timeout
  }

  private func nextSignal() -> Int32? {
    var info = signalfd_siginfo()
    let size = MemoryLayout<signalfd_siginfo>.size
    return unsafe read(signals, &info, size) == size ? Int32(info.ssi_signo) : nil
  }

  private mutating func take(_ signal: Int32) -> Event {
    switch signal {
    case SIGTSTP:
      // The shell gets its terminal back, and this goes on when it is told to.
      leave()
      kill(getpid(), SIGSTOP)
      enter()
      return .changed
    case SIGCONT, SIGWINCH: return .changed
    default: return .ended(signal)
    }
  }

  /// Ends the process by a signal, as if it had never been watched.
  static func end(by signal: Int32) -> Never {
    Glibc.signal(signal, SIG_DFL)
    var set = Self.set([signal])
    kill(getpid(), signal)
    unsafe pthread_sigmask(SIG_UNBLOCK, &set, nil)
    exit(128 + signal)
  }

  private func write(_ text: String) -> Bool {
    StreamWriter.write(Array(text.utf8), to: output) == nil
  }
}
