// The files of `.extractfs/`: what each shows and what it takes.

import DirectIO
import Glibc
import IOVector
import Memory
import Synchronization
import Volumes

/// Open control files: each keeps the text that it was opened with.
final class OpenControlFiles: Sendable {
  private struct State {
    var next: UInt64 = 1
    var texts: [UInt64: (inode: UInt64, bytes: [UInt8])] = [:]
  }
  private let state = Guarded(State())

  /// Keeps a text and gives its handle.
  func open(_ text: String, inode: UInt64) -> UInt64 {
    state.withLock { state in
      let handle = state.next
      state.next += 1
      state.texts[handle] = (inode, Array(text.utf8))
      return handle
    }
  }

  /// The text behind a handle, or nil.
  func text(_ handle: UInt64) -> [UInt8]? { state.withLock { $0.texts[handle]?.bytes } }

  /// The size of a file's longest open text, or 0.
  ///
  /// The kernel does not say which open file a fstat(2) is about. Who reads as many bytes as it tells must not
  /// miss the end of his text because the file's text has become shorter since.
  func largestSize(of inode: UInt64) -> Int {
    state.withLock { state in
      state.texts.values.reduce(0) { $1.inode == inode ? max($0, $1.bytes.count) : $0 }
    }
  }

  /// Forgets a text.
  func close(_ handle: UInt64) { state.withLock { _ = $0.texts.removeValue(forKey: handle) } }
}

extension Server {
  /// The files in the order of a listing.
  func makeControlFiles() -> [ControlFile] {
    let lastReply = LastReply()
    return [
      ControlFile(name: "stats", permissions: 0o444) { [unowned self] in
        statistics.snapshot().text
      },
      ControlFile(name: "stats.json", permissions: 0o444) { [unowned self] in statistics.json() },
      ControlFile(name: "pins", permissions: 0o444) { [unowned self] in pinsText() },
      ControlFile(
        name: "control", permissions: 0o600, render: { lastReply.text },
        accept: { [unowned self] text throws(Errno) in
          do throws(ControlError) {
            for command in try ControlCommand.parse(text) {
              lastReply.text = try perform(command) + "\n"
            }
          } catch {
            lastReply.text = "error: \(error.message)\n"
            throw error.code
          }
        }),
      ControlFile(name: "config", permissions: 0o444) { [unowned self] in configText() },
      ControlFile(name: "help", permissions: 0o444) { ControlCommand.help },
    ]
  }

  /// Who holds what now.
  private func pinsText() -> String {
    var text = "# request inode offset length kind mode pages age_us\n"
    let now = monotonicNanoseconds()
    for entry in ledger.entries() {
      let mode = entry.mode.contains(.pin) ? "pin" : entry.mode.contains(.get) ? "get" : "none"
      let age = max(0, now - entry.startNanoseconds) / 1000
      text +=
        "\(entry.unique) \(entry.inode) \(entry.offset) \(entry.length) \(entry.kind.name) \(mode) "
        + "\(entry.pages) \(age)\n"
    }
    for defect in defects.lines { text += "# defect: \(defect)\n" }
    return text
  }

  /// The settings in force, `name=value` a line.
  private func configText() -> String {
    let shape = shape.current
    let hardware = configuration.passThroughLimits ?? device.limits
    var settings: [(name: String, value: String)] = [
      ("iter", shape.kind.name), ("cleanup", shape.cleanup.rawValue), ("era", shape.era.rawValue),
      ("bug", shape.bugs.isEmpty ? "none" : shape.bugs.names.joined(separator: ",")),
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

  /// Does what a command says.
  /// - Returns: the reply that `control` shows afterwards.
  private func perform(_ command: ControlCommand) throws(ControlError) -> String {
    if case .drop = command, isFrozen {
      throw ControlError(
        code: Errno(rawValue: EBUSY),
        message: "the mount is frozen, and a write that it holds may have a page locked; thaw first"
      )
    }
    do throws(Errno) {
      switch command {
      case .resetStatistics: statistics.reset()
      case .set(let changes): return changeShape(changes)
      case .flush: try flusher.flush()
      case .freeze: try freeze()
      case .thaw: thaw()
      case .drop: try dropCaches()
      case .farewell(let name): farewell.set(name)
      case .checkpoint(let name):
        try flusher.flush()
        statistics.checkpoint(name)
        return "ok checkpoint \(name)"
      }
      return "ok"
    } catch {
      throw ControlError(code: error, message: describeErrno(error.rawValue))
    }
  }

  private func changeShape(_ changes: ControlCommand.ShapeChange) -> String {
    var new = shape.current
    if let kind = changes.kind { new.kind = kind }
    if let cleanup = changes.cleanup { new.cleanup = cleanup }
    if let era = changes.era { new.era = era }
    if let bugs = changes.bugs { new.bugs = bugs }
    shape.current = new
    var reply = "ok iter=\(new.kind.name) cleanup=\(new.cleanup.rawValue) era=\(new.era.rawValue)"
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
