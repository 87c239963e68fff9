// An image that lies in memory (tmpfs), mapped: a small transfer is a copy, without a system call.

import Block
import CSystem
import Glibc
import Memory
import Synchronization

/// The mapping of an image on tmpfs.
///
/// tmpfs has neither a device below it nor I/O that does not wait, so each transfer would be a pread or pwrite,
/// which costs more than the copy in it, and writers of one file wait for each other there. Measured on two CPUs:
/// two jobs of 4 KiB reads 420,000 a second by pread and 500,000 mapped, of writes 300,000 and 440,000.
///
/// Only pages known to be there are copied, so that reading a hole allocates nothing and a full tmpfs is an error of
/// pwrite(2). Should the kernel have no page after all, as when somebody cuts the image, `BusGuard` catches that, and
/// from then on every transfer is a system call.
@safe final class MappedImage: @unchecked Sendable {
  // Guard of the unchecked Sendable: fields are constants, the bitmap is made of Atomics, and the bytes are the
  // image's: who writes and reads the same ones at once gets either, as with pread and pwrite.
  private let start: UnsafeMutableRawPointer
  private let byteCount: Int
  private let isReadOnly: Bool
  private let present: UnsafeMutablePointer<Atomic<UInt64>>
  private let wordCount: Int

  /// Larger transfers gain nothing.
  private static let largestBytes = 32 << 10
  private static let tmpfsMagic = 0x0102_1994

  /// Maps an image, or does not: where it is not on tmpfs, or another mapping of this process has the guard.
  init?(_ image: ImageFile) {
    var information = statfs()
    var status = stat()
    guard unsafe fstatfs(image.bufferedDescriptor, &information) == 0,
      information.f_type == Self.tmpfsMagic,
      unsafe fstat(image.bufferedDescriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG
    else { return nil }
    byteCount = image.byteCount
    isReadOnly = image.isReadOnly
    let protection = isReadOnly ? PROT_READ : PROT_READ | PROT_WRITE
    let mapped = unsafe mmap(nil, byteCount, protection, MAP_SHARED, image.bufferedDescriptor, 0)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else { return nil }
    let address = UInt(bitPattern: mapped)
    if !BusGuard.watch(address..<address + UInt(byteCount)) {
      unsafe munmap(mapped, byteCount)
      return nil
    }
    unsafe start = unsafe mapped
    wordCount = (byteCount / pageSize + 64) / 64
    unsafe present = .allocate(capacity: wordCount)
    for word in 0..<wordCount { unsafe (present + word).initialize(to: Atomic(0)) }
    noteStoredData(of: image)
  }

  deinit {
    BusGuard.unwatch()
    unsafe munmap(start, byteCount)
    unsafe present.deinitialize(count: wordCount)
    unsafe present.deallocate()
  }

  /// Marks the pages that have data now.
  private func noteStoredData(of image: ImageFile) {
    var offset = 0
    while offset < byteCount {
      let data = lseek(image.bufferedDescriptor, offset, EXTRACTFS_SEEK_DATA)
      if data < 0 { return }
      let hole = lseek(image.bufferedDescriptor, data, EXTRACTFS_SEEK_HOLE)
      offset = min(hole < 0 ? byteCount : hole, byteCount)
      notePresent(offset: data, byteCount: offset - data)
    }
  }

  // MARK: Moving

  /// Copies a bio's bytes, if it is small and all its pages are there.
  /// - Returns: whether all of it was moved; if not, the transfer is to be made by system calls.
  func move(_ bio: borrowing Bio, pages: PageTable) -> Bool {
    var offset = Int(bio.sector) << 9
    let count = bio.byteCount
    if count > Self.largestBytes || offset + count > byteCount || BusGuard.isHurt { return false }
    if !isPresent(offset: offset, byteCount: count) { return false }
    var position = bio.iterator
    while let vector = bio.nextVector(&position) {
      let segment = unsafe pages.memory(
        at: vector.page, offset: Int(vector.offset), length: Int(vector.length))
      guard let memory = segment.baseAddress else { continue }
      if bio.isWrite {
        // A fault for reading maps the neighbours too, writable as they are; one for writing maps its page only.
        unsafe extractfs_touch(start + offset)
        unsafe memcpy(start + offset, memory, segment.count)
      } else {
        unsafe memcpy(memory, start + offset, segment.count)
      }
      offset &+= segment.count
    }
    // What was copied from or to a page that is none counts for nothing.
    return !BusGuard.isHurt
  }

  private func isPresent(offset: Int, byteCount: Int) -> Bool {
    var page = offset / pageSize
    let last = (offset + byteCount - 1) / pageSize
    while page <= last {
      if unsafe present[page / 64].load(ordering: .relaxed) & (1 << UInt64(page % 64)) == 0 {
        return false
      }
      page &+= 1
    }
    return true
  }

  /// Notes that a range was written by a system call: its pages are there.
  func notePresent(offset: Int, byteCount: Int) {
    forEachPage(offset, byteCount) { word, bit in
      if unsafe present[word].load(ordering: .relaxed) & bit == 0 {
        unsafe present[word].bitwiseOr(bit, ordering: .relaxed)
      }
    }
  }

  /// Notes that a range may have lost its pages.
  func noteAbsent(offset: Int, byteCount: Int) {
    forEachPage(offset, byteCount) { word, bit in
      unsafe present[word].bitwiseAnd(~bit, ordering: .relaxed)
    }
  }

  private func forEachPage(_ offset: Int, _ byteCount: Int, _ body: (Int, UInt64) -> Void) {
    if byteCount <= 0 { return }
    let last = min(offset + byteCount - 1, self.byteCount - 1) / pageSize
    var page = offset / pageSize
    while page <= last {
      body(page / 64, 1 << UInt64(page % 64))
      page += 1
    }
  }

  /// Lets go of the pages of the mapping, which the kernel counts as this process's; they stay in the image.
  func relax() { _ = unsafe madvise(start, byteCount, MADV_DONTNEED) }
}

/// Catches SIGBUS within one range of addresses: the kernel's way to say that a mapped file has no page there.
enum BusGuard {
  private static let low = Atomic<UInt>(0)
  private static let high = Atomic<UInt>(0)
  private static let hurt = Atomic<Bool>(false)

  /// Whether there ever was a page missing.
  static var isHurt: Bool { hurt.load(ordering: .acquiring) }

  /// Begins to watch a range.
  /// - Returns: false if another one is watched.
  static func watch(_ range: Range<UInt>) -> Bool {
    if low.load(ordering: .relaxed) != 0 { return false }
    hurt.store(false, ordering: .relaxed)
    high.store(range.upperBound, ordering: .relaxed)
    low.store(range.lowerBound, ordering: .sequentiallyConsistent)
    var action = sigaction()
    action.sa_flags = SA_SIGINFO
    // Of what runs here, all may run in a signal handler: atomics that exist already, and two system calls.
    unsafe action.__sigaction_handler.sa_sigaction = { signal, information, _ in
      let address = unsafe UInt(bitPattern: information?.pointee._sifields._sigfault.si_addr)
      if !BusGuard.cover(address) { _ = Glibc.signal(signal, SIG_DFL) }
    }
    return unsafe sigaction(SIGBUS, &action, nil) == 0
  }

  /// Ends the watch.
  static func unwatch() { low.store(0, ordering: .sequentiallyConsistent) }

  /// Puts an empty page where the file has none, so that the copy comes to its end; it will be made anew.
  private static func cover(_ address: UInt) -> Bool {
    let low = low.load(ordering: .relaxed)
    if low == 0 || address < low || address >= high.load(ordering: .relaxed) { return false }
    hurt.store(true, ordering: .sequentiallyConsistent)
    let page = unsafe UnsafeMutableRawPointer(bitPattern: address & ~UInt(pageSize - 1))
    let covered = unsafe mmap(
      page, pageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
    return unsafe covered == page
  }
}
