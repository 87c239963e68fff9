// Ring entries against the layouts of include/uapi/linux/fuse.h (Linux 6.14), written out here once more by hand.

import DirectIO
import CUring
import Glibc
import Memory
import TestSupport
import Testing

@testable import FUSEServer

@Suite("Ring entries")
struct RingEntriesTests {
  /// Entries over a small arena, which must outlive them.
  private final class Fixture {
    let memory: RequestMemory
    let entries: RingEntries

    init(workers: Int = 2, slots: Int = 4, queues: Int = 2, maxIOBytes: Int = 64 << 10) throws {
      memory = try RequestMemory(workers: workers, slotsPerWorker: slots, maxIOBytes: maxIOBytes)
      entries = RingEntries(memory: memory, queueCount: queues, backgroundLimit: 2)
    }

    /// Puts a request into a slot as the kernel does: `struct fuse_in_header` at 0, the operation's own header at
    /// 128, `payload_sz` of `struct fuse_uring_ent_in_out` at 272.
    func place(_ slot: Slot, length: UInt32, opcode: UInt32, arguments: [UInt8], payload: [UInt8]) {
      let header = unsafe entries.header(slot)
      unsafe header.storeBytes(of: length, as: UInt32.self)
      unsafe header.storeBytes(of: opcode, toByteOffset: 4, as: UInt32.self)
      unsafe header.storeBytes(of: 0x1122_3344_5566_7788, toByteOffset: 8, as: UInt64.self)
      for (offset, byte) in arguments.enumerated() {
        unsafe header.storeBytes(of: byte, toByteOffset: 128 + offset, as: UInt8.self)
      }
      unsafe header.storeBytes(of: UInt32(payload.count), toByteOffset: 272, as: UInt32.self)
      unsafe memory.payload(slot).copyBytes(from: payload)
    }

    func message(_ slot: Slot, shift: Int) -> [UInt8]? {
      let message = unsafe entries.message(slot, payload: memory.payload(slot), shift: shift)
      return unsafe message.map { unsafe Array($0) }
    }

    /// Fills a slot's payload with a byte that no test writes there.
    func mark(_ slot: Slot) {
      _ = unsafe memory.payload(slot).initializeMemory(as: UInt8.self, repeating: 0xA5)
    }

    func isMarked(_ slot: Slot) -> Bool { unsafe memory.payload(slot).allSatisfy { $0 == 0xA5 } }

    func headerWords(_ slot: Slot) -> [UInt32] {
      (0..<72).map { unsafe entries.header(slot).load(fromByteOffset: $0 * 4, as: UInt32.self) }
    }

    func headerBytes(_ slot: Slot) -> [UInt8] {
      unsafe Array(UnsafeRawBufferPointer(start: entries.header(slot), count: 288))
    }
  }

  @Test(
    "serve every queue, each at its worker",
    arguments: [(1, 2, 4), (2, 2, 4), (3, 3, 2), (2, 5, 6), (2, 8, 8), (4, 2, 2), (4, 4, 1)])
  func coverQueues(workers: Int, queues: Int, slots: Int) throws {
    let fixture = try Fixture(workers: workers, slots: slots, queues: queues, maxIOBytes: 4096)
    let all = (0..<workers * slots).map { Slot($0) }
    #expect(Set(all.map { Int(fixture.entries.queue($0)) }) == Set(0..<queues))
    for slot in all where queues >= workers {
      #expect(fixture.entries.home(slot) == slot.number / slots)
    }
  }

  @Test("put header and arguments before a WRITE's data", arguments: [0, 1, 512, 4095])
  func assembleWrite(shift: Int) throws {
    let fixture = try Fixture()
    let arguments = (0..<40).map { UInt8(100 + $0) }
    let data = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    fixture.place(
      3, length: UInt32(40 + 40 + data.count), opcode: 16, arguments: arguments, payload: data)
    let message = try #require(fixture.message(3, shift: shift))
    #expect(message.count == 80 + data.count)
    #expect(Array(message[..<40]) == Array(fixture.headerBytes(3)[..<40]))
    #expect(Array(message[40..<80]) == arguments)
    #expect(Array(message[80...]) == data)
  }

  @Test("leave the text of a LOOKUP where it is, whatever the shift", arguments: [0, 77])
  func assembleLookup(shift: Int) throws {
    let fixture = try Fixture()
    let name = Array("disk\0".utf8)
    fixture.place(0, length: UInt32(40 + name.count), opcode: 1, arguments: [], payload: name)
    let message = try #require(fixture.message(0, shift: shift))
    #expect(Array(message[40...]) == name)
  }

  @Test("are nil for sizes that do not add up, and never reach beyond the slot")
  func refuseNonsense() throws {
    let fixture = try Fixture()
    let limit = unsafe fixture.memory.payload(1).count
    let lengths: [UInt32] = [0, 39, 40, 79, 80, 168, 169, 4096, UInt32(limit), .max]
    for length in lengths {
      for payload in [0, 1, 40, limit, limit + 1, Int(UInt32.max)] {
        fixture.place(1, length: length, opcode: 16, arguments: [], payload: [])
        unsafe fixture.entries.header(1).storeBytes(
          of: UInt32(payload), toByteOffset: 272, as: UInt32.self)
        let arguments = Int(length) - 40 - payload
        let isSound = (0...128).contains(arguments) && payload <= limit
        #expect((fixture.message(1, shift: 0) != nil) == isSound, "\(length), \(payload)")
      }
    }
  }

  @Test("make a message, or none, of headers with random bytes", arguments: [0, 4095])
  func surviveNonsense(shift: Int) throws {
    var random = SeededGenerator(seed: UInt64(42 + shift))
    let fixture = try Fixture(maxIOBytes: 8192)
    let payload = unsafe fixture.memory.payload(1)
    fixture.mark(0)
    fixture.mark(2)
    var made = 0
    for _ in 0..<20_000 {
      let size = UInt32.random(in: 0...8192, using: &random)
      fixture.place(
        1, length: 40 + 40 + size, opcode: [1, 15, 16, 39].randomElement(using: &random) ?? 16,
        arguments: [], payload: [])
      let header = unsafe fixture.entries.header(1)
      unsafe header.storeBytes(of: size, toByteOffset: 272, as: UInt32.self)
      for _ in 0..<Int.random(in: 0...3, using: &random) {
        let places = [Int.random(in: 0..<40, using: &random), 3, 2, 0, 272, 273, 274, 275]
        unsafe header.storeBytes(
          of: UInt8.random(in: 0...255, using: &random),
          toByteOffset: places.randomElement(using: &random) ?? 0, as: UInt8.self)
      }
      let message = unsafe fixture.entries.message(1, payload: payload, shift: shift)
      guard let message = unsafe message else { continue }
      made += 1
      let start = unsafe message.baseAddress! - payload.baseAddress!
      let isInside = start >= -168 && start + message.count <= payload.count + shift
      let length = unsafe header.load(as: UInt32.self)
      #expect(isInside)
      #expect(message.count == Int(length))
    }
    #expect(made > 5_000 && made < 20_000)
    #expect(fixture.isMarked(0) && fixture.isMarked(2))
  }

  @Test("take an answer of any parts as their concatenation, wherever in the payload the last lies")
  func concatenateAnswers() throws {
    var random = SeededGenerator(seed: 7)
    let fixture = try Fixture(maxIOBytes: 8192)
    let payload = unsafe fixture.memory.payload(1)
    for _ in 0..<1000 {
      var between = random.bytes(count: Int.random(in: 0...2000, using: &random))
      let cut = Int.random(in: 0...between.count, using: &random)
      let last = random.bytes(count: Int.random(in: 0...5000, using: &random))
      let expected = between + last
      // The last part lies in the payload itself, more often than not across the place where it is to go.
      let place = Int.random(in: 0...payload.count - last.count, using: &random)
      unsafe UnsafeMutableRawBufferPointer(rebasing: payload[place...]).copyBytes(from: last)
      var header = [UInt32](repeating: 0, count: 4)
      header[2] = UInt32.random(in: 0...UInt32.max, using: &random)
      unsafe header.withUnsafeMutableBytes { header in
        unsafe between.withUnsafeMutableBytes { between in
          let parts = unsafe [
            iovec(iov_base: header.baseAddress, iov_len: 16),
            iovec(iov_base: between.baseAddress, iov_len: cut),
            iovec(
              iov_base: between.baseAddress.map { unsafe $0 + cut }, iov_len: between.count - cut),
            iovec(iov_base: payload.baseAddress! + place, iov_len: last.count),
          ]
          unsafe parts.withUnsafeBufferPointer {
            unsafe fixture.entries.setAnswer(1, parts: $0, payload: payload)
          }
        }
      }
      let found = unsafe Array(payload[..<expected.count])
      #expect(found == expected)
      let words = fixture.headerWords(1)
      #expect(words[0] == UInt32(16 + expected.count) && words[68] == UInt32(expected.count))
      #expect(words[2] == header[2])
    }
  }

  @Test("tell the kernel where a slot's headers and payload are when they are registered")
  func prepareRegistration() throws {
    let fixture = try Fixture()
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 128, alignment: 64)
    defer { unsafe bytes.deallocate() }
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
    let entry = unsafe bytes.baseAddress!.bindMemory(to: io_uring_sqe.self, capacity: 1)
    unsafe fixture.entries.prepare(entry, command: 1, slot: 6, file: 0, data: 9)
    let address = unsafe UInt(bytes.load(fromByteOffset: 16, as: UInt64.self))
    let vectors = unsafe fixture.entries.parts(6)
    #expect(address == UInt(bitPattern: vectors))
    #expect(unsafe bytes.load(fromByteOffset: 24, as: UInt32.self) == 2)
    let (headers, payload) = unsafe (vectors[0], vectors[1])
    let (ownHeader, ownPayload) = unsafe (fixture.entries.header(6), fixture.memory.payload(6))
    #expect(unsafe headers.iov_base == ownHeader && headers.iov_len == 288)
    #expect(unsafe payload.iov_base == ownPayload.baseAddress)
    #expect(unsafe payload.iov_len == ownPayload.count)
    #expect(unsafe bytes.load(fromByteOffset: 56, as: UInt64.self) == 0)
    #expect(unsafe bytes.load(fromByteOffset: 64, as: UInt16.self) == fixture.entries.queue(6))
  }

  @Test("serve every queue for any number of workers and queues that slots suffice for")
  func coverAllQueues() throws {
    for workers in 1...5 {
      for queues in [1, 2, 3, 4, 7, 8, 16, 33] {
        let needed = (queues + workers - 1) / workers
        for slots in [needed, needed + 1, 2 * needed + 1] {
          let fixture = try Fixture(
            workers: workers, slots: slots, queues: queues, maxIOBytes: 4096)
          let all = (0..<workers * slots).map { Slot($0) }
          let served = Set(all.map { Int(fixture.entries.queue($0)) })
          #expect(served == Set(0..<queues), "\(workers) workers, \(queues) queues, \(slots) slots")
          #expect(
            all.allSatisfy { fixture.entries.home($0) == Int(fixture.entries.queue($0)) % workers })
        }
      }
    }
  }

  @Test("take an answer in parts, the last of which may lie in the payload itself")
  func takeAnswers() throws {
    let fixture = try Fixture()
    let payload = unsafe fixture.memory.payload(2)
    let data = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 13) }
    unsafe UnsafeMutableRawBufferPointer(rebasing: payload[100...]).copyBytes(from: data)
    var header: [UInt32] = [UInt32(16 + 56 + data.count), UInt32(bitPattern: -5), 0xaabb_ccdd, 9]
    var middle = (0..<56).map { UInt8($0) }
    unsafe header.withUnsafeMutableBytes { header in
      unsafe middle.withUnsafeMutableBytes { middle in
        let parts = unsafe [
          iovec(iov_base: header.baseAddress, iov_len: 16),
          iovec(iov_base: middle.baseAddress, iov_len: 56),
          iovec(iov_base: payload.baseAddress! + 100, iov_len: data.count),
        ]
        unsafe parts.withUnsafeBufferPointer {
          unsafe fixture.entries.setAnswer(2, parts: $0, payload: payload)
        }
      }
    }
    let answer = fixture.headerBytes(2)
    let bytes = unsafe answer.withUnsafeBytes { bytes in
      unsafe (
        bytes.load(as: UInt32.self), bytes.load(fromByteOffset: 4, as: Int32.self),
        bytes.load(fromByteOffset: 8, as: UInt64.self),
        bytes.load(fromByteOffset: 272, as: UInt32.self)
      )
    }
    #expect(bytes == (UInt32(16 + 56 + data.count), -5, 0x9_aabb_ccdd, UInt32(56 + data.count)))
    #expect(unsafe Array(payload[..<(56 + data.count)]) == middle + data)
  }

  @Test("write a command's queue and number where the kernel reads them")
  func prepareCommands() throws {
    let fixture = try Fixture()
    unsafe fixture.entries.header(5).storeBytes(
      of: 0x0102_0304_0506_0708, toByteOffset: 264, as: UInt64.self)
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 128, alignment: 64)
    defer { unsafe bytes.deallocate() }
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
    let entry = unsafe bytes.baseAddress!.bindMemory(to: io_uring_sqe.self, capacity: 1)
    unsafe fixture.entries.prepare(entry, command: 2, slot: 5, file: 1, data: 77)
    #expect(unsafe bytes[0] == 46)  // IORING_OP_URING_CMD
    #expect(unsafe bytes[1] == 1)  // IOSQE_FIXED_FILE
    #expect(unsafe bytes.load(fromByteOffset: 4, as: Int32.self) == 1)
    #expect(unsafe bytes.load(fromByteOffset: 8, as: UInt32.self) == 2)
    #expect(unsafe bytes.load(fromByteOffset: 32, as: UInt64.self) == 77)
    // `struct fuse_uring_cmd_req` at 48: flags, commit_id, qid.
    #expect(unsafe bytes.load(fromByteOffset: 48, as: UInt64.self) == 0)
    #expect(unsafe bytes.load(fromByteOffset: 56, as: UInt64.self) == 0x0102_0304_0506_0708)
    #expect(unsafe bytes.load(fromByteOffset: 64, as: UInt16.self) == fixture.entries.queue(5))
  }

  /// Two are for what the kernel sends by itself, and four for the thaw and all else.
  @Test("keep some of each queue free of writes that wait for a thaw")
  func keepSomeFree() throws {
    let fixture = try Fixture(workers: 2, slots: 8, queues: 2)
    let ofQueue0 = (0..<16).map { Slot($0) }.filter { fixture.entries.queue($0) == 0 }
    let held = ofQueue0.filter { fixture.entries.hold($0) }
    #expect(held.count == ofQueue0.count - 2 - 4)
    #expect(fixture.entries.hold(8), "queues are counted apart")
    fixture.entries.letGo(held[0])
    #expect(fixture.entries.hold(ofQueue0[0]))
    #expect(!fixture.entries.hold(ofQueue0[0]))
  }
}

extension SeededGenerator {
  /// Random bytes.
  fileprivate mutating func bytes(count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
  }
}
