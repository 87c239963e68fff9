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
    ring.poll(bell.descriptor, data: RingOwner.poll | 7)
    ring.submit()
    #expect(ring.nextCompletion()?.data == nil)
    #expect(!ring.hasNews)
    bell.ring()
    ring.submitAndWait()
    let completion = try #require(ring.nextCompletion())
    #expect(completion.data == RingOwner.poll | 7)
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
        ring.submitAndWait()
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
    guard let entry = unsafe ring.nextEntry() else {
      Issue.record("an empty ring has no entry")
      return
    }
    unsafe io_uring_prep_read_fixed(entry, file, buffer.baseAddress, 4096, 0, 0)
    unsafe io_uring_sqe_set_flags(entry, UInt32(1 << IOSQE_FIXED_FILE_BIT))
    unsafe io_uring_sqe_set_data64(entry, RingOwner.device | 5)
    ring.submitAndWait()
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
      guard let entry = unsafe ring.nextEntry() else {
        Issue.record("entry \(mark) is not there")
        return
      }
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
      let entry = try unsafe #require(unsafe ring.nextEntry())
      unsafe io_uring_prep_read(entry, file, bytes.baseAddress, 8, 0)
      unsafe io_uring_sqe_set_flags(entry, UInt32(1 << IOSQE_FIXED_FILE_BIT))
      ring.submitAndWait()
      return try #require(ring.nextCompletion()).result
    }
  }

  @Test("returns from a wait that has its time")
  func waitsBounded() throws {
    let ring = try IORing(entries: 8, isWide: true)
    let bell = Bell()
    bell.ring()
    ring.poll(bell.descriptor, data: 3)
    #expect(ring.submitAndWait(seconds: 60))
    #expect(ring.nextCompletion()?.data == 3)
  }
}
