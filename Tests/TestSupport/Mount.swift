// A real mount for a test, undone whatever happens.

import Foundation
import Synchronization

/// A mounted image and the daemon that serves it.
public final class Mount: Sendable {
  /// The image below.
  public let image: URL

  /// Where it is mounted.
  public let directory: URL

  private let daemon: Daemon

  init(image: URL, directory: URL, daemon: Daemon) {
    self.image = image
    self.directory = directory
    self.daemon = daemon
  }

  /// The path of the image's one file.
  public var disk: String { directory.appending(path: "disk").path }

  /// The path of a file in the control directory.
  public func controlFile(_ name: String) -> String {
    directory.appending(path: ".extractfs/\(name)").path
  }

  /// The content of a file in the control directory.
  public func read(_ name: String) throws -> String {
    try String(contentsOf: URL(filePath: controlFile(name)), encoding: .utf8)
  }

  /// The statistics now.
  public func statistics() throws -> Statistics {
    try Statistics(parsing: read("stats"))
  }

  /// The daemon's process.
  public func processIdentifier() throws -> pid_t {
    let line = try read("config").split(separator: "\n").first { $0.hasPrefix("pid=") }
    guard let line, let number = pid_t(line.dropFirst(4)) else {
      throw TestFailure("config does not say the daemon's process")
    }
    return number
  }

  /// Writes a command to `control`; it is in force when this returns.
  /// - Throws: `SystemFailure` with write(2)'s errno, EINVAL for a command that is refused.
  public func control(_ command: String) throws {
    let line = command + "\n"
    let buffer = AlignedBuffer(count: line.utf8.count)
    for (offset, byte) in line.utf8.enumerated() { buffer[offset] = byte }
    try OpenFile(controlFile("control"), .write).write(from: buffer, count: buffer.count, at: 0)
  }

  /// Sends the daemon a signal that asks it to unmount and end, and waits until it has.
  /// - Returns: its exit code.
  public func end(by signal: CInt) throws -> Int {
    try daemon.end(by: signal)
  }

  /// Waits until the daemon has ended by itself.
  /// - Returns: its exit code, and what it said.
  public func awaitEnd() throws -> (exitCode: Int, log: String) {
    (try daemon.awaitEnd(), daemon.log)
  }

  /// Ends the daemon as a power failure would, and waits until it has gone.
  public func killDaemon() throws {
    daemon.kill()
    try daemon.awaitEnd()
  }
}

/// Mounts an image, runs `body` with it, and unmounts, also when `body` throws.
///
/// When `body` returns, the unmount is a check of its own: `extractfs umount` must exit with 0 and the
/// daemon must end. When `body` throws, or has killed the daemon, everything is torn down by force.
/// - Parameters:
///   - options: what follows `-o`.
///   - image: an image to mount; without one, a sparse one of `imageSizeBytes` is made.
///   - limitSeconds: a daemon that still serves after these is killed, so that no test can hang.
@discardableResult
public func withMount<Result>(
  options: String = "", image: URL? = nil, imageSizeBytes: Int = 256 << 20,
  limitSeconds: Int = 240, _ body: (Mount) throws -> Result
) throws -> Result {
  try withTemporaryDirectory { scratch in
    let directory = scratch.appending(path: "mnt", directoryHint: .isDirectory)
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
    let target = image ?? scratch.appending(path: "image")
    if image == nil { try makeSparseFile(target, sizeBytes: imageSizeBytes) }
    let daemon = try Daemon(
      mounting: target, on: directory, options: Transport.options(with: options),
      limitSeconds: limitSeconds)
    defer { daemon.tearDown() }
    let result: Result
    do {
      result = try body(Mount(image: target, directory: directory, daemon: daemon))
    } catch  where daemon.timedOut {
      throw TestFailure("the daemon was killed after \(limitSeconds) s; then: \(error)")
    }
    if daemon.timedOut { throw TestFailure("the daemon was killed after \(limitSeconds) s") }
    if daemon.isRunning {
      try run([try extractfs(), "umount", directory.path]).checked()
      try daemon.awaitEnd()
    }
    return result
  }
}

/// The transport under test: `EXTRACTFS_TRANSPORT` if set, else what the daemon chooses.
public enum Transport {
  /// `dev`, `uring`, or nil.
  public static let chosen = ProcessInfo.processInfo.environment["EXTRACTFS_TRANSPORT"]

  /// All that this machine has, for tests that name theirs.
  public static let present = Feature.fuseRing.isPresent ? ["dev", "uring"] : ["dev"]

  /// Mount options with the transport, unless they name one.
  static func options(with options: String) -> String {
    guard let chosen, !options.contains("transport=") else { return options }
    return options.isEmpty ? "transport=\(chosen)" : "\(options),transport=\(chosen)"
  }
}

/// The path of the executable under test: `EXTRACTFS` if set, else the one built beside the tests.
public func extractfs() throws -> String {
  if let path = ProcessInfo.processInfo.environment["EXTRACTFS"] { return path }
  let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
  let path = URL(filePath: tests).deletingLastPathComponent().appending(path: "extractfs").path
  guard FileManager.default.isExecutableFile(atPath: path) else {
    throw TestFailure("no executable at \(path); set EXTRACTFS")
  }
  return path
}

/// Unmounts by force what may be mounted on a directory; for tests whose mount should have failed.
///
/// Where this is allowed, the connection is aborted as well: a daemon that waits for a request of its own mount does not
/// even end by SIGKILL. Nothing here asks the mount anything, since it may not answer.
public func forceUnmount(_ directory: URL) {
  if unsafe umount2(directory.path, Int32(MNT_FORCE) | Int32(MNT_DETACH)) == 0 { return }
  if errno == EPERM { _ = try? run(["fusermount3", "-u", "-z", directory.path]) }
}
