// A file seen as memory, shared with the file.

import Glibc

/// A shared, writable mapping of the start of a file.
///
/// Should the filesystem below fail to give or take a page, touching the mapping ends the process
/// with SIGBUS, as it would any program.
@safe public final class FileMapping: @unchecked Sendable {
  // Guard of the unchecked Sendable: it is a place and a length; who touches the file when is for its user to say.
  private let count: Int

  /// Unmapped by `deinit`; every access is bounded by `count`.
  private let base: UnsafeMutableRawPointer

  /// Maps the first `count` bytes.
  /// - Throws: `SystemFailure` with mmap(2)'s errno.
  public init(of file: OpenFile, count: Int) throws {
    self.count = count
    let address = unsafe mmap(
      nil, count, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor, 0)
    guard let address = unsafe address, unsafe address != MAP_FAILED else {
      throw SystemFailure("mmap \(file.path)")
    }
    unsafe base = address
  }

  deinit {
    _ = unsafe munmap(base, count)
  }

  /// Copies from the mapping into the start of a buffer.
  public func read(into buffer: AlignedBuffer, count length: Int, at offset: Int) {
    precondition(offset >= 0 && offset + length <= count, "range outside the mapping")
    unsafe buffer.withBytes(0..<length) { bytes in
      unsafe bytes.copyMemory(from: .init(start: base + offset, count: length))
    }
  }

  /// Copies the start of a buffer into the mapping.
  public func write(from buffer: AlignedBuffer, count length: Int, at offset: Int) {
    precondition(offset >= 0 && offset + length <= count, "range outside the mapping")
    unsafe buffer.withBytes(0..<length) { bytes in
      guard let source = bytes.baseAddress else { return }
      unsafe (base + offset).copyMemory(from: source, byteCount: length)
    }
  }

  /// Writes changed pages in a range back to the file, and waits for that.
  public func synchronize(count length: Int, at offset: Int) throws {
    precondition(offset >= 0 && offset + length <= count, "range outside the mapping")
    let start = offset & ~4095
    let status = unsafe msync(base + start, offset + length - start, CInt(MS_SYNC))
    if status < 0 { throw SystemFailure("msync \(length) bytes at \(offset)") }
  }
}
