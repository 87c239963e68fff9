// A place for a test's files that goes away with the test.

import Foundation

/// Runs `body` with a fresh directory, and removes that afterwards whatever happens.
///
/// The directory lies in `EXTRACTFS_TEST_DIR` if set, else in `TMPDIR`, else in /var/tmp, which is on
/// disk where /tmp often is not: the kernel pins no pages for tmpfs.
public func withTemporaryDirectory<Result>(_ body: (URL) throws -> Result) throws -> Result {
  let directory = scratchDirectory.appending(path: "extractfs-test.\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(at: directory) }
  return try body(directory)
}

/// Runs `body` with a fresh directory that lies in memory (tmpfs), and removes that afterwards whatever happens.
public func withMemoryDirectory<Result>(_ body: (URL) throws -> Result) throws -> Result {
  let directory = memoryDirectory.appending(path: "extractfs-test.\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(at: directory) }
  return try body(directory)
}

/// Where Linux has a tmpfs for everybody.
let memoryDirectory = URL(filePath: "/dev/shm", directoryHint: .isDirectory)

/// Where temporary directories are made.
public var scratchDirectory: URL {
  let environment = ProcessInfo.processInfo.environment
  let path = environment["EXTRACTFS_TEST_DIR"] ?? environment["TMPDIR"] ?? "/var/tmp"
  return URL(filePath: path, directoryHint: .isDirectory)
}

/// Makes a file of `sizeBytes` zeros without blocks of its own.
public func makeSparseFile(_ file: URL, sizeBytes: Int) throws {
  try OpenFile(file.path, [.write, .create, .truncate]).resize(to: sizeBytes)
}
