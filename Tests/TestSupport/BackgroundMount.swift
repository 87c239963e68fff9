// A mount as users make it, with the command that returns: for tests of the commands themselves.

import Foundation

/// A directory with an image, a mountpoint, and nothing mounted yet.
public struct MountPlace {
  /// Where both lie.
  public let scratch: URL
  /// The image, 16 MiB.
  public let image: URL
  /// The mountpoint.
  public let directory: URL

  /// Runs a line of shell here; `$X` is the executable. It may find nothing to read.
  public func shell(_ line: String, limitSeconds: Int = 60) throws -> CommandResult {
    try TestSupport.run(
      ["bash", "-c", line], environment: ["X": try extractfs()], in: scratch,
      limitSeconds: limitSeconds)
  }

  /// The daemon's process, as `config` says it.
  public func daemon() throws -> pid_t {
    let config = try String(
      contentsOf: directory.appending(path: ".extractfs/config"), encoding: .utf8)
    guard let line = config.split(separator: "\n").first(where: { $0.hasPrefix("pid=") }),
      let process = pid_t(line.dropFirst(4))
    else { throw TestFailure("config does not say the daemon's process") }
    return process
  }
}

/// Gives `body` an image `image` and a directory `mnt`, and unmounts by force whatever is on it afterwards.
public func withMountPlace(_ body: (MountPlace) throws -> Void) throws {
  try withTemporaryDirectory { scratch in
    let place = MountPlace(
      scratch: scratch, image: scratch.appending(path: "image"),
      directory: scratch.appending(path: "mnt", directoryHint: .isDirectory))
    try FileManager.default.createDirectory(at: place.directory, withIntermediateDirectories: false)
    try makeSparseFile(place.image, sizeBytes: 16 << 20)
    defer { forceUnmount(place.directory) }
    try body(place)
  }
}
