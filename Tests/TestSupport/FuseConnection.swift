// The kernel's own view of a FUSE mount: how many requests wait for an answer.

import Foundation

/// A mount's entry in the kernel's control filesystem, Documentation/filesystems/fuse.rst.
public struct FuseConnection {
  private let directory: URL

  /// Requests that were made and not answered yet, whether or not the daemon has taken them.
  public func waitingRequests() throws -> Int {
    let text = try String(contentsOf: directory.appending(path: "waiting"), encoding: .utf8)
    guard let count = Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) else {
      throw TestFailure("'\(text)' is no number of waiting requests")
    }
    return count
  }

  /// Looks until requests wait, and as many at every one of a thousand looks: then all that could go on has.
  /// - Throws: `TestFailure` after 30 seconds.
  public func awaitStandstill() throws {
    let start = ContinuousClock.now
    var (last, sameLooks) = (0, 0)
    while last == 0 || sameLooks < 1000 {
      let count = try waitingRequests()
      sameLooks = count == last ? sameLooks + 1 : 0
      last = count
      if ContinuousClock.now - start > .seconds(30) {
        throw TestFailure("\(last) requests wait, and their number does not settle")
      }
      sched_yield()
    }
  }

  /// Has the kernel keep changed pages for some time, however little memory there is.
  ///
  /// A mount of FUSE may have few of them by default, and the kernel then writes back while a program still changes. Who
  /// changes a page that is on its way waits with its process's address space locked: up to Linux 6.3 all other threads
  /// of the process may wait with it, also the one that was to ask for a thaw.
  public func keepDirtyPages() throws {
    let pages = URL(filePath: "/sys/class/bdi/0:\(directory.lastPathComponent)")
    // In per cent. FUSE begins with a most of 1, and the least cannot be more.
    for (name, share) in [("max_ratio", 50), ("min_ratio", 20)] {
      try Data("\(share)\n".utf8).write(to: pages.appending(path: name))
    }
  }

  /// Runs `body` with a mount's connection; needs root, which alone may mount the control filesystem.
  public static func of<Result>(
    _ mount: Mount, _ body: (FuseConnection) throws -> Result
  ) throws -> Result {
    var status = stat()
    guard unsafe stat(mount.directory.path, &status) == 0 else {
      throw SystemFailure("stat \(mount.directory.path)")
    }
    return try withTemporaryDirectory { scratch in
      try run(["mount", "-t", "fusectl", "fusectl", scratch.path]).checked()
      defer { _ = try? run(["umount", scratch.path]) }
      // A FUSE mount's device number has no major part, and the rest is the connection's name.
      return try body(FuseConnection(directory: scratch.appending(path: "\(status.st_dev)")))
    }
  }
}
