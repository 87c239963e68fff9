// `extractfs top`: what a mount does now, full-screen in a terminal, in plain text elsewhere.

import ArgumentParser
import Glibc
import Top

struct TopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top", abstract: "Watch a mount: rates, latencies, pins, who holds them, files.",
    discussion: """
      Keys: q quits, p pauses, s and h sort files and holders, r forgets the history, R makes the mount's own figures \
      begin anew as well, + and - change the pace. Where standard output is no terminal, each interval is printed as \
      plain text.
      """)

  @Argument(help: "The mounted directory.", completion: .directory)
  var mountpoint: SystemPath

  @Option(help: ArgumentHelp("The time between two looks.", valueName: "seconds"))
  var interval: Double = 1

  @Option(help: ArgumentHelp("End after so many intervals.", valueName: "intervals"))
  var count: Int?

  func validate() throws {
    if !(interval >= 0.1 && interval <= 3600) {
      throw ValidationError("--interval must be a number of seconds from 0.1 to 3600")
    }
    if let count, count < 1 { throw ValidationError("--count must be 1 or more") }
  }

  func run() throws {
    var watch = TopWatch(mount: try MountedControl(mountpoint), interval: interval)
    if let terminal = Terminal() {
      try watch.show(on: terminal, count: count ?? .max)
    } else {
      do {
        try watch.print(count: count ?? .max)
      } catch let trouble as TopTrouble {
        throw failure(trouble.message)
      }
    }
  }
}

/// One mount that is watched. What goes wrong with it is thrown as `TopTrouble`.
struct TopWatch {
  private let mount: MountedControl
  private var view: TopView
  private var names: OpenFileNames

  init(mount: MountedControl, interval: Double) {
    self.mount = mount
    view = TopView(name: mount.mountpoint.shown, interval: interval)
    names = OpenFileNames(below: mount.mountpoint)
  }

  // MARK: Plain

  /// Prints each interval; ends when there is nothing to look at any more.
  mutating func print(count: Int) throws {
    let screen = TopScreen(width: 100, height: nil, isUnicode: Terminal.isUnicode)
    var remaining = count
    try look()
    while remaining > 0 {
      let deadline = Deadline(seconds: view.interval)
      while poll(nil, 0, deadline.remainingMilliseconds) < 0 && errno == EINTR {}
      try look()
      for line in view.lines(on: screen, clock: Self.clock) {
        emit(String(line.text.reversed().drop { $0 == " " }.reversed()) + "\n")
      }
      emit("\n")
      remaining -= 1
    }
  }

  // MARK: Full screen

  /// Shows the mount until a key, a signal or the mount's end; the terminal is then as it was.
  mutating func show(on terminal: Terminal, count: Int) throws {
    var terminal = terminal
    terminal.enter()
    let end = run(on: &terminal, count: count)
    terminal.leave()
    switch end {
    case .quit: return
    case .signal(let signal): Terminal.end(by: signal)
    case .failed(let message): throw failure(message)
    }
  }

  private enum End {
    case quit
    case signal(Int32)
    case failed(String)
  }

  private mutating func run(on terminal: inout Terminal, count: Int) -> End {
    var remaining = count
    var deadline = Deadline(seconds: 0)
    while true {
      if deadline.remainingMilliseconds == 0 {
        do { try look() } catch {
          return .failed((error as? TopTrouble)?.message ?? "\(error)")
        }
        if view.hasInterval && !view.isPaused {
          if !draw(on: terminal) { return .quit }
          remaining -= 1
          if remaining <= 0 { return .quit }
        }
        deadline = Deadline(seconds: view.interval)
      }
      if !draw(on: terminal) { return .quit }
      switch terminal.wait(milliseconds: deadline.remainingMilliseconds) {
      case .key(let character):
        guard let key = TopKey(rawValue: character) else { continue }
        if key == .quit { return .quit }
        view.press(key)
        if key == .resetMount { view.note = resetMount() }
        if key == .faster || key == .slower { deadline = Deadline(seconds: view.interval) }
      case .ended(let signal): return .signal(signal)
      case .changed, .timeout: continue
      case .gone: return .quit
      }
    }
  }

  private func draw(on terminal: Terminal) -> Bool {
    let size = terminal.size
    let screen = TopScreen(
      width: size.width, height: size.height, isUnicode: Terminal.isUnicode)
    let lines = view.lines(on: screen, clock: Self.clock).map { line in
      switch line.style {
      case .title: "\u{1b}[7m\(line.text)\u{1b}[0m"
      case .heading: "\u{1b}[1m\(line.text)\u{1b}[0m"
      case .alarm: "\u{1b}[1;31m\(line.text)\u{1b}[0m"
      case .plain: line.text
      }
    }
    return terminal.draw("\u{1b}[H" + lines.joined(separator: "\r\n") + "\u{1b}[J")
  }

  private static var clock: String {
    var now = time(nil)
    var parts = unsafe tm()
    unsafe localtime_r(&now, &parts)
    return unsafe [parts.tm_hour, parts.tm_min, parts.tm_sec]
      .map { $0 < 10 ? "0\($0)" : "\($0)" }.joined(separator: ":")
  }

  // MARK: Looking

  /// Takes a sample.
  private mutating func look() throws {
    let texts = try mount.texts(of: ["stats.json", "pins", "config"])
    do throws(TopSampleError) {
      view.take(
        try TopSample(
          time: Self.seconds, statistics: texts[0], pins: texts[1], config: texts[2]))
    } catch {
      throw TopTrouble(message: "\(mount.name): \(error.message)")
    }
    view.paths = names.paths(of: view.inodes)
  }

  private static var seconds: Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// - Returns: how that went, for the screen.
  private func resetMount() -> String {
    let path = mount.mountpoint.appending(".extractfs/control")
    let answer = attempt(until: Deadline(seconds: Patience.path)) { _ in
      let control = path.open(O_WRONLY)
      if control < 0 { return errno }
      let command = Array("reset stats\n".utf8)
      return unsafe command.withUnsafeBytes { unsafe write(control, $0.baseAddress, $0.count) }
        == command.count ? 0 : errno
    }
    switch answer?.error {
    case 0: return "the mount's figures begin anew"
    case nil: return "the mount does not answer"
    case let error?: return "the mount's figures cannot be reset: \(describe(error))"
    }
  }
}
