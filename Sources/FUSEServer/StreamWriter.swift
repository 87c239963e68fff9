// The one way in which text leaves this process: whole, whatever signals come, and never fatal.

import Glibc
import Memory

/// Writes to standard streams and other descriptors that somebody else reads.
///
/// SIGPIPE and SIGXFSZ are ignored in every command, so that what they stand for arrives here as an errno.
public enum StreamWriter {
  /// What a log line may have, in bytes: what a pipe that can be written takes without waiting (PIPE_BUF, pipe(7)).
  private static let longestLine = 4096

  /// Writes all bytes, and waits for a slow reader.
  /// - Returns: what went wrong, or nil.
  public static func write(_ bytes: [UInt8], to descriptor: Int32) -> Errno? {
    var (bytes, done) = (bytes, 0)
    while done < bytes.count {
      let count = MemoryWindow.on(&bytes) { all in
        let rest = all[done..<all.count]
        return unsafe Glibc.write(descriptor, rest.bytes.baseAddress, rest.count)
      }
      if count > 0 {
        done += count
      } else if count < 0 && errno == EAGAIN {
        var stream = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = unsafe poll(&stream, 1, -1)
      } else if count == 0 || errno != EINTR {
        return count == 0 ? .ioError : Errno(rawValue: errno)
      }
    }
    return nil
  }

  /// Writes a line of a log if that can be done at once; else the line is lost.
  ///
  /// A mount must not stop because the reader of its log has stopped, or gone, or has a full disk.
  public static func log(_ line: String, to descriptor: Int32) {
    var stream = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    guard unsafe poll(&stream, 1, 0) > 0 else { return }
    _ = write(Array(line.utf8.prefix(longestLine)), to: descriptor)
  }
}
