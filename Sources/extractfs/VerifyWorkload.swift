// The short workload of `extractfs verify`: direct reads, and if asked for writes, of mixed sizes and offsets.

import ArgumentParser
import CSystem
import Glibc
import Memory

/// What the workload did.
struct VerifyWork {
  var requests = 0
  /// Pages of this program's buffer that the kernel pinned for its direct I/O on the mount.
  var clientPages = 0
}

/// Requests of this process on a file of the mount.
@safe final class VerifyWorkload {
  private let file: Int32
  private let buffer: UnsafeMutableRawPointer
  private let ranges: [Range<Int>]
  private let writes: Bool
  private var generator: SeededGenerator

  private static let mostBytes = 1 << 20
  private static let sizes = [
    512, 1000, 4096, 4096, 4608, 8192, 12288, 65536, 65536 + 512, 131_072, 1 << 20,
  ]

  /// - Parameters:
  ///   - path: the file.
  ///   - ranges: parts of it that requests are to touch.
  ///   - writes: whether every third request writes back what it has read before.
  init(_ path: SystemPath, ranges: [Range<Int>], writes: Bool, seed: UInt64) throws {
    file = path.open((writes ? O_RDWR : O_RDONLY) | EXTRACTFS_O_DIRECT)
    if file < 0 { throw failure("\(path.shown): \(describe(errno))") }
    unsafe buffer = .allocate(byteCount: Self.mostBytes, alignment: 4096)
    unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0, count: Self.mostBytes)
    self.ranges = ranges
    self.writes = writes
    generator = SeededGenerator(seed: seed)
  }

  deinit {
    close(file)
    unsafe buffer.deallocate()
  }

  /// Makes so many requests.
  func run(requests: Int) throws -> VerifyWork {
    var work = VerifyWork()
    while work.requests < requests {
      let (offset, length) = next()
      if length == 0 { break }
      try move(isWrite: false, offset, length, &work)
      if writes && work.requests % 3 == 0 && work.requests < requests {
        try move(isWrite: true, offset, length, &work)
      }
    }
    return work
  }

  /// Writes ranges back as they are, so that they lie somewhere.
  func settle() throws {
    var work = VerifyWork()
    for range in ranges {
      var offset = range.lowerBound
      while offset < range.upperBound {
        let length = min(Self.mostBytes, range.upperBound - offset)
        try move(isWrite: false, offset, length, &work)
        try move(isWrite: true, offset, length, &work)
        offset += length
      }
    }
    if fsync(file) != 0 { throw failure("fsync: \(describe(errno))") }
  }

  /// A place and a size; odd ones too, which no device takes as they are.
  private func next() -> (offset: Int, length: Int) {
    guard let range = ranges.randomElement(using: &generator),
      let size = Self.sizes.randomElement(using: &generator)
    else { return (0, 0) }
    let length = min(size, range.count)
    let step = length % 512 == 0 ? 512 : 1
    let places = (range.count - length) / step
    let offset = range.lowerBound + Int.random(in: 0...places, using: &generator) * step
    return (offset, length)
  }

  private func move(isWrite: Bool, _ offset: Int, _ length: Int, _ work: inout VerifyWork) throws {
    let count =
      unsafe isWrite
      ? pwrite(file, buffer, length, off_t(offset)) : pread(file, buffer, length, off_t(offset))
    if count != length {
      throw failure(
        "\(isWrite ? "write" : "read") of \(length) at \(offset): "
          + (count < 0 ? describe(errno) : "\(count) bytes"))
    }
    work.requests += 1
    work.clientPages += (length + 4095) / 4096
  }
}
