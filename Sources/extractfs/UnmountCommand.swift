// `extractfs umount`: flushes, unmounts, waits for the daemon's end, and says what the ledger shows.

import ArgumentParser
import CSystem
import FUSEServer
import Glibc

struct UnmountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "umount", abstract: "Unmount, wait for the daemon to end, and report the ledger.",
    discussion: "Exit code 2 means that the ledger does not balance.")

  @Argument(help: "The mounted directory.", completion: .directory)
  var mountpoint: SystemPath

  @Flag(help: "Print JSON.")
  var json = false

  @Option(
    help: ArgumentHelp(
      "How long flush, unmount and the daemon's end may take together.", valueName: "seconds"))
  var timeout: Double = 60

  func validate() throws {
    if !(timeout > 0 && timeout <= 86_400) {
      throw ValidationError("--timeout must be a number of seconds above 0")
    }
  }

  func run() throws {
    let unmount = try Unmount(of: mountpoint, seconds: timeout)
    guard let farewell = try unmount.run() else { return }
    try UnmountReport(name: mountpoint.shown, json: json).show(farewell)
  }
}

/// One unmount, bounded in time.
private struct Unmount {
  private let control: MountedControl
  private let seconds: Double
  private let deadline: Deadline
  private var name: String { control.name }

  init(of path: SystemPath, seconds: Double) throws {
    self.seconds = seconds
    deadline = Deadline(seconds: seconds)
    control = try MountedControl(path)
  }

  /// - Returns: the daemon's last word, or nil where there is none and that has been said.
  func run() throws -> String? {
    let receiver = FarewellReceiver()
    switch try askForFarewell(receiver) {
    case 0: break
    case ENOTCONN:
      try detach()
      complain("\(name): the daemon had died; the dead mount is removed, its ledger is lost")
      return nil
    default: return try unmountWithoutFarewell()
    }
    let daemon = try daemonProcess()
    try detach()
    try awaitEnd(of: daemon)
    guard let last = receiver?.receive() else {
      throw failure("\(name): unmounted, but the daemon said nothing at its end", code: Exit.defect)
    }
    return last
  }

  /// Has the daemon flush, and tells it where to send its last word.
  /// - Returns: 0, or why the control file cannot be opened.
  private func askForFarewell(_ receiver: FarewellReceiver?) throws -> Int32 {
    guard let receiver else { return ENOTSUP }
    let path = control.mountpoint.appending(".extractfs/control")
    let request = Array("flush\nfarewell \(receiver.name)\n".utf8)
    let opening = attempt(until: deadline.within(seconds: Patience.path)) { _ in
      let descriptor = path.open(O_WRONLY)
      return descriptor < 0 ? errno : 0
    }
    guard let opening else { throw failure(control.silence(min(seconds, Patience.path))) }
    if opening.error != 0 { return opening.error }
    let flush = attempt(until: deadline) { _ in
      let descriptor = path.open(O_WRONLY)
      if descriptor < 0 { return errno }
      return unsafe write(descriptor, request, request.count) < 0 ? errno : 0
    }
    guard let flush else {
      throw failure(
        "\(name): not unmounted: what was written is not durable after \(Int(seconds.rounded(.up))) s; "
          + "--timeout gives it longer")
    }
    if flush.error != 0 {
      throw failure("\(name): flush failed: \(describe(flush.error))")
    }
    return 0
  }

  /// For mounts whose control file cannot be written: a read-only mount's figures just before the end are as good,
  /// since an unmount that succeeds finds no request under way; without a control directory there are none.
  private func unmountWithoutFarewell() throws -> String? {
    let path = control.mountpoint.appending(".extractfs/stats")
    let isReadable =
      attempt(until: deadline) { _ in
        unsafe path.withCString { unsafe access($0, R_OK) } == 0 ? 0 : errno
      }?.error == 0
    let daemon = isReadable ? try daemonProcess() : nil
    let figures = isReadable ? try control.read("stats") : ""
    try detach()
    try awaitEnd(of: daemon)
    if isReadable { return Self.withDefects(figures) }
    complain("\(name): unmounted; it has no control directory, so the ledger is not known")
    return nil
  }

  /// What the daemon would have said of such figures.
  private static func withDefects(_ figures: String) -> String {
    let watched = ["sim_pages_pinned", "sim_pages_reffed", "sim_leaks", "sim_double_releases"]
    let defects = figures.split(separator: "\n").filter { line in
      watched.contains { line.hasPrefix($0 + " ") } && !line.hasSuffix(" 0")
    }
    return defects.map { "defect \($0)\n" }.joined() + figures
  }

  /// The daemon's process and a descriptor that becomes readable when it ends, or nil where it has gone already, or has
  /// its number in another namespace.
  private func daemonProcess() throws -> (pid: pid_t, descriptor: Int32)? {
    let config = try control.read("config")
    guard let line = config.split(separator: "\n").first(where: { $0.hasPrefix("pid=") }),
      let pid = pid_t(line.dropFirst(4)), DaemonProcess.isOurs(pid)
    else { return nil }
    let descriptor = pidfd_open(pid, 0)
    return descriptor >= 0 ? (pid, descriptor) : nil
  }

  // MARK: The unmount

  /// umount(2) as root, fusermount3 as anybody else.
  private func detach() throws {
    let mountpoint = control.mountpoint
    let isDead = isDead
    let answer = attempt(until: deadline) { _ in
      let flags = isDead ? Int32(MNT_DETACH) : 0
      return unsafe mountpoint.withCString { unsafe umount2($0, flags) } == 0 ? 0 : errno
    }
    switch answer?.error {
    case 0: return
    case nil:
      throw failure(
        "\(name): the unmount is not through after \(Int(seconds.rounded(.up))) s; it goes on by itself"
      )
    case EPERM: try detachByHelper(lazily: isDead)
    case EBUSY: throw busy()
    case let error?: throw failure("\(name): \(describe(error))")
    }
  }

  /// Whether the daemon has gone: nothing is lost by taking the mount away from those who use it.
  private var isDead: Bool {
    let mountpoint = control.mountpoint
    return attempt(until: deadline.within(seconds: Patience.path)) { _ in
      var status = stat()
      return unsafe mountpoint.withCString { unsafe stat($0, &status) } == 0 ? 0 : errno
    }?.error == ENOTCONN
  }

  private func detachByHelper(lazily: Bool) throws {
    let words = ["fusermount3", "-u"] + (lazily ? ["-z"] : []) + ["--"]
    let command = words.map { Array($0.utf8) } + [control.mountpoint.bytes]
    guard let child = ChildProcess.spawn(command) else {
      throw failure("\(name): fusermount3 cannot be started: \(describe(errno))")
    }
    guard case .ended(let code, let output) = child.await(until: deadline) else {
      throw failure("\(name): fusermount3 is not through after \(Int(seconds.rounded(.up))) s")
    }
    if code == 0 { return }
    let said = ArgumentText.shown(Array(output.prefix { $0 != UInt8(ascii: "\n") }))
    if said.contains("busy") { throw busy() }
    throw failure("\(name): fusermount3 could not unmount it\(said.isEmpty ? "" : ": \(said)")")
  }

  private func busy() -> ExitCode {
    failure("\(name): busy: \(Holders.ofMount(control.entry))")
  }

  // MARK: The end

  /// Other mounts of the same filesystem keep the daemon: it is not waited for then, but for a moment, in which a
  /// namespace that is about to go may go.
  private func awaitEnd(of daemon: (pid: pid_t, descriptor: Int32)?) throws {
    guard let daemon else { return }
    defer { close(daemon.descriptor) }
    if hasEnded(daemon.descriptor, by: deadline.within(seconds: 0.5)) { return }
    let grace = deadline.within(seconds: 2)
    while let holders = Holders.ofFileSystem(control.entry) {
      if hasEnded(daemon.descriptor, by: grace.within(seconds: 0.2)) { return }
      if grace.remainingMilliseconds == 0 {
        throw failure(
          "\(name): unmounted here, but the filesystem is still \(holders); "
            + "its daemon (process \(daemon.pid)) ends when that has gone")
      }
    }
    if hasEnded(daemon.descriptor, by: deadline) { return }
    let state = DaemonProcess.state(of: daemon.pid)
    throw failure(
      "\(name): unmounted, but its daemon (process \(daemon.pid)) has not ended after "
        + "\(Int(seconds.rounded(.up))) s" + (state == "T" ? ": it is stopped" : ""))
  }

  private func hasEnded(_ descriptor: Int32, by deadline: Deadline) -> Bool {
    while true {
      var wait = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      let ready = unsafe poll(&wait, 1, deadline.remainingMilliseconds)
      if ready >= 0 || errno != EINTR { return ready > 0 }
    }
  }
}

/// The report of a mount's last word.
private struct UnmountReport {
  let name: String
  let json: Bool

  func show(_ farewell: String) throws {
    let lines = farewell.split(separator: "\n").map(String.init)
    let defects = lines.filter { $0.hasPrefix("defect ") }.map { String($0.dropFirst(7)) }
    let counts = Dictionary(
      lines.filter { !$0.hasPrefix("defect ") }.compactMap { line -> (String, Int)? in
        let words = line.split(separator: " ")
        return words.count == 2 ? Int(words[1]).map { (String(words[0]), $0) } : nil
      }, uniquingKeysWith: { first, _ in first })
    if json {
      emitJSON([
        "mountpoint": name, "balanced": defects.isEmpty, "defects": defects, "stats": counts,
      ])
    } else {
      emit(text(counts, defects))
    }
    if !defects.isEmpty { throw Exit.defect }
  }

  private func text(_ counts: [String: Int], _ defects: [String]) -> String {
    "unmounted \(name)\n"
      + "pins: \(counts["sim_nr_foll_pin_acquired"] ?? 0) acquired, "
      + "\(counts["sim_nr_foll_pin_released"] ?? 0) released\n"
      + "references: \(counts["sim_nr_foll_get_acquired"] ?? 0) acquired, "
      + "\(counts["sim_nr_foll_get_released"] ?? 0) released\n"
      + defects.map { "defect: \($0)\n" }.joined()
      + "\(counts["sim_pages_pinned"] ?? 0) pages left pinned\n"
  }
}
