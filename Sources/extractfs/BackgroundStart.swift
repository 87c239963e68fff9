// Mounting in the background: this program starts itself once more, detached, and waits until the mount answers.

import ArgumentParser
import CSystem
import Glibc

/// The parent's side of a background mount. The child tells over a pipe how it went, a line each:
/// `note TEXT`, `fail CODE TEXT`, `ready`.
struct BackgroundStart {
  let plan: MountPlan
  let options: [String]

  func run() throws {
    var ends: [Int32] = [0, 0]
    guard unsafe pipe2(&ends, O_CLOEXEC) == 0 else { throw failure("pipe: \(describe(errno))") }
    defer { close(ends[0]) }
    let child: pid_t
    do {
      defer { close(ends[1]) }
      child = try spawn(writeEnd: ends[1])
    }
    try listen(readEnd: ends[0], child: child)
  }

  /// A new program, not a fork: no thread, lock or descriptor of this one is inherited.
  private func spawn(writeEnd: Int32) throws -> pid_t {
    let childEnd: Int32 = 3
    var words = ["extractfs", "mount", "--ready-fd", "\(childEnd)"].map { Array($0.utf8) }
    for text in options { words += [Array("-o".utf8), ArgumentText.bytes(text)] }
    words += [Array("--".utf8), plan.image.bytes, plan.mountpoint.bytes]
    var start = ProgramStart(words)
    for descriptor in STDIN_FILENO...STDERR_FILENO { start.send(descriptor, to: nil) }
    start.send(childEnd, to: writeEnd)
    // Nothing else of the caller's: who waits for a pipe or a socket to close would wait for the unmount.
    start.detach(closingFrom: childEnd + 1)
    guard let child = start.run(file: "/proc/self/exe") else {
      throw failure("cannot start the daemon: \(describe(errno))")
    }
    return child
  }

  /// Takes the child's lines until it is ready or has ended, for as long as a start can take.
  private func listen(readEnd: Int32, child: pid_t) throws {
    let deadline = Deadline(seconds: Patience.start + loadingSeconds)
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      var wait = pollfd(fd: readEnd, events: Int16(POLLIN), revents: 0)
      let ready = unsafe poll(&wait, 1, deadline.remainingMilliseconds)
      if ready < 0 && errno == EINTR { continue }
      if ready <= 0 { try giveUp(child) }
      let count = unsafe read(readEnd, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      if count <= 0 { throw failure("the daemon ended before the mount answered; -f shows why") }
      bytes += buffer[..<count]
      while let end = bytes.firstIndex(of: UInt8(ascii: "\n")) {
        let line = String(decoding: bytes[..<end], as: UTF8.self)
        bytes.removeFirst(end + 1)
        if try take(line) { return }
      }
    }
  }

  /// - Returns: whether the mount answers.
  private func take(_ line: String) throws -> Bool {
    let words = line.split(separator: " ", maxSplits: 2).map(String.init)
    switch words.first {
    case "ready": return true
    case "note": complain(line.dropFirst(5).description)
    case "fail" where words.count == 3:
      throw failure(words[2], code: ExitCode(Int32(words[1]) ?? 1))
    default: break
    }
    return false
  }

  /// `backend=memory` reads the whole image first; a disk that gives less than 16 MiB a second is taken for dead.
  private var loadingSeconds: Double {
    var status = stat()
    guard plan.options.backend == .memory,
      unsafe plan.image.withCString({ unsafe stat($0, &status) }) == 0
    else { return 0 }
    return Double(status.st_size >> 24)
  }

  /// Leaves nothing behind: neither the child nor a mount that nobody serves.
  private func giveUp(_ child: pid_t) throws -> Never {
    kill(child, SIGKILL)
    if MountTable.entry(at: plan.mountpoint)?.isExtractFS ?? false {
      _ = unsafe plan.mountpoint.withCString { unsafe umount2($0, Int32(MNT_DETACH)) }
    }
    throw failure(
      "\(plan.mountpoint.shown): the daemon did not answer within "
        + "\(Int(Patience.start + loadingSeconds)) s, and was ended; -f shows how far it comes")
  }
}
