// The daemon's process in the foreground: started, awaited, and ended by its own id only.

import Foundation
import Synchronization

/// One `extractfs mount -f`.
final class Daemon: Sendable {
  private struct State {
    var log = ""
    var timedOut = false
  }

  /// A mutex that a closure can hold on to.
  private final class Box<Value: Sendable>: Sendable {
    private let value: Mutex<Value>
    init(_ value: Value) { self.value = Mutex(value) }
    func withLock<Result: Sendable>(_ body: (inout sending Value) -> sending Result) -> Result {
      value.withLock(body)
    }
  }

  private let state = Mutex(State())
  private let exitCode = Box<Int?>(nil)
  private let directory: URL
  private let processIdentifier: pid_t

  /// Entered once by the process and left when it ends.
  private let running = DispatchGroup()

  /// Signalled by `tearDown`, so that the watchdog need not wait out its time.
  private let finished = DispatchSemaphore(value: 0)

  /// Starts the daemon and returns once it says that it has mounted.
  /// - Throws: `TestFailure` with what it said, if it ended instead or said nothing for a minute.
  init(mounting image: URL, on directory: URL, options: String, limitSeconds: Int) throws {
    self.directory = directory
    let process = Process()
    process.executableURL = URL(filePath: try extractfs())
    process.arguments =
      ["mount", image.path, directory.path, "-f"] + (options.isEmpty ? [] : ["-o", options])
    let pipe = Pipe()
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = pipe
    running.enter()
    process.terminationHandler = { [running, state = exitCode] ended in
      state.withLock { $0 = ended.exitCode }
      running.leave()
    }
    do { try process.runWithSignals() } catch {
      running.leave()
      throw error
    }
    processIdentifier = process.processIdentifier
    let answered = DispatchSemaphore(value: 0)
    follow(pipe.fileHandleForReading, awaiting: "extractfs: mounted ", answered)
    watch(limitSeconds: limitSeconds)
    let timedOut = answered.wait(timeout: .now() + .seconds(60)) == .timedOut
    if timedOut || !log.contains("extractfs: mounted ") {
      tearDown()
      throw TestFailure("mount -o '\(options)' did not succeed: \(log)")
    }
  }

  /// All that the daemon has said.
  var log: String { state.withLock { $0.log } }

  /// Whether it was killed because it took too long.
  var timedOut: Bool { state.withLock { $0.timedOut } }

  /// Collects the daemon's messages until it ends; signals at the awaited one, and at the end.
  private func follow(_ handle: FileHandle, awaiting text: String, _ answered: DispatchSemaphore) {
    let thread = Thread { [self] in
      while true {
        let data = handle.availableData
        if data.isEmpty { break }
        let found = state.withLock { state in
          state.log += String(decoding: data, as: UTF8.self)
          return state.log.contains(text)
        }
        if found { answered.signal() }
      }
      answered.signal()
    }
    thread.start()
  }

  /// Kills the daemon when it has had its time: whoever waits for it then gets an error.
  private func watch(limitSeconds: Int) {
    let thread = Thread { [self] in
      if finished.wait(timeout: .now() + .seconds(limitSeconds)) == .timedOut {
        state.withLock { $0.timedOut = true }
        kill()
        forceUnmount(directory)
      }
    }
    thread.start()
  }

  /// Whether the process has not ended yet.
  var isRunning: Bool { running.wait(timeout: .now()) == .timedOut }

  /// Asks the daemon to end, by a signal, and waits for its exit code.
  func end(by signal: CInt) throws -> Int {
    if isRunning { Glibc.kill(processIdentifier, signal) }
    return try awaitEnd()
  }

  /// Waits for a daemon that ends by itself, and gives its exit code.
  func awaitEnd() throws -> Int {
    try waitUntilEnded()
    return exitCode.withLock { $0 ?? -1 }
  }

  /// Ends the daemon at once.
  func kill() {
    if isRunning { Glibc.kill(processIdentifier, SIGKILL) }
  }

  /// Waits until the process has gone.
  /// - Throws: `TestFailure` after 30 seconds.
  func waitUntilEnded() throws {
    if running.wait(timeout: .now() + .seconds(30)) == .timedOut {
      throw TestFailure("the daemon still runs 30 s after its unmount: \(log)")
    }
  }

  /// Unmounts if need be and ends the process, by force if it does not end otherwise.
  func tearDown() {
    forceUnmount(directory)
    if running.wait(timeout: .now() + .seconds(10)) == .timedOut {
      kill()
      running.wait()
    }
    finished.signal()
  }
}
