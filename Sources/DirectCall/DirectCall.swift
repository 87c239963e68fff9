// One direct-I/O system call: what is asked of which target, and under whose rules.

import IOVector
import Memory

/// What a call is made on.
public enum CallTarget: Hashable, Sendable {
  /// A block device.
  case device
  /// A file whose filesystem maps ranges to a device.
  case file(FileSystem, FileState)
  /// A file of a FUSE server that asked for direct I/O.
  case server

  /// Filesystems by how they use the common direct I/O.
  public enum FileSystem: String, Hashable, Sendable {
    /// Faults end the whole call.
    case ext4
    /// As `ext4`; from 7.0 on it bounces where pages must not change.
    case xfs
    /// Keeps checksums of its data, and writes elsewhere.
    case btrfs
  }

  /// What stands in a file's 2 MiB before the call.
  public enum FileState: String, Hashable, Sendable {
    /// Data.
    case written
    /// Allocated blocks without data.
    case unwritten
    /// Nothing.
    case hole
    /// The file is empty: its size is 0.
    case empty
  }
}

/// How a call is made.
public enum CallInterface: Hashable, Sendable {
  /// preadv2(2), pwritev2(2) and their like; the caller waits.
  case synchronous
  /// A ring's vectored read or write.
  case ring
  /// A ring's read or write with a registered buffer.
  case ringFixed
  /// vmsplice(2) into a pipe, then splice(2) to the target.
  case spliceIn
  /// splice(2) from the target into an empty pipe.
  case spliceOut
}

/// A direct-I/O system call under an era's rules.
public struct DirectCall: Sendable {
  /// What it is made on.
  public var target: CallTarget
  /// The limits of the device, or of the device below the file.
  public var limits: CallLimits
  /// How it is made.
  public var interface: CallInterface
  /// Whether data goes to the target.
  public var isWrite: Bool
  /// Position in bytes.
  public var offset: Int
  /// Whether the call must not wait: RWF_NOWAIT.
  public var mustNotWait = false
  /// The buffer; a negative length is one with its sign bit set.
  public var segments: [IOVec]
  /// Whether the buffer is passed by itself, not as a table: pread(2) and pwrite(2).
  public var hasSingleBuffer = false
  /// The range that a ring registered, in bytes from an address on; for `ringFixed` only.
  public var registered: (address: UInt64, byteCount: Int) = (0, 0)
  /// Whose rules are followed.
  public var era: Era
  /// Defects that are switched on.
  public var bugs: ModelBugs = []
  /// Bytes in a file that is not empty.
  public var fileBytes = 2 << 20
  /// Where extents of a written file end, in bytes and in order; one extent if empty.
  public var extentEnds: [Int] = []
  /// Bytes in one request to a FUSE server.
  public var serverBytes = 1 << 20
  /// Bytes in the FUSE server's file.
  public var serverFileBytes = 8 << 20
  /// Pages in one request to a FUSE server.
  public var serverPages = 256

  /// Describes a call.
  public init(
    target: CallTarget, limits: CallLimits, interface: CallInterface = .synchronous, isWrite: Bool,
    offset: Int, segments: [IOVec], era: Era
  ) {
    self.target = target
    self.limits = limits
    self.interface = interface
    self.isWrite = isWrite
    self.offset = offset
    self.segments = segments
    self.era = era
  }

  /// Makes the call, and after a short result further ones for the rest.
  ///
  /// - Parameters:
  ///   - memory: the caller's; what it holds afterwards was leaked.
  ///   - followUps: the most calls after the first.
  /// - Returns: what each call did; nothing if the buffer could not be registered.
  public func run(in memory: CallMemory, followUps: Int = 4) -> [CallRecord] {
    if interface == .ringFixed && !canRegister(in: memory) { return [] }
    var machine = CallMachine(self, memory)
    var rest = segments
    var position = offset
    var records: [CallRecord] = []
    while true {
      let record = machine.call(rest, at: position)
      records.append(record)
      let left = rest.reduce(0) { $0 &+ max($1.length, 0) }
      guard record.result > 0, record.result < left, records.count <= followUps,
        interface == .synchronous || interface == .ring
      else { return records }
      position += record.result
      rest = Self.drop(record.result, from: rest)
    }
  }

  /// Whether a ring takes the buffer: every page must be writable, whatever the buffer is for.
  ///
  /// Kernel: `io_pin_pages()`, io_uring/memmap.c, v6.12.
  public func canRegister(in memory: CallMemory) -> Bool {
    let start = registered.address
    return memory.copyableBytes(at: start, count: registered.byteCount, isWrite: true)
      == registered.byteCount && !memory.hasSecrets
  }

  /// What remains of a buffer after some of its bytes.
  static func drop(_ byteCount: Int, from segments: [IOVec]) -> [IOVec] {
    var left = byteCount
    var rest = segments[...]
    while let first = rest.first, first.length <= left {
      left -= first.length
      rest = rest.dropFirst()
    }
    guard let first = rest.first, left > 0 else { return Array(rest) }
    let cut = IOVec(base: first.base &+ UInt64(left), length: first.length - left)
    return [cut] + rest.dropFirst()
  }
}
