// The very call, made on this machine: its result, the pins that the kernel counted, the bios that it traced.

import CSystem
import DirectCall
import Glibc
import IOVector
import Memory
import Volumes

/// What the running kernel did.
struct LiveAnswer {
  /// Bytes, or a negative error number.
  var result: Int
  /// Pins taken and given back by everybody meanwhile: ours, and those of whoever else was at work.
  var acquired: Int
  var released: Int
  /// The bios of this process.
  var bios: [TracedBio]
}

/// A buffer of whole pages, of which some refuse every access, and a target opened for direct I/O.
@safe final class LiveTarget {
  /// Pages of the buffer.
  static let pageCount = 640
  /// Pages that refuse every access: a call that comes to one faults.
  static let holes: Set<Int> = [firstHole, firstHole + 1, 420]
  /// The first of them.
  static let firstHole = 300

  private let memory: UnsafeMutableRawPointer
  private let descriptor: Int32
  private let trace: BlockTrace
  /// Where the file's extents end; empty for a device.
  private let extentEnds: [Int]

  /// Opens a file or device.
  init(path: String, device: (major: Int, minor: Int)) throws(DeviceError) {
    descriptor = unsafe open(path, O_RDWR | EXTRACTFS_O_DIRECT | O_CLOEXEC)
    guard descriptor >= 0 else { throw DeviceError("\(path): \(describe(errno))") }
    var ends = [UInt64](repeating: 0, count: 256)
    let found = unsafe extractfs_extent_ends(descriptor, &ends)
    extentEnds = found < 0 ? [] : ends[..<Int(found)].map(Int.init)
    let size = Self.pageCount * pageSize
    guard
      let memory = unsafe mmap(
        nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      unsafe memory != MAP_FAILED
    else { throw DeviceError("no memory: \(describe(errno))") }
    unsafe self.memory = unsafe memory
    // Small pages only, so that the model need not guess which ones are huge.
    unsafe madvise(memory, size, MADV_NOHUGEPAGE)
    unsafe memory.initializeMemory(as: UInt8.self, repeating: 0x5a, count: size)
    for hole in Self.holes { unsafe mprotect(memory + hole * pageSize, pageSize, PROT_NONE) }
    do throws(DeviceError) { trace = try BlockTrace(device: device) } catch {
      unsafe munmap(memory, size)
      close(descriptor)
      throw error
    }
  }

  deinit {
    unsafe munmap(memory, Self.pageCount * pageSize)
    close(descriptor)
  }

  /// Where the buffer begins.
  var address: UInt64 { unsafe UInt64(UInt(bitPattern: memory)) }

  /// Where the buffer's pages lie in the machine, in numbers of their own: what follows another there, follows it here.
  private var frames: [Page] {
    let descriptor = unsafe open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return (0..<Self.pageCount).map { Page(2 * $0) } }
    defer { close(descriptor) }
    var entries = [UInt64](repeating: 0, count: Self.pageCount)
    let place = off_t(address >> 12) * 8
    let wanted = Self.pageCount * 8
    guard unsafe pread(descriptor, &entries, wanted, place) == wanted else {
      return (0..<Self.pageCount).map { Page(2 * $0) }
    }
    // Bits 0 to 54 are the frame's number; zero without the right to see it.
    let numbers = entries.map { $0 & (1 << 55 - 1) }
    var names: [UInt64: Page] = [:]
    var next = 0
    var last: UInt64?
    for number in Set(numbers).sorted() {
      if let last, number != last + 1 { next += 1 }
      names[number] = Page(next)
      next += 1
      last = number
    }
    return numbers.enumerated().map { index, number in
      number == 0 ? Page(2 * index) : names[number] ?? Page(2 * index)
    }
  }

  /// Makes a call.
  func make(_ parts: [(offset: Int, byteCount: Int)], at offset: Int, isWrite: Bool) -> LiveAnswer {
    let vectors = unsafe parts.map {
      unsafe iovec(iov_base: memory + $0.offset, iov_len: $0.byteCount)
    }
    trace.clear()
    let before = KernelCounters.read()
    let moved =
      isWrite
      ? unsafe pwritev2(descriptor, vectors, Int32(vectors.count), offset, 0)
      : unsafe preadv2(descriptor, vectors, Int32(vectors.count), offset, 0)
    let result = moved < 0 ? -Int(errno) : moved
    let after = KernelCounters.read()
    return LiveAnswer(
      result: result, acquired: (after?.pinAcquired ?? 0) - (before?.pinAcquired ?? 0),
      released: (after?.pinReleased ?? 0) - (before?.pinReleased ?? 0), bios: trace.bios())
  }

  /// What the model says of the same call.
  func model(
    _ question: CallQuestion, _ parts: [(offset: Int, byteCount: Int)], at offset: Int,
    isWrite: Bool, _ era: Era
  ) -> CallAnswer {
    var mapped: [UInt64: MappedPage] = [:]
    for (index, page) in frames.enumerated() {
      mapped[address >> 12 + UInt64(index)] = MappedPage(
        page: page, access: Self.holes.contains(index) ? .none : .readWrite)
    }
    let pages = CallMemory(pageCount: 2 * Self.pageCount, mapped: mapped, era: era)
    var call = DirectCall(
      target: question.target, limits: question.limits, isWrite: isWrite, offset: offset,
      segments: parts.map { IOVec(base: address + UInt64($0.offset), length: $0.byteCount) },
      era: era)
    call.fileBytes = question.fileBytes
    call.extentEnds = extentEnds
    return CallAnswer(
      era: era, record: call.run(in: pages, followUps: 0)[0], target: question.target)
  }
}

extension LiveAnswer {
  /// What differs from the model's answer, in words; empty if nothing does.
  ///
  /// Bios of the page cache may follow the direct ones; a file's sectors are its filesystem's affair.
  func differences(from answer: CallAnswer, isFile: Bool) -> [String] {
    var differences: [String] = []
    let record = answer.record
    if result != record.result { differences.append("result \(result), model \(record.result)") }
    if acquired != record.acquired || released != record.released {
      differences.append(
        "pins \(acquired)/\(released), model \(record.acquired)/\(record.released)")
    }
    let direct = record.bios.filter { !$0.isCached }
    let seen = record.triedPageCache ? Array(bios.prefix(direct.count)) : bios
    let expected = direct.map {
      TracedBio(
        isWrite: $0.isWrite, sector: isFile ? 0 : $0.sector ?? 0, sectors: $0.byteCount >> 9)
    }
    let found = seen.map {
      TracedBio(isWrite: $0.isWrite, sector: isFile ? 0 : $0.sector, sectors: $0.sectors)
    }
    if found != expected {
      differences.append(
        "bios \(found.map(\.sectors)) sectors, model \(expected.map(\.sectors))")
    }
    return differences
  }
}
