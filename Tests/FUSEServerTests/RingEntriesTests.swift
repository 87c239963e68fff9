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
      let header = entries.header(slot)
      header.store(length)
      header.store(opcode, at: 4)
      header.store(UInt64(0x1122_3344_5566_7788), at: 8)
      for (offset, byte) in arguments.enumerated() {
        header.store(byte, at: 128 + offset)
      }
      header.store(UInt32(payload.count), at: 272)
      memory.payload(slot).copy(payload)
    }

    func message(_ slot: Slot, shift: Int) -> [UInt8]? {
      entries.message(slot, in: memory, shift: shift)?.contents
    }

    /// Fills a slot's payload with a byte that no test writes there.
    func mark(_ slot: Slot) {
      memory.payload(slot).copy([UInt8](repeating: 0xA5, count: memory.payloadBytes))
    }

    func isMarked(_ slot: Slot) -> Bool { memory.payload(slot).contents.allSatisfy { $0 == 0xA5 } }

    func headerWords(_ slot: Slot) -> [UInt32] {
      (0..<72).map { entries.header(slot).load(UInt32.self, at: $0 * 4) }
    }

    func headerBytes(_ slot: Slot) -> [UInt8] {
      entries.header(slot).contents
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
    let limit = fixture.memory.payload(1).count
    let lengths: [UInt32] = [0, 39, 40, 79, 80, 168, 169, 4096, UInt32(limit), .max]
    for length in lengths {
      for payload in [0, 1, 40, limit, limit + 1, Int(UInt32.max)] {
        fixture.place(1, length: length, opcode: 16, arguments: [], payload: [])
        fixture.entries.header(1).store(UInt32(payload), at: 272)
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
    let payload = fixture.memory.payload(1)
    fixture.mark(0)
    fixture.mark(2)
    var made = 0
    for _ in 0..<20_000 {
      let size = UInt32.random(in: 0...8192, using: &random)
      fixture.place(
        1, length: 40 + 40 + size, opcode: [1, 15, 16, 39].randomElement(using: &random) ?? 16,
        arguments: [], payload: [])
      let header = fixture.entries.header(1)
      header.store(size, at: 272)
      for _ in 0..<Int.random(in: 0...3, using: &random) {
        let places = [Int.random(in: 0..<40, using: &random), 3, 2, 0, 272, 273, 274, 275]
        header.store(
          UInt8.random(in: 0...255, using: &random),
          at: places.randomElement(using: &random) ?? 0)
      }
      guard let message = fixture.entries.message(1, in: fixture.memory, shift: shift) else {
        continue
      }
      made += 1
      let start = Int(message.address) - Int(payload.address)
      let isInside = start >= -168 && start + message.count <= payload.count + shift
      let length = header.load(UInt32.self)
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
    let payload = fixture.memory.payload(1)
    for _ in 0..<1000 {
      var between = random.bytes(count: Int.random(in: 0...2000, using: &random))
      let cut = Int.random(in: 0...between.count, using: &random)
      let last = random.bytes(count: Int.random(in: 0...5000, using: &random))
      let expected = between + last
      // The last part lies in the payload itself, more often than not across the place where it is to go.
      let place = Int.random(in: 0...payload.count - last.count, using: &random)
      payload.copy(last, to: place)
      let word = UInt32.random(in: 0...UInt32.max, using: &random)
      var header: (UInt32, UInt32, UInt32, UInt32) = (0, 0, word, 0)
      MemoryWindow.on(&header) { header in
        MemoryWindow.on(&between) { between in
          fixture.entries.setAnswer(
            1,
            parts: [
              header, between[0..<cut], between[cut..<between.count],
              payload[place..<place + last.count],
            ], payload: payload)
        }
      }
      let found = payload[0..<expected.count].contents
      #expect(found == expected)
      let words = fixture.headerWords(1)
      #expect(words[0] == UInt32(16 + expected.count) && words[68] == UInt32(expected.count))
      #expect(words[2] == word)
    }
  }

  @Test("tell the kernel where a slot's headers and payload are when they are registered")
  func prepareRegistration() throws {
    let fixture = try Fixture()
    let entry = prepared(fixture.entries, command: 1, slot: 6, file: 0, data: 9)
    let address = unsafe UnsafePointer<iovec>(bitPattern: entry.word(at: 16, UInt.self))
    let vectors = unsafe UnsafeBufferPointer(start: address, count: 2)
    #expect(entry.word(at: 24, UInt32.self) == 2)
    let found = unsafe vectors.map { unsafe (UInt(bitPattern: $0.iov_base), $0.iov_len) }
    let own = [fixture.entries.header(6), fixture.memory.payload(6)]
    #expect(found.map(\.0) == own.map(\.address))
    #expect(found.map(\.1) == own.map(\.count))
    #expect(fixture.entries.header(6).count == 288)
    #expect(entry.word(at: 56, UInt64.self) == 0)
    #expect(entry.word(at: 64, UInt16.self) == fixture.entries.queue(6))
  }

  /// A submission entry, as bytes.
  private func prepared(
    _ entries: RingEntries, command: UInt32, slot: Slot, file: Int32, data: UInt64
  ) -> [UInt8] {
    unsafe withUnsafeTemporaryAllocation(byteCount: 128, alignment: 64) { bytes in
      unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
      let entry = unsafe bytes.baseAddress!.assumingMemoryBound(to: io_uring_sqe.self)
      unsafe entries.prepare(entry, command: command, slot: slot, file: file, data: data)
      return unsafe Array(bytes)
    }
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
    let payload = fixture.memory.payload(2)
    let data = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 13) }
    payload.copy(data, to: 100)
    var header: (UInt32, Int32, UInt64) = (UInt32(16 + 56 + data.count), -5, 0x9_aabb_ccdd)
    var middle = (0..<56).map { UInt8($0) }
    MemoryWindow.on(&header) { header in
      MemoryWindow.on(&middle) { middle in
        fixture.entries.setAnswer(
          2, parts: [header, middle, payload[100..<100 + data.count]], payload: payload)
      }
    }
    let answer = fixture.headerBytes(2)
    #expect(answer.word(at: 0, UInt32.self) == UInt32(16 + 56 + data.count))
    #expect(answer.word(at: 4, Int32.self) == -5)
    #expect(answer.word(at: 8, UInt64.self) == 0x9_aabb_ccdd)
    #expect(answer.word(at: 272, UInt32.self) == UInt32(56 + data.count))
    #expect(payload[0..<56 + data.count].contents == middle + data)
  }

  @Test("write a command's queue and number where the kernel reads them")
  func prepareCommands() throws {
    let fixture = try Fixture()
    fixture.entries.header(5).store(UInt64(0x0102_0304_0506_0708), at: 264)
    let entry = prepared(fixture.entries, command: 2, slot: 5, file: 1, data: 77)
    #expect(entry[0] == 46)  // IORING_OP_URING_CMD
    #expect(entry[1] == 1)  // IOSQE_FIXED_FILE
    #expect(entry.word(at: 4, Int32.self) == 1)
    #expect(entry.word(at: 8, UInt32.self) == 2)
    #expect(entry.word(at: 32, UInt64.self) == 77)
    // `struct fuse_uring_cmd_req` at 48: flags, commit_id, qid.
    #expect(entry.word(at: 48, UInt64.self) == 0)
    #expect(entry.word(at: 56, UInt64.self) == 0x0102_0304_0506_0708)
    #expect(entry.word(at: 64, UInt16.self) == fixture.entries.queue(5))
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

extension [UInt8] {
  /// The number that lies at a place.
  fileprivate func word<Word: BitwiseCopyable>(at offset: Int, _ type: Word.Type) -> Word {
    unsafe withUnsafeBytes { unsafe $0.loadUnaligned(fromByteOffset: offset, as: Word.self) }
  }
}
