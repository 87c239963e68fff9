// `extractfs record`: runs a command, and keeps what the mount did meanwhile.

import ArgumentParser
import Glibc
import Memory
import Trace

struct RecordCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "record",
    abstract: "Run a command and keep the trace of the mount in a file, for `extractfs report`.",
    discussion: "Ends as the command ends, with its exit code.")

  @Argument(help: "The mounted directory.", completion: .directory)
  var mountpoint: SystemPath

  @Option(name: .shortAndLong, help: "Where the trace goes.", completion: .file())
  var output = SystemPath("extractfs.trace")

  @Argument(parsing: .postTerminator, help: "The command, after `--`.")
  var command: [String] = []

  func validate() throws {
    if command.isEmpty { throw ValidationError("name the command after `--`") }
  }

  func run() throws {
    let mount = try MountedControl(mountpoint)
    let names = ClientNames(mount.mountpoint)
    var facts = TraceFacts()
    facts.command = command.map { SystemPath(ArgumentText.bytes($0)).quoted }
      .joined(separator: " ")
    for line in try mount.read("config").split(separator: "\n") {
      let parts = line.split(separator: "=", maxSplits: 1).map(String.init)
      if parts.count == 2 { facts.config[parts[0]] = parts[1] }
    }
    let sink = try TraceSink(output)
    var bytes = TraceFile.head
    sink.write(&bytes)
    let source = try TraceSource(mount)
    var start = ProgramStart(command.map(ArgumentText.bytes))
    guard let child = start.run() else {
      throw failure("\(command[0]): \(describe(errno))", code: ExitCode(127))
    }
    facts.exitCode = Int(try follow(source, child, names, sink))
    for (thread, name) in names.knownCommands { facts.programs["\(thread)"] = name }
    for (inode, path) in names.knownPaths { facts.files["\(inode)"] = path }
    bytes = try TraceFile.foot(facts)
    sink.write(&bytes)
    if facts.exitCode != 0 { throw ExitCode(Int32(facts.exitCode)) }
  }

  /// Keeps events until the command has ended and nothing more comes.
  private func follow(
    _ source: TraceSource, _ child: pid_t, _ names: ClientNames, _ sink: TraceSink
  ) throws -> Int32 {
    // Ctrl-C is the command's; the trace ends with it.
    for signal in [SIGINT, SIGQUIT] { Glibc.signal(signal, SIG_IGN) }
    var bytes: [UInt8] = []
    var seen: Set<Int32> = []
    var status: Int32?
    while true {
      let arrival = try source.take(waiting: status == nil ? 50 : 20) { record in
        TraceBytes.add(record, to: &bytes)
        if record.step != .arrive { return }
        // While they live: names are asked for when a program is first seen, files until they are known.
        if seen.insert(record.thread).inserted { _ = names.command(of: record.thread) }
        if record.inode > 1 { _ = names.path(of: record.inode, thread: record.thread) }
      }
      sink.write(&bytes)
      if arrival == .ended || (arrival == .nothing && status != nil) { break }
      if status == nil { status = ended(child) }
    }
    return status ?? wait(for: child)
  }

  /// The exit code of a child that has ended, as shells have it, or nil.
  private func ended(_ child: pid_t) -> Int32? {
    var status: Int32 = 0
    guard unsafe waitpid(child, &status, WNOHANG) == child else { return nil }
    return code(status)
  }

  private func wait(for child: pid_t) -> Int32 {
    var status: Int32 = 0
    _ = retryingInterrupted { unsafe waitpid(child, &status, 0) }
    return code(status)
  }

  private func code(_ status: Int32) -> Int32 {
    let signal = status & 0x7f
    return signal == 0 ? (status >> 8) & 0xff : 128 + signal
  }
}
