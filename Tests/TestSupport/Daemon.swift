// The daemon's process in the foreground: started, awaited, and ended by its own id only.

import Foundation
import Synchronization

/// One `extractfs mount -f`.
final class Daemon: Sendable {
  private struct State {
    var log = ""
    var timedOut = false
  }

  private let state = Mutex(State())
  private let directory: URL
  private let program: ChildProgram

  /// Signalled by `tearDown`, so that the watchdog need not wait out its time.
  private let finished = DispatchSemaphore(value: 0)

  /// Starts the daemon and returns once it says that it has mounted.
  /// - Throws: `TestFailure` with what it said, if it ended instead or said nothing for a minute.
  init(mounting image: URL, on directory: URL, options: String, limitSeconds: Int) throws {
    self.directory = directory
    let output: FileDescriptor
    (program, output) = try ChildProgram.withErrorPipe(
      [extractfs(), "mount", image.path, directory.path, "-f"]
        + (options.isEmpty ? [] : ["-o", options]))
    let answered = DispatchSemaphore(value: 0)
    follow(output, awaiting: "extractfs: mounted ", answered)
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
  private func follow(
    _ output: FileDescriptor, awaiting text: String, _ answered: DispatchSemaphore
  ) {
    let thread = Thread { [self] in
      while true {
        let data = output.readAvailable()
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
  var isRunning: Bool { program.isRunning }

  /// Asks the daemon to end, by a signal, and waits for its exit code.
  func end(by signal: CInt) throws -> Int {
    program.send(signal)
    return try awaitEnd()
  }

  /// Waits for a daemon that ends by itself, and gives its exit code.
  /// - Throws: `TestFailure` after 30 seconds.
  @discardableResult
  func awaitEnd() throws -> Int {
    guard let code = try program.wait(milliseconds: 30_000) else {
      throw TestFailure("the daemon still runs 30 s after its unmount: \(log)")
    }
    return code
  }

  /// Ends the daemon at once.
  func kill() { program.send(SIGKILL) }

  /// Unmounts if need be and ends the process, by force if it does not end otherwise.
  func tearDown() {
    forceUnmount(directory)
    if (try? program.wait(milliseconds: 10_000)) == nil {
      kill()
      _ = try? program.wait(milliseconds: -1)
    }
    finished.signal()
  }
}
