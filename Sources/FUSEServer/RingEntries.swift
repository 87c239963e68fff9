// What FUSE over io_uring keeps in user memory: for each request slot a place for headers, and how commands look.
// Numbers and layouts are those of include/uapi/linux/fuse.h, Linux 6.14, which is newer than Debian 12's headers.

import CUring
import DirectIO
import Glibc
import Memory
import Synchronization
import Volumes

/// The parts of FUSE's protocol that only its io_uring transport has.
enum RingProtocol {
  /// `FUSE_OVER_IO_URING`: bit 41 of INIT's flags, bit 9 of their second word.
  static let overRingFlag: UInt32 = 1 << 9
  /// `FUSE_IO_URING_CMD_REGISTER`.
  static let register: UInt32 = 1
  /// `FUSE_IO_URING_CMD_COMMIT_AND_FETCH`.
  static let commitAndFetch: UInt32 = 2

  /// Places in `struct fuse_uring_req_header`.
  static let argumentsOffset = 128
  static let argumentsRoom = 128
  static let commitIDOffset = 256 + 8
  static let payloadSizeOffset = 256 + 16
  static let headerBytes = 256 + 32
  /// A submission entry: the ring is made with double ones.
  static let entryBytes = 128

  /// Places in a 128-byte `struct io_uring_sqe`.
  static let commandOffset = 8
  static let commitIDInEntry = 48 + 8
  static let queueInEntry = 48 + 16
}

/// The header places of all slots, and which kernel queue each slot's entry serves.
///
/// The kernel has one queue for each CPU that could be there, and a request goes to that of the CPU on which its
/// sender runs. Requests flow when every queue has an entry. Queue q belongs to worker q modulo the number of
/// workers: its entries start on that worker's ring, and may move to another's.
final class RingEntries: Sendable {
  private let headers: FixedTable<HeaderPlace>
  private let vectors: FixedTable<(headers: KernelVector, payload: KernelVector)>
  private let queues: [UInt16]
  /// How many more requests of each queue can wait for a thaw.
  private let holdable: FixedTable<Atomic<Int>>
  private let queueCount: Int
  let workerCount: Int

  /// - Parameters:
  ///   - queueCount: CPUs that the kernel counts.
  ///   - backgroundLimit: requests of which the kernel sends no more at once, what it writes back among them: for so
  ///     many there is always an entry.
  init(memory: RequestMemory, queueCount: Int, backgroundLimit: Int) {
    let slotCount = memory.slotCount
    let workerCount = slotCount / memory.slotsPerWorker
    self.workerCount = workerCount
    headers = FixedTable(count: slotCount, repeating: HeaderPlace())
    queues = (0..<slotCount).map { slot in
      let (worker, place) = slot.quotientAndRemainder(dividingBy: memory.slotsPerWorker)
      let own = Array(stride(from: worker, to: queueCount, by: workerCount))
      return own.isEmpty ? UInt16(worker % queueCount) : UInt16(own[place % own.count])
    }
    self.queueCount = queueCount
    let queues = queues
    holdable = FixedTable(count: queueCount) { queue in
      let count = queues.count { Int($0) == queue }
      // Some stay free for everything else, else the thaw itself could not be asked for.
      return Atomic(max(0, count - backgroundLimit - 4))
    }
    let nothing = KernelVector(MemoryWindow())
    vectors = FixedTable(count: slotCount, repeating: (nothing, nothing))
    for slot in (0..<slotCount).map({ Slot($0) }) {
      vectors[slot.number] = (KernelVector(header(slot)), KernelVector(memory.payload(slot)))
    }
  }

  /// The kernel queue that a slot's entry serves.
  func queue(_ slot: Slot) -> UInt16 { queues[slot.number] }

  /// The worker to which that queue belongs.
  func home(_ slot: Slot) -> Int { Int(queues[slot.number]) % workerCount }

  /// Counts one more request that waits for a thaw in its entry.
  /// - Returns: false if so many of its queue do that it must not.
  func hold(_ slot: Slot) -> Bool {
    let queue = Int(queues[slot.number])
    if holdable[queue].wrappingSubtract(1, ordering: .relaxed).newValue >= 0 { return true }
    holdable[queue].wrappingAdd(1, ordering: .relaxed)
    return false
  }

  /// Counts one less.
  func letGo(_ slot: Slot) {
    holdable[Int(queues[slot.number])].wrappingAdd(1, ordering: .relaxed)
  }

  /// A slot's headers.
  func header(_ slot: Slot) -> MemoryWindow {
    unsafe headers.window(on: slot.number)[0..<RingProtocol.headerBytes]
  }

  /// Whether a slot's request is on a control file.
  func isOfControl(_ slot: Slot) -> Bool {
    ControlDirectory.owns(header(slot).load(UInt64.self, at: 16))
  }

  /// How many bytes a READ or WRITE moves; 0 for anything else.
  func dataBytes(_ slot: Slot) -> Int {
    let header = header(slot)
    let opcode = header.load(UInt32.self, at: 4)
    if opcode != Opcode.read && opcode != Opcode.write { return 0 }
    // `size` of `struct fuse_read_in` and `fuse_write_in`.
    return Int(header.load(UInt32.self, at: RingProtocol.argumentsOffset + 16))
  }

  /// Writes the header of an answer.
  func setAnswer(_ slot: Slot, error: Int32, unique: UInt64, payloadBytes: Int) {
    let header = header(slot)
    header.store(UInt32(truncatingIfNeeded: MessageLayout.replyHeader &+ payloadBytes))
    header.store(error, at: 4)
    header.store(unique, at: 8)
    header.store(
      UInt32(truncatingIfNeeded: payloadBytes), at: RingProtocol.payloadSizeOffset)
  }

  /// Puts an answer of libfuse's into a slot: the protocol's header into the headers, what follows into the payload.
  ///
  /// A part may lie in the payload itself, as the last one: parts are moved from the last to the first.
  func setAnswer(_ slot: Slot, parts: [MemoryWindow], payload: MemoryWindow) {
    guard let first = parts.first, first.count == MessageLayout.replyHeader
    else { preconditionFailure("an answer does not begin with its header") }
    let (error, unique) = (first.load(Int32.self, at: 4), first.load(UInt64.self, at: 8))
    let byteCount = parts.dropFirst().reduce(0) { $0 + $1.count }
    precondition(byteCount <= payload.count, "an answer is longer than its request allows")
    var end = byteCount
    for part in parts.dropFirst().reversed() {
      end -= part.count
      payload.copy(part, to: end)
    }
    setAnswer(slot, error: error, unique: unique, payloadBytes: byteCount)
  }

  /// Makes a submission entry a command on a slot.
  @unsafe func prepare(
    _ entry: UnsafeMutablePointer<io_uring_sqe>, command: UInt32, slot: Slot, file: Int32,
    data: UInt64
  ) {
    var head = unsafe entry.pointee
    head.opcode = UInt8(IORING_OP_URING_CMD.rawValue)
    head.flags = 1 << UInt8(IOSQE_FIXED_FILE_BIT)
    head.fd = file
    head.user_data = data
    if command == RingProtocol.register {
      head.addr = unsafe UInt64(vectors.window(on: slot.number).address)
      head.len = 2
    }
    unsafe entry.pointee = head
    let entry = unsafe MemoryWindow(
      UnsafeMutableRawBufferPointer(start: entry, count: RingProtocol.entryBytes))
    entry.store(command, at: RingProtocol.commandOffset)
    entry.store(queues[slot.number], at: RingProtocol.queueInEntry)
    if command != RingProtocol.register {
      let id = header(slot).load(UInt64.self, at: RingProtocol.commitIDOffset)
      entry.store(id, at: RingProtocol.commitIDInEntry)
    }
  }

  /// Puts the headers of a slot's request before its payload, so that it is one message as /dev/fuse would give it.
  /// - Parameters:
  ///   - memory: where the payload lies; there is a page of room before it.
  ///   - shift: by how many bytes the data of a WRITE is to be moved.
  /// - Returns: the message, or nil if its sizes do not add up.
  func message(_ slot: Slot, in memory: RequestMemory, shift: Int) -> MemoryWindow? {
    let header = header(slot)
    let length = Int(header.load(UInt32.self))
    let payloadBytes = Int(header.load(UInt32.self, at: RingProtocol.payloadSizeOffset))
    let argumentBytes = length - MessageLayout.requestHeader - payloadBytes
    guard argumentBytes >= 0, argumentBytes <= RingProtocol.argumentsRoom,
      payloadBytes <= memory.payloadBytes
    else { return nil }
    var start = 0
    if shift > 0 && payloadBytes > 0 && header.load(UInt32.self, at: 4) == Opcode.write {
      memory.window(slot, from: shift, length: payloadBytes)
        .copy(memory.window(slot, from: 0, length: payloadBytes))
      start = shift
    }
    let message = memory.window(
      slot, from: start - argumentBytes - MessageLayout.requestHeader, length: length)
    message.copy(header[0..<MessageLayout.requestHeader])
    message.copy(
      header[RingProtocol.argumentsOffset..<RingProtocol.argumentsOffset + argumentBytes],
      to: MessageLayout.requestHeader)
    return message
  }
}

/// `struct iovec` as the kernel reads it.
private struct KernelVector {
  private let address: UInt
  private let count: Int

  init(_ window: MemoryWindow) {
    address = window.address
    count = window.count
  }
}

/// Room for `struct fuse_uring_req_header`: whole cache lines, so that neighbours do not share one.
private struct HeaderPlace {
  private typealias Line = (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)
  private let lines: (Line, Line, Line, Line, Line)

  init() {
    let line: Line = (0, 0, 0, 0, 0, 0, 0, 0)
    lines = (line, line, line, line, line)
  }
}
