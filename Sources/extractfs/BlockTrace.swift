// The kernel's own record of bios: the block tracepoints, in an instance of our own.

import CSystem
import Glibc
import Memory

/// A bio that the kernel was seen to send.
struct TracedBio: Equatable {
  var isWrite: Bool
  var sector: Int
  var sectors: Int
}

/// An instance of the kernel's tracer that records the bios which this process sends to one device.
///
/// A helper waits for this process's end on a pipe and then takes the instance away, so that it goes even when we are killed.
final class BlockTrace {
  private let root: String
  private let instance: String
  private let helper: pid_t
  private let lifeline: Int32

  /// Makes an instance.
  /// - Parameter device: the device's number.
  /// - Throws: text for the user.
  init(device: (major: Int, minor: Int)) throws(DeviceError) {
    let (root, isOurs) = try Self.mountPoint()
    self.root = root
    instance = "\(root)/instances/extractfs-\(getpid())"
    guard unsafe mkdir(instance, 0o700) == 0 else {
      throw DeviceError("\(instance): \(describe(errno))")
    }
    guard let (helper, lifeline) = Self.startHelper(instance, unmounting: isOurs ? root : nil)
    else {
      _ = unsafe rmdir(instance)
      throw DeviceError("no helper could be started to clear the trace away")
    }
    self.helper = helper
    self.lifeline = lifeline
    let number = device.major << 20 | device.minor
    let settings = [
      ("events/block/block_bio_queue/filter", "dev == \(number) && common_pid == \(getpid())"),
      ("events/block/block_bio_queue/enable", "1"), ("tracing_on", "1"),
    ]
    for (file, value) in settings where !Self.write(value, to: "\(instance)/\(file)") {
      throw DeviceError("\(instance)/\(file): cannot be written")
    }
  }

  deinit {
    // The helper takes the instance away as soon as the pipe has no writer.
    close(lifeline)
    var status: Int32 = 0
    _ = retryingInterrupted { unsafe waitpid(helper, &status, 0) }
  }

  /// Forgets what was recorded.
  func clear() { _ = Self.write("", to: "\(instance)/trace") }

  /// What was recorded since.
  func bios() -> [TracedBio] {
    guard let bytes = contents(of: SystemPath("\(instance)/trace")) else { return [] }
    let text = String(decoding: bytes, as: UTF8.self)
    return text.split(separator: "\n").compactMap { line in
      guard line.first != "#", let place = line.range(of: "block_bio_queue: ") else { return nil }
      // As `7,0 RS 128 + 8 [extractfs]`.
      let fields = line[place.upperBound...].split(separator: " ")
      guard fields.count >= 5, let sector = Int(fields[2]), let count = Int(fields[4]) else {
        return nil
      }
      return TracedBio(isWrite: fields[1].contains("W"), sector: sector, sectors: count)
    }
  }

  /// Where the tracer's files are; if nowhere, they are mounted for as long as this runs.
  private static func mountPoint() throws(DeviceError) -> (path: String, isOurs: Bool) {
    let table = contents(of: SystemPath("/proc/self/mounts")).map {
      String(decoding: $0, as: UTF8.self)
    }
    for line in (table ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ")
      if fields.count > 2, fields[2] == "tracefs" { return (String(fields[1]), false) }
    }
    let path = "/tmp/extractfs-trace-\(getpid())"
    let words = ["mount", "-t", "tracefs", "none", path].map { Array($0.utf8) }
    guard unsafe mkdir(path, 0o700) == 0,
      case .ended(code: 0, _) = ChildProcess.spawn(words)?.await(until: Deadline(seconds: 10))
    else {
      _ = unsafe rmdir(path)
      throw DeviceError("no tracefs is mounted, and it cannot be: \(path)")
    }
    return (path, true)
  }

  private static func write(_ text: String, to path: String) -> Bool {
    let descriptor = unsafe open(path, O_WRONLY | O_TRUNC | O_CLOEXEC)
    if descriptor < 0 { return false }
    defer { close(descriptor) }
    if text.isEmpty { return true }
    let bytes = Array(text.utf8)
    return unsafe Glibc.write(descriptor, bytes, bytes.count) == bytes.count
  }

  /// Starts a shell that reads a pipe until its end, and then takes the instance away.
  private static func startHelper(
    _ instance: String, unmounting root: String?
  ) -> (pid_t, Int32)? {
    var pipe: [Int32] = [0, 0]
    guard unsafe pipe2(&pipe, O_CLOEXEC) == 0 else { return nil }
    let script =
      "trap '' INT TERM HUP; cat >/dev/null; echo 0 >\"$0/tracing_on\"; rmdir \"$0\"; "
      + "if [ -n \"$1\" ]; then umount \"$1\"; rmdir \"$1\"; fi"
    var start = ProgramStart(
      ["/bin/sh", "-c", script, instance, root ?? ""].map { Array($0.utf8) })
    start.send(STDIN_FILENO, to: pipe[0])
    start.send(STDOUT_FILENO, to: nil)
    start.send(STDERR_FILENO, to: nil)
    let pid = start.run()
    close(pipe[0])
    guard let pid else {
      close(pipe[1])
      return nil
    }
    return (pid, pipe[1])
  }
}
