// The running kernel's bios, from its tracepoint block:block_bio_queue, in a tracefs instance of our own.

import ArgumentParser
import CSystem
import Glibc

/// A bio as the kernel queued it.
struct KernelBio: Hashable {
  var isWrite: Bool
  /// Of the disk, 512 bytes each.
  var sector: UInt64
  var sectors: Int

  /// The disk's pages of 4096 bytes that it touches.
  var pages: Set<UInt64> {
    sectors == 0 ? [] : Set(sector / 8...(sector + UInt64(sectors) - 1) / 8)
  }
}

/// An instance of tracefs that exists for as long as this process: a child that outlives it takes it away.
final class KernelTrace {
  private let root: SystemPath
  private let instance: SystemPath
  /// The child knows by the end of this pipe that we have gone, however that came about.
  private let lifeline: Int32

  /// Why there is none.
  struct Missing: Error { let reason: String }

  /// Makes an instance that notes the bios of one device.
  /// - Parameter device: major and minor number.
  init(device: (major: UInt32, minor: UInt32)) throws(Missing) {
    if geteuid() != 0 { throw Missing(reason: "tracefs is for root") }
    root = SystemPath("/run/extractfs-tracefs.\(getpid())")
    instance = root.appending("instances/extractfs-verify-\(getpid())")
    var ends: [Int32] = [0, 0]
    if unsafe pipe2(&ends, O_CLOEXEC) != 0 { throw Missing(reason: describe(errno)) }
    lifeline = ends[1]
    defer { close(ends[0]) }
    guard Self.guardInstance(root, instance, lifeline: ends[0]) else {
      close(lifeline)
      throw Missing(reason: describe(errno))
    }
    do throws(Missing) {
      try mountRoot()
      try watch(device)
    } catch {
      close(lifeline)
      throw error
    }
  }

  deinit { close(lifeline) }

  /// Starts the child that waits for our end: it takes the instance away, and the mount.
  private static func guardInstance(
    _ root: SystemPath, _ instance: SystemPath, lifeline: Int32
  ) -> Bool {
    let script = """
      trap '' INT TERM HUP QUIT
      read nothing
      tries=0
      while [ -d "$1" ] && ! rmdir "$1" 2>/dev/null && [ $tries -lt 100 ]; do
        tries=$((tries + 1)); sleep 0.1
      done
      umount "$0" 2>/dev/null
      rmdir "$0" 2>/dev/null
      """
    var start = ProgramStart([
      Array("sh".utf8), Array("-c".utf8), Array(script.utf8), root.bytes, instance.bytes,
    ])
    start.send(STDIN_FILENO, to: lifeline)
    start.send(STDOUT_FILENO, to: nil)
    start.send(STDERR_FILENO, to: nil)
    start.detach(closingFrom: STDERR_FILENO + 1)
    return start.run() != nil
  }

  private func mountRoot() throws(Missing) {
    let made = unsafe root.withCString { unsafe mkdir($0, 0o700) }
    if made != 0 { throw Missing(reason: "\(root.shown): \(describe(errno))") }
    let mounted = unsafe root.withCString { unsafe mount("tracefs", $0, "tracefs", 0, nil) }
    if mounted != 0 { throw Missing(reason: "this kernel has no tracefs: \(describe(errno))") }
    if unsafe instance.withCString({ unsafe mkdir($0, 0o700) }) != 0 {
      throw Missing(reason: "tracefs makes no instance: \(describe(errno))")
    }
  }

  private func watch(_ device: (major: UInt32, minor: UInt32)) throws(Missing) {
    let number = device.major << 20 | device.minor
    try write("16384", to: "buffer_size_kb")
    try write("dev == \(number)", to: "events/block/block_bio_queue/filter")
    try write("1", to: "events/block/block_bio_queue/enable")
    try write("1", to: "tracing_on")
  }

  private func write(_ text: String, to name: String) throws(Missing) {
    let descriptor = instance.appending(name).open(O_WRONLY | O_TRUNC)
    if descriptor < 0 { throw Missing(reason: "tracefs \(name): \(describe(errno))") }
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    if unsafe Glibc.write(descriptor, bytes, bytes.count) != bytes.count {
      throw Missing(reason: "tracefs \(name): \(describe(errno))")
    }
  }

  /// Forgets what was noted so far.
  func restart() throws(Missing) { try write("", to: "trace") }

  /// The bios of data that a process's threads have queued, and whether some were lost.
  func bios(of process: pid_t) throws(Missing) -> (bios: [KernelBio], areWhole: Bool) {
    try write("0", to: "tracing_on")
    guard let bytes = contents(of: instance.appending("trace")) else {
      throw Missing(reason: "tracefs trace: \(describe(errno))")
    }
    let threads = Set(DaemonProcess.threads(of: process))
    let bios = bytes.split(separator: UInt8(ascii: "\n")).compactMap {
      Self.parse(String(decoding: $0, as: UTF8.self), threads)
    }
    return (bios, try !hasOverrun())
  }

  private func hasOverrun() throws(Missing) -> Bool {
    for cpu in 0..<Machine.possibleCPUCount {
      let path = instance.appending("per_cpu/cpu\(cpu)/stats")
      let text = String(decoding: contents(of: path) ?? [], as: UTF8.self)
      for line in text.split(separator: "\n") where line.hasPrefix("overrun:") {
        if line.split(separator: " ").last != "0" { return true }
      }
    }
    return false
  }

  /// `NAME-TID [cpu] flags time: block_bio_queue: major,minor rwbs sector + count [NAME]`.
  private static func parse(_ line: String, _ threads: Set<Int>) -> KernelBio? {
    guard let event = line.firstRange(of: " block_bio_queue: "), let cpu = line.firstRange(of: " [")
    else {
      return nil
    }
    let task = line[..<cpu.lowerBound].split(separator: "-")
    guard let thread = task.last.flatMap({ Int($0.prefix { $0 != " " }) }) else { return nil }
    // A worker of io_uring's pool is named for the thread that it works for.
    let isPoolWorker =
      line.contains("iou-wrk-")
      && task.dropLast().last.flatMap { Int($0) }.map { threads.contains($0) } ?? false
    if !threads.contains(thread) && !isPoolWorker { return nil }
    let words = line[event.upperBound...].split(separator: " ")
    guard words.count >= 5, words[3] == "+", let sector = UInt64(words[2]),
      let sectors = Int(words[4]), sectors > 0
    else { return nil }
    let kind = words[1]
    // Discards, and what the host's filesystem reads and writes for itself.
    if kind.contains("D") || kind.contains("M") { return nil }
    if !kind.contains("R") && !kind.contains("W") { return nil }
    return KernelBio(isWrite: kind.contains("W"), sector: sector, sectors: sectors)
  }
}

extension DaemonProcess {
  /// The threads of a process.
  static func threads(of process: pid_t) -> [Int] {
    guard let stream = unsafe opendir("/proc/\(process)/task") else { return [] }
    defer { unsafe closedir(stream) }
    var threads: [Int] = []
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if let thread = Int(name) { threads.append(thread) }
    }
    return threads
  }
}

/// Where a file lies on its disk.
struct FileExtents {
  /// A run of bytes.
  struct Run {
    var logical: Int
    var physical: Int
    var length: Int
    /// Whether nothing was ever written there, so that reading asks no disk.
    var isUnwritten: Bool
  }

  /// In the order of the file.
  private(set) var runs: [Run] = []
  /// Whether the filesystem tells places at all.
  private(set) var isKnown = true

  /// Asks the filesystem, by FIEMAP.
  init(of path: SystemPath) {
    let descriptor = path.open(O_RDONLY)
    if descriptor < 0 {
      isKnown = false
      return
    }
    defer { close(descriptor) }
    var position: UInt64 = 0
    let most = 512
    var words = [UInt64](repeating: 0, count: 4 + most * 7)
    while true {
      // `struct fiemap`: start, length; flags (1: sync) and mapped count; extent count. Then extents of 56 bytes.
      words[0] = position
      words[1] = .max - position
      words[2] = 1
      words[3] = UInt64(most)
      let result = unsafe words.withUnsafeMutableBytes { bytes in
        unsafe extractfs_fiemap(descriptor, bytes.baseAddress)
      }
      if result != 0 {
        isKnown = false
        return
      }
      let count = Int(words[2] >> 32)
      if count == 0 { return }
      for index in 0..<count {
        let first = 4 + index * 7
        let flags = words[first + 5] & 0xffff_ffff
        // FIEMAP_EXTENT_UNKNOWN, DELALLOC, ENCODED, DATA_INLINE: no place on the disk.
        if flags & 0x30e != 0 && flags & 0x800 == 0 { isKnown = false }
        runs.append(
          Run(
            logical: Int(words[first]), physical: Int(words[first + 1]),
            length: Int(words[first + 2]), isUnwritten: flags & 0x800 != 0))
        position = words[first] + words[first + 2]
        if flags & 1 != 0 { return }
      }
    }
  }

  /// The bios that a transfer of a range of the file becomes: one for each run of it that has data.
  func bios(isWrite: Bool, offset: Int, length: Int, diskStartSector: UInt64) -> [KernelBio] {
    var place = firstRun(endingAfter: offset)
    var bios: [KernelBio] = []
    while place < runs.count, runs[place].logical < offset + length {
      let run = runs[place]
      let start = max(offset, run.logical)
      let end = min(offset + length, run.logical + run.length)
      if start < end && (isWrite || !run.isUnwritten) {
        bios.append(
          KernelBio(
            isWrite: isWrite,
            sector: UInt64(run.physical + start - run.logical) / 512 + diskStartSector,
            sectors: (end - start) / 512))
      }
      place += 1
    }
    return bios
  }

  private func firstRun(endingAfter offset: Int) -> Int {
    var low = 0
    var high = runs.count
    while low < high {
      let middle = (low + high) / 2
      if runs[middle].logical + runs[middle].length <= offset {
        low = middle + 1
      } else {
        high = middle
      }
    }
    return low
  }
}
