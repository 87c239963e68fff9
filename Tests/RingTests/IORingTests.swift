// A ring on its own: marks come back, files are named by place, and a full queue is sent off.

import CSystem
import CUring
import Glibc
import Memory
import Testing

@testable import Ring

@Suite("A ring")
struct IORingTests {
  /// An eventfd that can be read once for each write.
  private struct Bell: ~Copyable {
    let descriptor = eventfd(0, EXTRACTFS_EFD_FLAGS)
    deinit { close(descriptor) }
    func ring() {
      var one: UInt64 = 1
      _ = unsafe write(descriptor, &one, 8)
    }
  }

  @Test("gives a poll's mark back when its descriptor can be read", arguments: [false, true])
  func polls(isWide: Bool) throws {
    let ring = try IORing(entries: 8, isWide: isWide)
    let bell = Bell()
    ring.poll(bell.descriptor, data: 7)
    ring.submit()
    #expect(ring.nextCompletion()?.data == nil)
    #expect(!ring.hasNews)
    bell.ring()
    ring.wait(isForDevice: false)
    let completion = try #require(ring.nextCompletion())
    #expect(completion.data == 7)
    #expect(completion.result == POLLIN)
    #expect(ring.nextCompletion()?.data == nil)
  }

  @Test("tells of news without a system call", arguments: [false, true])
  func tellsOfNews(isWide: Bool) throws {
    let ring = try IORing(entries: 8, isWide: isWide)
    let bell = Bell()
    bell.ring()
    ring.poll(bell.descriptor, data: 1)
    ring.submit()
    #expect(ring.hasNews)
    #expect(ring.nextCompletion()?.data == 1)
    #expect(!ring.hasNews)
  }

  @Test("sends off by itself when its queue is full")
  func sendsOff() throws {
    let ring = try IORing(entries: 8, isWide: true)
    let bell = Bell()
    bell.ring()
    let count: UInt64 = 50
    for mark in 0..<count { ring.poll(bell.descriptor, data: mark) }
    #expect(ring.unsubmittedCount <= 8)
    ring.submit()
    var marks: Set<UInt64> = []
    while marks.count < Int(count) {
      if let completion = ring.nextCompletion() {
        #expect(marks.insert(completion.data).inserted)
      } else {
        ring.wait(isForDevice: true)
      }
    }
    #expect(marks == Set(0..<count))
  }

  @Test("reads through a registered file and a registered buffer")
  func readsRegistered() throws {
    let ring = try IORing(entries: 8, isWide: true)
    let file = try ring.register(file: unsafe open("/dev/zero", O_RDONLY | O_CLOEXEC))
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    unsafe buffer.initializeMemory(as: UInt8.self, repeating: 1)
    unsafe try ring.register(buffer: buffer)
    let entry = unsafe ring.nextEntry()
    unsafe io_uring_prep_read_fixed(entry, file, buffer.baseAddress, 4096, 0, 0)
    unsafe io_uring_sqe_set_flags(entry, UInt32(1 << IOSQE_FIXED_FILE_BIT))
    unsafe io_uring_sqe_set_data64(entry, 5)
    ring.wait(isForDevice: true)
    let completion = try #require(ring.nextCompletion())
    #expect(completion.data == 5 && completion.result == 4096)
    #expect(unsafe buffer.allSatisfy { $0 == 0 })
  }

  @Test("gives blank entries, of 128 bytes where it is wide", arguments: [false, true])
  func givesBlankEntries(isWide: Bool) throws {
    let ring = try IORing(entries: 8, isWide: isWide)
    let size = isWide ? 128 : 64
    // Three times around: each place comes back as an earlier entry has left it.
    for mark in 0..<24 {
      let entry = unsafe ring.nextEntry()
      let bytes = unsafe UnsafeMutableRawBufferPointer(start: entry, count: size)
      #expect(unsafe bytes.allSatisfy { $0 == 0 })
      unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0xFF)
      unsafe io_uring_prep_nop(entry)
      unsafe entry.pointee.flags = 0
      unsafe io_uring_sqe_set_data64(entry, UInt64(mark))
    }
    ring.submit()
    // More than the completion queue holds: the rest comes when the kernel is asked once more.
    var marks: Set<UInt64> = []
    while marks.count < 24 {
      if let completion = ring.nextCompletion() {
        #expect(marks.insert(completion.data).inserted)
      } else {
        #expect(ring.hasNews)
        ring.submit()
      }
    }
    #expect(marks == Set(0..<24))
  }

  @Test("knows a registered file by its place, until it is taken out")
  func forgetsFiles() throws {
    let ring = try IORing(entries: 8, isWide: true)
    let descriptor = unsafe open("/dev/zero", O_RDONLY | O_CLOEXEC)
    let file = try ring.register(file: descriptor)
    // The ring has the file itself, not its descriptor.
    close(descriptor)
    #expect(throws: Errno.self) { try ring.register(file: descriptor) }
    #expect(try read(file, by: ring) == 8)
    ring.unregisterFiles()
    #expect(try read(file, by: ring) == -EBADF)
  }

  private func read(_ file: Int32, by ring: IORing) throws -> Int32 {
    var word: UInt64 = .max
    return try unsafe withUnsafeMutableBytes(of: &word) { bytes in
      let entry = unsafe ring.nextEntry()
      unsafe io_uring_prep_read(entry, file, bytes.baseAddress, 8, 0)
      unsafe io_uring_sqe_set_flags(entry, UInt32(1 << IOSQE_FIXED_FILE_BIT))
      ring.wait(isForDevice: true)
      return try #require(ring.nextCompletion()).result
    }
  }

  @Test("returns from a wait that has its time")
  func waitsBounded() throws {
    let ring = try IORing(entries: 8, isWide: true)
    let bell = Bell()
    bell.ring()
    ring.poll(bell.descriptor, data: 3)
    #expect(ring.wait(isForDevice: false, seconds: 60))
    #expect(ring.nextCompletion()?.data == 3)
  }

  // MARK: Owners

  /// Notes what it is told.
  private final class Listener: CompletionOwner {
    var heard: [UInt64] = []
    var results: [Int32] = []
    func complete(_ data: UInt64, result: Int32) {
      heard.append(data)
      results.append(result)
    }
  }

  @Test("hands each completion to its owner, and what comes for one that has left to nobody")
  func dispatches() throws {
    let ring = try IORing(entries: 8, isWide: false)
    let bell = Bell()
    bell.ring()
    let owners = [Listener(), Listener(), Listener()]
    let tags = owners.map { ring.addOwner($0) }
    for mark in 0..<9 { ring.poll(bell.descriptor, data: tags[mark % 3] | UInt64(mark)) }
    ring.removeOwner(tags[1])
    var count = 0
    while count < 9 {
      ring.wait(isForDevice: false)
      count += ring.dispatch()
    }
    #expect(Set(owners[0].heard) == [0, 3, 6])
    #expect(owners[1].heard.isEmpty)
    #expect(Set(owners[2].heard) == [2, 5, 8])
    // The place that became free is given out again.
    #expect(ring.addOwner(owners[1]) == tags[1])
  }

  @Test("tells of a timer when its time has come", arguments: [false, true])
  func times(isWide: Bool) throws {
    let ring = try IORing(entries: 8, isWide: isWide)
    let listener = Listener()
    let tag = ring.addOwner(listener)
    let start = ContinuousClock.now
    ring.timer(nanoseconds: 30_000_000, data: tag | 2)
    ring.timer(nanoseconds: 10_000_000, data: tag | 1)
    while listener.heard.count < 2 {
      ring.wait(isForDevice: false)
      ring.dispatch()
    }
    #expect(listener.heard == [1, 2])
    #expect(listener.results == [-ETIME, -ETIME])
    #expect(ContinuousClock.now - start >= .milliseconds(30))
  }

  @Test("watches a descriptor again and again, once each time it is armed")
  func watches() throws {
    let ring = try IORing(entries: 8, isWide: false)
    let bell = Bell()
    let watch = DescriptorWatch(bell.descriptor, on: ring)
    for _ in 0..<3 {
      watch.arm()
      watch.arm()
      #expect(ring.unsubmittedCount == 1)
      bell.ring()
      ring.wait(isForDevice: false)
      #expect(ring.dispatch() == 1)
      #expect(watch.hasFired && !watch.isArmed)
      watch.hasFired = false
      var word: UInt64 = 0
      #expect(unsafe Glibc.read(bell.descriptor, &word, 8) == 8)
    }
  }

  @Test("loses nothing when many times more is sent off than its queues hold")
  func losesNothing() throws {
    let ring = try IORing(entries: 8, isWide: false)
    let listener = Listener()
    let tag = ring.addOwner(listener)
    for mark in 0..<10_000 {
      let entry = unsafe ring.nextEntry()
      unsafe io_uring_prep_nop(entry)
      unsafe io_uring_sqe_set_data64(entry, tag | UInt64(mark))
    }
    while listener.heard.count < 10_000 {
      ring.wait(isForDevice: true)
      ring.dispatch()
    }
    #expect(listener.heard.sorted() == (0..<10_000).map { UInt64($0) })
  }

  @Test("hands out first what it had to take out of the kernel's way")
  func keepsBacklog() throws {
    let ring = try IORing(entries: 8, isWide: false)
    let listener = Listener()
    let tag = ring.addOwner(listener)
    ring.backlog = [RingCompletion(data: tag | 1, result: 11)]
    let entry = unsafe ring.nextEntry()
    unsafe io_uring_prep_nop(entry)
    unsafe io_uring_sqe_set_data64(entry, tag | 2)
    #expect(ring.hasNews && ring.wait(isForDevice: false))
    ring.submit()
    #expect(ring.dispatch() == 2)
    #expect(listener.heard == [1, 2] && listener.results == [11, 0])
  }

  @Test("sleeps without the kernel's help not to count it as I/O", arguments: [nil, 60])
  func sleepsInPoll(seconds: Int?) throws {
    let ring = try IORing(entries: 8, isWide: false, knowsNoIOWait: false)
    let listener = Listener()
    let tag = ring.addOwner(listener)
    ring.timer(nanoseconds: 20_000_000, data: tag | 9)
    #expect(ring.wait(isForDevice: false, seconds: seconds))
    #expect(ring.dispatch() == 1 && listener.heard == [9])
    #expect(!ring.wait(isForDevice: false, seconds: 0))
  }

  // MARK: Buffers

  @Test("reads into buffers that another ring has registered", .enabled(if: clonesBuffers))
  func clones() throws {
    let holder = try IORing(entries: 8, isWide: false, use: .anyThread)
    let ring = try IORing(entries: 8, isWide: true)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 8192, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    unsafe buffer.initializeMemory(as: UInt8.self, repeating: 1)
    unsafe try holder.register(buffer: buffer)
    try ring.cloneBuffers(of: holder)
    let file = try ring.register(file: unsafe open("/dev/zero", O_RDONLY | O_CLOEXEC))
    let entry = unsafe ring.nextEntry()
    unsafe io_uring_prep_read_fixed(entry, file, buffer.baseAddress! + 4096, 4096, 0, 0)
    unsafe io_uring_sqe_set_flags(entry, UInt32(1 << IOSQE_FIXED_FILE_BIT))
    ring.wait(isForDevice: true)
    #expect(ring.nextCompletion()?.result == 4096)
    #expect(unsafe buffer[0] == 1 && buffer[4095] == 1 && buffer[4096] == 0 && buffer[8191] == 0)
  }

  /// Whether the kernel is Linux 6.12 or later.
  private static let clonesBuffers: Bool = {
    var name = utsname()
    unsafe uname(&name)
    let release = unsafe withUnsafeBytes(of: &name.release) {
      unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
    let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
    return numbers.count == 2 && (numbers[0], numbers[1]) >= (6, 12)
  }()
}
