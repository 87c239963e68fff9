// Mounting in the background: this program starts itself once more, detached, and waits until the mount answers.

import ArgumentParser
import CSystem
import Foundation
import Glibc

/// The parent's side of a background mount. The child tells over a pipe how it went, a line each:
/// `note TEXT`, `fail CODE TEXT`, `ready`.
struct BackgroundStart {
  let plan: MountPlan
  let options: [String]

  func run() throws {
    var ends: [Int32] = [0, 0]
    guard unsafe pipe2(&ends, O_CLOEXEC) == 0 else {
      throw failure(unsafe "pipe: \(String(cString: strerror(errno)))")
    }
    defer { close(ends[0]) }
    do {
      defer { close(ends[1]) }
      try spawn(writeEnd: ends[1])
    }
    try listen(readEnd: ends[0])
  }

  /// A new program, not a fork: no thread, lock or descriptor of this one is inherited.
  private func spawn(writeEnd: Int32) throws {
    let childEnd: Int32 = 3
    var arguments = [
      "extractfs", "mount", plan.image, plan.mountpoint, "--ready-fd", "\(childEnd)",
    ]
    for text in options { arguments += ["-o", text] }
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    unsafe posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
    unsafe posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    unsafe posix_spawn_file_actions_adddup2(&actions, writeEnd, childEnd)
    // Nothing else of the caller's: who waits for a pipe or a socket to close would wait for the unmount.
    unsafe posix_spawn_file_actions_addclosefrom_np(&actions, childEnd + 1)
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    unsafe posix_spawnattr_setflags(&attributes, Int16(EXTRACTFS_SPAWN_SETSID))
    var words: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) }
    unsafe words.append(nil)
    defer { unsafe words.forEach { unsafe free($0) } }
    var child = pid_t()
    let result = unsafe posix_spawn(
      &child, "/proc/self/exe", &actions, &attributes, &words, environ)
    if result != 0 {
      throw failure(unsafe "cannot start the daemon: \(String(cString: strerror(result)))")
    }
  }

  private func listen(readEnd: Int32) throws {
    let pipe = FileHandle(fileDescriptor: readEnd, closeOnDealloc: false)
    let text = String(decoding: try pipe.readToEnd() ?? Data(), as: UTF8.self)
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ", maxSplits: 2).map(String.init)
      switch words.first {
      case "ready": return
      case "note": complain(line.dropFirst(5).description)
      case "fail" where words.count == 3:
        throw failure(words[2], code: ExitCode(Int32(words[1]) ?? 1))
      default: break
      }
    }
    throw failure("the daemon ended before the mount answered; -f shows why")
  }
}
