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
@safe final class RingEntries: @unchecked Sendable {
  // Guard of the unchecked Sendable: a slot's memory belongs to the kernel or to the worker that has its request.
  private let headers: UnsafeMutableRawPointer
  private let vectors: UnsafeMutablePointer<iovec>
  private let queues: [UInt16]
  /// How many more requests of each queue can wait for a thaw.
  private let holdable: FixedTable<Atomic<Int>>
  private let queueCount: Int
  let workerCount: Int

  /// Whole cache lines, so that neighbours do not share one.
  private static let headerStride = 320

  /// - Parameters:
  ///   - queueCount: CPUs that the kernel counts.
  ///   - backgroundLimit: requests of which the kernel sends no more at once, what it writes back among them: for so
  ///     many there is always an entry.
  init(memory: RequestMemory, queueCount: Int, backgroundLimit: Int) {
    let slotCount = memory.slotCount
    let workerCount = slotCount / memory.slotsPerWorker
    self.workerCount = workerCount
    unsafe headers = .allocate(byteCount: slotCount * Self.headerStride, alignment: 64)
    unsafe headers.initializeMemory(
      as: UInt8.self, repeating: 0, count: slotCount * Self.headerStride)
    unsafe vectors = .allocate(capacity: slotCount * 2)
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
    for slot in 0..<slotCount {
      let payload = unsafe memory.payload(Slot(slot))
      unsafe (vectors + slot * 2).initialize(
        to: iovec(iov_base: headers + slot * Self.headerStride, iov_len: RingProtocol.headerBytes))
      unsafe (vectors + slot * 2 + 1).initialize(
        to: iovec(iov_base: payload.baseAddress, iov_len: payload.count))
    }
  }

  deinit {
    unsafe headers.deallocate()
    unsafe vectors.deallocate()
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
  @unsafe func header(_ slot: Slot) -> UnsafeMutableRawPointer {
    precondition(slot.number < queues.count)
    return unsafe headers + slot.number * Self.headerStride
  }

  /// Whether a slot's request is on a control file.
  func isOfControl(_ slot: Slot) -> Bool {
    ControlDirectory.owns(unsafe header(slot).load(fromByteOffset: 16, as: UInt64.self))
  }

  /// How many bytes a READ or WRITE moves; 0 for anything else.
  func dataBytes(_ slot: Slot) -> Int {
    let header = unsafe header(slot)
    let opcode = unsafe header.load(fromByteOffset: 4, as: UInt32.self)
    if opcode != Opcode.read && opcode != Opcode.write { return 0 }
    // `size` of `struct fuse_read_in` and `fuse_write_in`.
    return unsafe Int(
      header.load(fromByteOffset: RingProtocol.argumentsOffset + 16, as: UInt32.self))
  }

  /// Headers and payload of a slot, as the kernel wants to be told of them.
  @unsafe func parts(_ slot: Slot) -> UnsafeMutablePointer<iovec> {
    unsafe vectors + slot.number * 2
  }

  /// Writes the header of an answer.
  func setAnswer(_ slot: Slot, error: Int32, unique: UInt64, payloadBytes: Int) {
    let header = unsafe header(slot)
    let length = UInt32(truncatingIfNeeded: MessageLayout.replyHeader &+ payloadBytes)
    unsafe header.storeBytes(of: length, as: UInt32.self)
    unsafe header.storeBytes(of: error, toByteOffset: 4, as: Int32.self)
    unsafe header.storeBytes(of: unique, toByteOffset: 8, as: UInt64.self)
    unsafe header.storeBytes(
      of: UInt32(truncatingIfNeeded: payloadBytes),
      toByteOffset: RingProtocol.payloadSizeOffset, as: UInt32.self)
  }

  /// Puts an answer of libfuse's into a slot: the protocol's header into the headers, what follows into the payload.
  ///
  /// A part may lie in the payload itself, as the last one: parts are moved from the last to the first.
  @unsafe func setAnswer(
    _ slot: Slot, parts: UnsafeBufferPointer<iovec>, payload: UnsafeMutableRawBufferPointer
  ) {
    guard let first = unsafe parts.first, let start = unsafe first.iov_base,
      unsafe first.iov_len == MessageLayout.replyHeader
    else { preconditionFailure("an answer does not begin with its header") }
    let error = unsafe start.loadUnaligned(fromByteOffset: 4, as: Int32.self)
    let unique = unsafe start.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    let byteCount = unsafe parts.dropFirst().reduce(0) { unsafe $0 + $1.iov_len }
    precondition(byteCount <= payload.count, "an answer is longer than its request allows")
    var end = byteCount
    for index in (1..<max(parts.count, 1)).reversed() {
      let part = unsafe parts[index]
      unsafe end -= part.iov_len
      if let source = unsafe part.iov_base, let target = payload.baseAddress {
        unsafe memmove(target + end, source, part.iov_len)
      }
    }
    setAnswer(slot, error: error, unique: unique, payloadBytes: byteCount)
  }

  /// Makes a submission entry a command on a slot.
  @unsafe func prepare(
    _ entry: UnsafeMutablePointer<io_uring_sqe>, command: UInt32, slot: Slot, file: Int32,
    data: UInt64
  ) {
    let bytes = UnsafeMutableRawPointer(entry)
    unsafe entry.pointee.opcode = UInt8(IORING_OP_URING_CMD.rawValue)
    unsafe entry.pointee.flags = 1 << UInt8(IOSQE_FIXED_FILE_BIT)
    unsafe entry.pointee.fd = file
    unsafe entry.pointee.user_data = data
    unsafe bytes.storeBytes(of: command, toByteOffset: RingProtocol.commandOffset, as: UInt32.self)
    unsafe bytes.storeBytes(
      of: queues[slot.number], toByteOffset: RingProtocol.queueInEntry, as: UInt16.self)
    if command == RingProtocol.register {
      unsafe entry.pointee.addr = UInt64(UInt(bitPattern: parts(slot)))
      unsafe entry.pointee.len = 2
    } else {
      let id = unsafe header(slot).load(
        fromByteOffset: RingProtocol.commitIDOffset, as: UInt64.self)
      unsafe bytes.storeBytes(of: id, toByteOffset: RingProtocol.commitIDInEntry, as: UInt64.self)
    }
  }

  /// Puts the headers of a slot's request before its payload, so that it is one message as /dev/fuse would give it.
  ///
  /// - Parameters:
  ///   - payload: the slot's payload; there is a page of room before it.
  ///   - shift: by how many bytes the data of a WRITE is to be moved.
  /// - Returns: the message, or nil if its sizes do not add up.
  @unsafe func message(
    _ slot: Slot, payload: UnsafeMutableRawBufferPointer, shift: Int
  ) -> UnsafeMutableRawBufferPointer? {
    let header = unsafe header(slot)
    let length = unsafe Int(header.load(as: UInt32.self))
    let payloadBytes = unsafe Int(
      header.load(fromByteOffset: RingProtocol.payloadSizeOffset, as: UInt32.self))
    let argumentBytes = length - MessageLayout.requestHeader - payloadBytes
    guard argumentBytes >= 0, argumentBytes <= RingProtocol.argumentsRoom,
      payloadBytes <= payload.count, var data = payload.baseAddress
    else { return nil }
    let opcode = unsafe header.load(fromByteOffset: 4, as: UInt32.self)
    if shift > 0 && payloadBytes > 0 && opcode == Opcode.write {
      unsafe memmove(data + shift, data, payloadBytes)
      unsafe data += shift
    }
    let start = unsafe data - argumentBytes - MessageLayout.requestHeader
    unsafe start.copyMemory(from: header, byteCount: MessageLayout.requestHeader)
    unsafe (start + MessageLayout.requestHeader).copyMemory(
      from: header + RingProtocol.argumentsOffset, byteCount: argumentBytes)
    return unsafe UnsafeMutableRawBufferPointer(start: start, count: length)
  }
}
