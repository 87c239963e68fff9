// A file descriptor with an owner, and the few calls that tests make on it.

import Glibc

/// How a file is opened.
public struct OpenFlags: OptionSet, Sendable {
  /// open(2)'s own bits.
  public let rawValue: CInt

  /// Wraps open(2)'s own bits.
  public init(rawValue: CInt) {
    self.rawValue = rawValue
  }

  /// For writing as well as reading; without it, for reading only.
  public static let write = OpenFlags(rawValue: O_RDWR)

  /// Made if it does not exist.
  public static let create = OpenFlags(rawValue: O_CREAT)

  /// Emptied when opened.
  public static let truncate = OpenFlags(rawValue: O_TRUNC)

  #if arch(arm64) || arch(arm)
    /// Past the page cache (O_DIRECT, which Glibc's module leaves out).
    public static let direct = OpenFlags(rawValue: 0o200000)
  #else
    /// Past the page cache (O_DIRECT, which Glibc's module leaves out).
    public static let direct = OpenFlags(rawValue: 0o40000)
  #endif
}

/// An open file; the descriptor is closed with the last reference.
public final class OpenFile: Sendable {
  /// The path it was opened by.
  public let path: String

  let descriptor: CInt

  /// Opens a file.
  /// - Throws: `SystemFailure` with open(2)'s errno.
  public init(_ path: String, _ flags: OpenFlags = []) throws {
    self.path = path
    descriptor = unsafe open(path, flags.rawValue | O_CLOEXEC, 0o644)
    if descriptor < 0 { throw SystemFailure("open \(path)") }
  }

  deinit {
    close(descriptor)
  }

  /// The size in bytes.
  public func sizeBytes() throws -> Int {
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw SystemFailure("fstat \(path)") }
    return Int(status.st_size)
  }

  /// Reads `count` bytes at `offset` into the start of a buffer; fewer only at the end of the file.
  /// - Returns: how many bytes were read.
  @discardableResult
  public func read(into buffer: AlignedBuffer, count: Int, at offset: Int) throws -> Int {
    try transfer(count, "read \(count) bytes at \(offset) of \(path)") { range in
      unsafe buffer.withBytes(range) {
        unsafe pread(descriptor, $0.baseAddress, $0.count, off_t(offset + range.lowerBound))
      }
    }
  }

  /// Writes the first `count` bytes of a buffer at `offset`.
  /// - Returns: how many bytes were written.
  @discardableResult
  public func write(from buffer: AlignedBuffer, count: Int, at offset: Int) throws -> Int {
    try transfer(count, "write \(count) bytes at \(offset) of \(path)") { range in
      unsafe buffer.withBytes(range) {
        unsafe pwrite(descriptor, $0.baseAddress, $0.count, off_t(offset + range.lowerBound))
      }
    }
  }

  /// Continues short transfers until everything moved or nothing moves any more.
  private func transfer(
    _ count: Int, _ operation: @autoclosure () -> String, _ step: (Range<Int>) -> Int
  ) throws -> Int {
    var done = 0
    while done < count {
      let moved = retryingInterrupted { step(done..<count) }
      if moved < 0 { throw SystemFailure(operation()) }
      if moved == 0 { break }
      done += moved
    }
    return done
  }

  /// Makes what was written durable.
  public func synchronize() throws {
    if retryingInterrupted({ Int(fsync(descriptor)) }) < 0 { throw SystemFailure("fsync \(path)") }
  }

  /// Sets the size.
  public func resize(to sizeBytes: Int) throws {
    if ftruncate(descriptor, off_t(sizeBytes)) < 0 {
      throw SystemFailure("ftruncate \(path) to \(sizeBytes)")
    }
  }

  /// The first offset at or after `offset` that holds data, or nil if only a hole follows.
  public func nextData(from offset: Int) throws -> Int? {
    try seek(offset, whence: 3, "SEEK_DATA")
  }

  /// The first offset at or after `offset` that lies in a hole; the end of a file counts as one.
  public func nextHole(from offset: Int) throws -> Int? {
    try seek(offset, whence: 4, "SEEK_HOLE")
  }

  private func seek(_ offset: Int, whence: CInt, _ name: String) throws -> Int? {
    let found = lseek(descriptor, off_t(offset), whence)
    if found >= 0 { return Int(found) }
    if errno == ENXIO { return nil }
    throw SystemFailure("\(name) from \(offset) of \(path)")
  }
}

/// Compares two files byte by byte.
/// - Returns: where the first difference is, or nil if they are equal (in size as well).
public func firstDifference(between first: String, and second: String) throws -> Int? {
  let (one, other) = (try OpenFile(first), try OpenFile(second))
  let chunk = 1 << 20
  let (mine, theirs) = (AlignedBuffer(count: chunk), AlignedBuffer(count: chunk))
  var offset = 0
  while true {
    let mineCount = try one.read(into: mine, count: chunk, at: offset)
    let theirCount = try other.read(into: theirs, count: chunk, at: offset)
    let shared = min(mineCount, theirCount)
    if let difference = mine.firstDifference(from: theirs, count: shared) {
      return offset + difference
    }
    if mineCount != theirCount { return offset + shared }
    if mineCount < chunk { return nil }
    offset += chunk
  }
}
