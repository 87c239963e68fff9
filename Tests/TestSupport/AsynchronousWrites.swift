// Writes by the kernel's two asynchronous interfaces, and by the synchronous one, each with flags of its own.

import CSystem
import Glibc

/// Flags of one read or write, as of <linux/fs.h>.
public enum TransferFlags {
  /// The data, and what is needed to find it again, is durable at the answer.
  public static let dataSynchronous = 2
  /// The data and all about it is durable at the answer.
  public static let synchronous = 4
}

/// Many requests at once by io_submit(2): what libaio is a wrapper of.
public final class AsynchronousQueue {
  private let context: Int
  private let blocks: AlignedBuffer
  private let depth: Int

  /// Makes a queue for `depth` requests at once.
  public init(depth: Int) throws {
    self.depth = depth
    blocks = AlignedBuffer(count: depth * 64)
    let answer = AlignedBuffer(count: 8)
    try system(SYS_io_setup, depth, answer)
    context = answer.load(0)
  }

  deinit {
    _ = try? system(SYS_io_destroy, context)
  }

  /// Starts a write for each offset: `count` bytes of the buffer from the place of the same number on.
  public func write(
    _ file: OpenFile, from buffer: AlignedBuffer, count: Int, at offsets: [Int], flags: Int = 0
  ) throws {
    precondition(offsets.count <= depth && offsets.count * count <= buffer.count)
    let pointers = AlignedBuffer(count: offsets.count * 8)
    for (index, offset) in offsets.enumerated() {
      let block = index * 64
      blocks.store(UInt64(index), at: block)
      blocks.store(UInt32(flags), at: block + 12)
      blocks.store(UInt16(1), at: block + 16)  // IOCB_CMD_PWRITE
      blocks.store(UInt32(file.descriptor), at: block + 20)
      blocks.store(buffer.address(of: index * count), at: block + 24)
      blocks.store(UInt64(count), at: block + 32)
      blocks.store(Int64(offset), at: block + 40)
      pointers.store(blocks.address(of: block), at: index * 8)
    }
    let submitted = try system(SYS_io_submit, context, offsets.count, pointers)
    if submitted != offsets.count { throw TestFailure("\(submitted) writes were taken") }
  }

  /// Waits for so many answers: the bytes moved, or a negative errno.
  public func wait(_ count: Int) throws -> [Int] {
    let events = AlignedBuffer(count: count * 32)
    var results: [Int] = []
    while results.count < count {
      let found = try retrying(EINTR) {
        try system(SYS_io_getevents, context, 1, count - results.count, events, 0)
      }
      for index in 0..<found { results.append(Int(events.load(index * 32 + 16, as: Int64.self))) }
    }
    return results
  }
}

/// One request at a time by io_uring(7), on rings of its own.
public final class SmallRing {
  private let descriptor: Int
  private let parameters = AlignedBuffer(count: 120)
  private let rings: Int
  private let entries: Int

  /// Makes the rings.
  public init() throws {
    descriptor = try system(SYS_io_uring_setup, 4, parameters)
    let flags = Int(MAP_SHARED)
    rings = try system(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, flags, descriptor, 0)
    entries = try system(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, flags, descriptor, 0x1000_0000)
  }

  deinit {
    for map in [rings, entries] { _ = try? system(SYS_munmap, map, 4096) }
    _ = try? system(SYS_close, descriptor)
  }

  /// A number of the rings, at the place that the kernel names in its answer at `parameter`.
  private func withNumber(
    _ parameter: Int, index: Int = 0, _ body: (inout UInt32) -> Void
  ) {
    let offset = Int(parameters.load(parameter, as: UInt32.self)) + index * 4
    guard let word = unsafe UnsafeMutablePointer<UInt32>(bitPattern: rings + offset) else { return }
    unsafe body(&word.pointee)
  }

  /// Writes and waits for the answer: the bytes moved, or a negative errno.
  public func write(
    _ file: OpenFile, from buffer: AlignedBuffer, count: Int, at offset: Int, flags: Int = 0
  ) throws -> Int {
    let entry = AlignedBuffer(count: 64)
    entry.store(UInt8(23), at: 0)  // IORING_OP_WRITE
    entry.store(file.descriptor, at: 4)
    entry.store(UInt64(offset), at: 8)
    entry.store(buffer.address(), at: 16)
    entry.store(UInt32(count), at: 24)
    entry.store(UInt32(flags), at: 28)
    guard let slot = unsafe UnsafeMutableRawPointer(bitPattern: entries) else { return 0 }
    unsafe entry.withBytes(0..<64) { bytes in
      if let source = bytes.baseAddress { unsafe slot.copyMemory(from: source, byteCount: 64) }
    }
    // The only entry is always the first: every slot of the array names it.
    withNumber(44) { tail in
      let index = Int(tail & 3)
      withNumber(64, index: index) { $0 = 0 }
      tail += 1
    }
    // A signal may come before the entry is taken, or while its answer is awaited.
    try retrying(EINTR) {
      try system(SYS_io_uring_enter, descriptor, number(44) - number(40), 1, 1, 0, 0)
    }
    return takeAnswer()
  }

  private func number(_ parameter: Int) -> Int {
    var found: UInt32 = 0
    withNumber(parameter) { found = $0 }
    return Int(found)
  }

  private func takeAnswer() -> Int {
    var head: UInt32 = 0
    withNumber(80) { head = $0 }
    var result = 0
    let mask = parameters.load(4, as: UInt32.self) - 1
    // An answer is 16 bytes, its result the third number.
    withNumber(100, index: Int(head & mask) * 4 + 2) { result = Int(Int32(bitPattern: $0)) }
    withNumber(80) { $0 += 1 }
    return result
  }
}

/// The ways in which a program writes.
public enum WriteInterface: String, CaseIterable, Sendable {
  case synchronous, libaio, ring

  /// Writes the start of a buffer once, and waits for the answer.
  /// - Returns: the bytes written, or a negative errno.
  public func write(
    _ file: OpenFile, from buffer: AlignedBuffer, count: Int, at offset: Int, flags: Int = 0
  ) throws -> Int {
    switch self {
    case .synchronous:
      let vector = AlignedBuffer(count: 16)
      vector.store(buffer.address(), at: 0)
      vector.store(UInt64(count), at: 8)
      do {
        return try retrying(EINTR) {
          try system(SYS_pwritev2, file, vector, 1, offset, 0, flags)
        }
      } catch let failure as SystemFailure { return -Int(failure.code) }
    case .libaio:
      let queue = try AsynchronousQueue(depth: 1)
      try queue.write(file, from: buffer, count: count, at: [offset], flags: flags)
      return try queue.wait(1)[0]
    case .ring:
      return try SmallRing().write(file, from: buffer, count: count, at: offset, flags: flags)
    }
  }
}
