// Whether a program changes its buffer while a direct write from it is under way.
//
// The kernel has copied the buffer into the request when that came. Just before the answer, while the program still
// waits in its system call, /proc tells which call that is and where its buffer lies, and the buffer is read once more.
// What differs was changed meanwhile: on a filesystem that checksums or mirrors what it writes, the two would not agree.

import CSystem
import DirectIO
import Glibc
import Memory
import Synchronization

/// A range of a file that a program changed under a write.
struct ChangedRange: Equatable, Sendable {
  /// Byte offset in the file.
  var offset: Int
  /// Bytes from the first that differs to the last.
  var length: Int
}

/// A write whose buffer was changed.
struct UnstableWrite: Sendable {
  var request: UInt64
  var thread: Int32
  var command: String
  var path: String
  var inode: UInt64
  var offset: Int
  var length: Int
  /// Bytes that differ.
  var changedBytes: Int
  /// Where they are; the first of them.
  var ranges: [ChangedRange]
}

/// The setting, and what was found. Off, it costs a load and a branch for each request.
final class BufferWatch: Sendable {
  /// 0 is off; else 1, and the milliseconds of `hold` above.
  private let word = Atomic<Int>(0)
  private let found = Guarded<[UnstableWrite]>([])

  /// Writes that are remembered.
  private static let limit = 64
  /// How long a write can be held at most, in milliseconds.
  static let longestHold = 10_000

  /// Whether buffers are looked at.
  @inline(__always) var isOn: Bool { word.load(ordering: .relaxed) & 1 != 0 }

  /// For how much longer a write is kept in flight, in milliseconds.
  var holdMilliseconds: Int { word.load(ordering: .relaxed) >> 1 }

  /// Changes the setting; nil leaves its part as it is.
  func set(isOn: Bool?, holdMilliseconds: Int?) {
    let old = word.load(ordering: .relaxed)
    let bit = isOn.map { $0 ? 1 : 0 } ?? old & 1
    word.store(bit | (holdMilliseconds ?? old >> 1) << 1, ordering: .relaxed)
  }

  /// Remembers a write.
  func add(_ write: UnstableWrite) {
    found.withLock { list in
      list.append(write)
      if list.count > Self.limit { list.removeFirst() }
    }
  }

  /// What the file `unstable` shows.
  var text: String {
    var text = "# request pid command inode offset length changed_bytes ranges path\n"
    for write in found.withLock({ $0 }) {
      let ranges = write.ranges.map { "\($0.offset)+\($0.length)" }.joined(separator: ",")
      text +=
        "\(write.request) \(write.thread) \(write.command) \(write.inode) \(write.offset) "
        + "\(write.length) \(write.changedBytes) \(ranges) \(write.path)\n"
    }
    return text
  }
}

/// A program's buffer, as far as its system call tells.
struct ClientBuffer {
  /// Where the request's bytes lie in the program.
  var parts: [(address: UInt64, length: Int)]
  /// The descriptor that it writes to.
  var descriptor: Int

  /// Asks /proc what a thread waits in.
  ///
  /// - Returns: nil if that is no synchronous write of the range: io_uring and libaio show no address, and a thread that
  ///   runs shows nothing.
  init?(of thread: Int32, inode: UInt64, offset: Int, length: Int) {
    let words = ProcText.read("/proc/\(thread)/syscall").split(separator: " ")
    guard words.count >= 7, let number = Int(words[0]) else { return nil }
    let arguments = words[1...].map { UInt64($0.dropFirst(2), radix: 16) ?? 0 }
    descriptor = Int(truncatingIfNeeded: Int32(truncatingIfNeeded: arguments[0]))
    let info = ProcText.read("/proc/\(thread)/fdinfo/\(descriptor)")
    guard ProcText.field("ino", in: info) == inode else { return nil }
    var vectors: [(address: UInt64, length: Int)]
    let position: Int
    switch number {
    case Int(SYS_write), Int(SYS_pwrite64): vectors = [(arguments[1], Int(clamping: arguments[2]))]
    case Int(SYS_writev), Int(SYS_pwritev), Int(SYS_pwritev2):
      guard
        let list = Self.vectors(of: thread, at: arguments[1], count: Int(clamping: arguments[2]))
      else { return nil }
      vectors = list
    default: return nil
    }
    switch number {
    case Int(SYS_write), Int(SYS_writev):
      position = ProcText.field("pos", in: info).map { Int(clamping: $0) } ?? -1
    default: position = Int(bitPattern: UInt(arguments[3]))
    }
    // pwritev2(2) with -1 writes at the file's own position.
    let start =
      position == -1 ? ProcText.field("pos", in: info).map { Int(clamping: $0) } ?? -1 : position
    guard start >= 0, offset >= start else { return nil }
    parts = Self.cut(vectors, skip: offset - start, length: length)
    if parts.reduce(0, { $0 + $1.length }) != length { return nil }
  }

  /// The vectors of a call, from the program's memory.
  private static func vectors(
    of thread: Int32, at address: UInt64, count: Int
  ) -> [(address: UInt64, length: Int)]? {
    // `UIO_MAXIOV`.
    if count < 1 || count > 1024 { return nil }
    var words = [UInt64](repeating: 0, count: count * 2)
    let isRead = unsafe words.withUnsafeMutableBytes { bytes in
      unsafe ClientMemory.read(thread, at: address, into: bytes)
    }
    if !isRead { return nil }
    return (0..<count).map { (words[$0 * 2], Int(clamping: words[$0 * 2 + 1])) }
  }

  private static func cut(
    _ vectors: [(address: UInt64, length: Int)], skip: Int, length: Int
  ) -> [(address: UInt64, length: Int)] {
    var skip = skip
    var left = length
    var parts: [(address: UInt64, length: Int)] = []
    for vector in vectors where left > 0 {
      if skip >= vector.length {
        skip -= vector.length
        continue
      }
      let count = min(vector.length - skip, left)
      parts.append((vector.address &+ UInt64(skip), count))
      skip = 0
      left -= count
    }
    return parts
  }
}

/// Another program's memory.
enum ClientMemory {
  /// Reads all of a range. Kernel: process_vm_readv(2), which wants the rights of ptrace(2).
  static func read(
    _ thread: Int32, at address: UInt64, into bytes: UnsafeMutableRawBufferPointer
  ) -> Bool {
    unsafe extractfs_read_process(thread, UInt(address), bytes.baseAddress, bytes.count)
      == bytes.count
  }
}

/// Small files of /proc.
enum ProcText {
  /// The text, or none.
  static func read(_ path: String) -> String {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0 { return "" }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = unsafe Glibc.read(descriptor, &bytes, bytes.count)
    return String(decoding: bytes[..<max(count, 0)], as: UTF8.self)
  }

  /// A number of a file of `name: value` lines.
  static func field(_ name: String, in text: String) -> UInt64? {
    for line in text.split(separator: "\n") where line.hasPrefix("\(name):") {
      return UInt64(line.dropFirst(name.count + 1).drop { $0 == " " || $0 == "\t" })
    }
    return nil
  }

  /// Where a link of /proc points.
  static func link(_ path: String) -> String {
    var bytes = [CChar](repeating: 0, count: 4096)
    let count = unsafe readlink(path, &bytes, bytes.count)
    return String(
      decoding: bytes[..<max(count, 0)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
