// The files of `.extractfs/`: what each shows and what it takes.

import DirectIO
import Glibc
import IOVector
import Memory
import Synchronization
import Volumes

extension Server {
  /// The files in the order of a listing.
  func makeControlFiles() -> [ControlFile] {
    let lastReply = LastReply()
    return [
      ControlFile(name: "stats", permissions: 0o444) { [unowned self] in
        statistics.snapshot().text
      },
      ControlFile(name: "stats.json", permissions: 0o444) { [unowned self] in statistics.json() },
      ControlFile(name: "metrics", permissions: 0o444) { [unowned self] in
        OpenMetricsText.make(statistics.snapshot(), about: metricsAbout())
      },
      ControlFile(name: "pins", permissions: 0o444) { [unowned self] in pinsText() },
      ControlFile(name: "unstable", permissions: 0o400) { [unowned self] in bufferWatch.text },
      ControlFile(name: "trace", permissions: 0o400, render: { "" }, stream: .text),
      ControlFile(name: "trace_raw", permissions: 0o400, render: { "" }, stream: .records),
      ControlFile(
        name: "control", permissions: 0o600, render: { lastReply.text },
        accept: { [unowned self] text, done in
          let commands: [ControlCommand]
          do throws(ControlError) {
            commands = try ControlCommand.parse(text)
          } catch {
            lastReply.text = "error: \(error.message)\n"
            return done(error.code)
          }
          perform(commands[...], reply: lastReply, done)
        }),
      ControlFile(name: "config", permissions: 0o444) { [unowned self] in configText() },
      ControlFile(name: "help", permissions: 0o444) { ControlCommand.help },
    ]
  }

  /// What tells one mount's metrics from another's.
  private func metricsAbout() -> [(name: String, value: String)] {
    [
      ("image", configuration.imagePath), ("mountpoint", configuration.mountpoint),
      ("volume", volume.kindName), ("device", device.name), ("transport", transportName),
    ]
  }

  /// The settings in force, `name=value` a line.
  private func configText() -> String {
    let shape = shape.current
    let hardware = configuration.passThroughLimits ?? device.limits
    var settings: [(name: String, value: String)] = [
      ("iter", shape.kind.name), ("cleanup", shape.cleanup.rawValue), ("era", shape.era.rawValue),
      ("bug", shape.bugs.isEmpty ? "none" : shape.bugs.names.joined(separator: ",")),
      ("alignment", shape.alignment.rawValue), ("stable", shape.needsStablePages ? "on" : "off"),
      ("watch", bufferWatch.isOn ? "buffers" : "off"), ("hold", "\(bufferWatch.holdMilliseconds)"),
      ("segs", "\(shape.segments)"), ("misalign", "\(shape.misalignment)"),
      ("volume", volume.kindName), ("device", device.name),
      ("block_size", "\(device.limits.logicalBlockSize)"),
      ("size", "\(device.byteCount)"), ("image", configuration.imagePath),
      ("mountpoint", configuration.mountpoint), ("ro", configuration.isReadOnly ? "1" : "0"),
      ("workers", "\(configuration.workerCount)"),
      ("queue_depth", "\(configuration.slotsPerWorker)"),
      ("max_io", "\(configuration.maxIOBytes)"),
      ("spin", "\(configuration.spinNanoseconds / 1000)"),
      ("huge_pages", memory.isHuge ? "1" : "0"), ("seed", "\(configuration.seed)"),
      ("max_segments", "\(hardware.maxSegments)"),
      ("max_segment_size", "\(hardware.maxSegmentSize)"),
      ("virt_boundary", "\(hardware.virtBoundaryMask == 0 ? 0 : hardware.virtBoundaryMask + 1)"),
      ("frozen", isFrozen ? "1" : "0"), ("pid", "\(getpid())"),
    ]
    settings.append(("transport", transportName))
    settings += configuration.report
    return settings.map { "\($0.name)=\($0.value)\n" }.joined()
  }

  /// Does what the commands say, one after the other; a command that takes its time keeps nobody else waiting.
  private func perform(
    _ commands: ArraySlice<ControlCommand>, reply: LastReply,
    _ done: @escaping @Sendable (Errno?) -> Void
  ) {
    guard let command = commands.first else { return done(nil) }
    perform(command) { [unowned self] result in
      switch result {
      case .success(let text):
        reply.text = text + "\n"
        controlQueue.async { [unowned self] in perform(commands.dropFirst(), reply: reply, done) }
      case .failure(let error):
        reply.text = "error: \(error.message)\n"
        done(error.code)
      }
    }
  }

  /// Does what a command says.
  /// - Parameter done: called once, maybe later, with the reply that `control` shows afterwards.
  private func perform(
    _ command: ControlCommand,
    _ done: @escaping @Sendable (Result<String, ControlError>) -> Void
  ) {
    let finish: @Sendable (String, Errno?) -> Void = { reply, error in
      done(error.map { .failure(ControlError($0)) } ?? .success(reply))
    }
    switch command {
    case .resetStatistics:
      statistics.reset()
      finish("ok", nil)
    case .set(let changes): finish(changeShape(changes), nil)
    case .flush: flush { finish("ok", $0) }
    case .freeze: freeze(done)
    case .thaw:
      thaw()
      finish("ok", nil)
    case .drop: drop(done)
    case .migrate: finish(migrate(), nil)
    case .farewell(let name):
      farewell.set(name)
      finish("ok", nil)
    case .checkpoint(let name):
      flush { [unowned self] error in
        if error == nil { statistics.checkpoint(name) }
        finish("ok checkpoint \(name)", error)
      }
    }
  }

  private func freeze(_ done: @escaping @Sendable (Result<String, ControlError>) -> Void) {
    freeze { isFrozen, error in
      if !isFrozen {
        done(
          .failure(ControlError(code: .cancelled, message: "the mount was thawed meanwhile")))
      } else {
        done(error.map { .failure(ControlError($0)) } ?? .success("ok"))
      }
    }
  }

  /// Waits for the kernel's page locks, so it runs where nobody waits for it.
  private func drop(_ done: @escaping @Sendable (Result<String, ControlError>) -> Void) {
    if isFrozen {
      return done(
        .failure(
          ControlError(
            code: .busy,
            message:
              "the mount is frozen, and a write that it holds may have a page locked; thaw first"
          )))
    }
    invalidationQueue.async { [self] in
      do throws(Errno) {
        try dropCaches()
        done(.success("ok"))
      } catch {
        done(.failure(ControlError(error)))
      }
    }
  }

  private func changeShape(_ changes: ControlCommand.ShapeChange) -> String {
    var new = shape.current
    if let kind = changes.kind { new.kind = kind }
    if let cleanup = changes.cleanup { new.cleanup = cleanup }
    if let era = changes.era { new.era = era }
    if let alignment = changes.alignment { new.alignment = alignment }
    if let needsStablePages = changes.needsStablePages { new.needsStablePages = needsStablePages }
    if let bugs = changes.bugs { new.bugs = bugs }
    shape.current = new
    bufferWatch.set(isOn: changes.watchesBuffers, holdMilliseconds: changes.holdMilliseconds)
    var reply = "ok iter=\(new.kind.name) cleanup=\(new.cleanup.rawValue) era=\(new.era.rawValue)"
    if bufferWatch.isOn { reply += " watch=buffers hold=\(bufferWatch.holdMilliseconds)" }
    if !new.bugs.isEmpty {
      reply += " bug=\(new.bugs.names.joined(separator: ",")) seed=\(configuration.seed)"
    }
    if changes.bugs != nil { configuration.log(reply) }
    return reply
  }
}

/// What `control` shows when read.
private final class LastReply: Sendable {
  private let value = Guarded("")
  var text: String {
    get { value.withLock { $0 } }
    set { value.withLock { $0 = newValue } }
  }
}
