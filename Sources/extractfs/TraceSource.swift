// A mount's events as this program's commands read them.

import ArgumentParser
import CSystem
import Glibc
import Memory

/// An open stream of `trace_raw`.
///
/// It is read through a pipe: a read(2) of a stream is direct I/O, for which the kernel would pin this program's buffer
/// and so count what the mount's figures show; splice(2) on a file opened for direct I/O brings pages of the kernel's own.
///
/// Kernel: `copy_splice_read()`, fs/splice.c, v6.6, whose ITER_BVEC is not pinned.
final class TraceSource {
  private let stream: Int32
  private var pipe: (read: Int32, write: Int32)?
  private var buffer = [UInt8](repeating: 0, count: 1 << 20)
  private var pending: [UInt8] = []

  /// Bytes that the pipe is asked to hold.
  private static let pipeBytes: Int32 = 1 << 20

  /// Opens a mount's stream; events are noted from now on.
  /// - Throws: the error that ends the command, after a line that says why.
  init(_ mount: MountedControl) throws {
    let path = mount.mountpoint.appending(".extractfs/trace_raw")
    stream = path.open(O_RDONLY | EXTRACTFS_O_DIRECT | O_NONBLOCK)
    if stream < 0 {
      switch errno {
      case EACCES, EPERM:
        throw failure("\(mount.name): the trace is for root and for who has mounted alone")
      case ENOENT: throw failure("\(mount.name): the mount has control=off, or no trace")
      case EMFILE: throw failure("\(mount.name): too many follow the trace already")
      default: throw failure("\(mount.name): trace_raw: \(describe(errno))")
      }
    }
    var ends: [Int32] = [0, 0]
    if unsafe pipe2(&ends, O_CLOEXEC) == 0 {
      // `F_SETPIPE_SZ`. A smaller pipe does as well, slower.
      _ = fcntl(ends[1], 1031, Self.pipeBytes)
      pipe = (ends[0], ends[1])
    }
  }

  deinit {
    close(stream)
    if let pipe {
      close(pipe.read)
      close(pipe.write)
    }
  }

  /// What a look has brought.
  enum Arrival { case records, nothing, ended }

  /// Takes what has come.
  /// - Parameters:
  ///   - milliseconds: how long to wait for the first.
  ///   - body: called for each event.
  func take(waiting milliseconds: Int32, _ body: (TraceRecord) -> Void) throws -> Arrival {
    let deadline = Deadline(seconds: Double(max(milliseconds, 0)) / 1000)
    var count = fill()
    while count < 0 && errno == EAGAIN {
      if Interruption.hasCome || deadline.remainingMilliseconds == 0 { return .nothing }
      // The daemon itself waits a little before it says that there is nothing.
      var pause = timespec(tv_sec: 0, tv_nsec: 2_000_000)
      unsafe nanosleep(&pause, nil)
      count = fill()
    }
    if count < 0 {
      if errno == EINTR { return .nothing }
      if [ENOTCONN, ECONNABORTED, EBADF].contains(errno) { return .ended }
      throw failure("trace: \(describe(errno))")
    }
    if count == 0 { return .ended }
    deliver(count, body)
    return .records
  }

  /// Reads into the buffer.
  /// - Returns: bytes, 0 at the end, or -1 with errno set.
  private func fill() -> Int {
    guard let pipe else { return unsafe read(stream, &buffer, buffer.count) }
    let moved = extractfs_splice(stream, pipe.write, buffer.count)
    if moved < 0 && errno == EINVAL {
      close(pipe.read)
      close(pipe.write)
      self.pipe = nil
      return fill()
    }
    if moved <= 0 { return moved }
    var done = 0
    while done < moved {
      let count = unsafe buffer.withUnsafeMutableBytes { bytes in
        unsafe read(pipe.read, bytes.baseAddress.map { unsafe $0 + done }, moved - done)
      }
      if count <= 0 && errno != EINTR { return -1 }
      done += max(count, 0)
    }
    return done
  }

  private func deliver(_ count: Int, _ body: (TraceRecord) -> Void) {
    if pending.isEmpty {
      TraceBytes.forEach(in: buffer[..<count], body)
      pending = Array(buffer[(count - count % TraceRecord.byteCount)..<count])
    } else {
      pending += buffer[..<count]
      TraceBytes.forEach(in: pending[...], body)
      pending = Array(pending.suffix(pending.count % TraceRecord.byteCount))
    }
  }
}

/// Events as bytes.
enum TraceBytes {
  /// Calls `body` for each whole event.
  static func forEach(in bytes: ArraySlice<UInt8>, _ body: (TraceRecord) -> Void) {
    unsafe bytes.withUnsafeBytes { bytes in
      for place in 0..<bytes.count / TraceRecord.byteCount {
        let start = place * TraceRecord.byteCount
        let record = TraceRecord {
          unsafe UInt64(
            littleEndian: bytes.loadUnaligned(fromByteOffset: start + $0 * 8, as: UInt64.self))
        }
        if let record { body(record) }
      }
    }
  }

  /// Adds an event.
  static func add(_ record: TraceRecord, to bytes: inout [UInt8]) {
    for index in 0..<TraceRecord.wordCount {
      var word = record.word(index).littleEndian
      unsafe withUnsafeBytes(of: &word) { unsafe bytes.append(contentsOf: $0) }
    }
  }
}
