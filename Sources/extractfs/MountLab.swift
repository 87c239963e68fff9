// The labs that need a mount: one direct transfer, and what client, sim and backing hold for it; and buffers that change.

import CSystem
import Foundation
import Glibc
import Labs
import Memory

/// Mounts an image of its own with this very executable, looks at the counters, and unmounts in every case.
struct MountLab {
  private let lab: Lab
  private let setup: LabSetup
  private static let byteCount = 1 << 20

  init(_ lab: Lab, _ setup: LabSetup) {
    self.lab = lab
    self.setup = setup
  }

  func run() -> LabReport {
    var story = LabStory()
    if let obstacle {
      story.give(up: obstacle)
      return LabReport(lab: lab, setup: setup, story: story)
    }
    introduce(&story)
    // Nobody is to leave between mount and unmount; it takes less than a second.
    let interrupt = signal(SIGINT, SIG_IGN)
    let termination = signal(SIGTERM, SIG_IGN)
    defer {
      signal(SIGINT, interrupt)
      signal(SIGTERM, termination)
    }
    for cleanup in setup.cleanups {
      do {
        try measure(cleanup.rawValue, &story)
      } catch let trouble as Trouble where trouble.isObstacle {
        story.give(up: trouble.message)
        break
      } catch let trouble as Trouble {
        story.observe(
          "mount and transfer", cleanup.rawValue, expected: "done", happened: trouble.message)
      } catch {
        story.observe(
          "mount and transfer", cleanup.rawValue, expected: "done", happened: "\(error)")
      }
    }
    return LabReport(lab: lab, setup: setup, story: story)
  }

  private var isAboutBuffers: Bool { lab.name == "unstable-buffer" }

  private func introduce(_ story: inout LabStory) {
    if isAboutBuffers {
      story.say(
        "\(UnstableBufferLab.writeCount) direct writes of 64 KiB from one buffer, through a mount that watches buffers and"
      )
      story.say(
        "keeps each write in flight for a tenth of a second; another thread changes 4 bytes, or not."
      )
      return
    }
    story.say("One direct write and one direct read of 1 MiB through a mount of its own.")
    story.say("client: fuse.ko on this program's buffer. sim: the model on the request's buffer.")
    story.say(
      "backing: the kernel on the daemon's buffer. The kernel's counters are of the whole machine.")
  }

  private struct Trouble: Error {
    let message: String
    /// Whether the machine or this version lacks something, so that nothing has gone wrong.
    var isObstacle: Bool {
      message.contains("not permitted") || message.contains("not in this version")
    }
  }

  /// What is missing here, or nil.
  private var obstacle: String? {
    if unsafe access("/dev/fuse", R_OK | W_OK) != 0 { return "/dev/fuse cannot be opened" }
    if geteuid() != 0 && !hasFusermount { return "fusermount3 is not installed" }
    if !setup.bugs.isEmpty { return "bugs cannot be switched on in a mount" }
    return nil
  }

  private var hasFusermount: Bool {
    ["/usr/bin", "/bin", "/usr/local/bin"].contains {
      unsafe access("\($0)/fusermount3", X_OK) == 0
    }
  }

  // MARK: The mount

  private func measure(_ cleanup: String, _ story: inout LabStory) throws {
    let directory = FileManager.default.temporaryDirectory
      .appendingPathComponent("extractfs-lab-\(getpid())-\(cleanup)").path
    let mountpoint = "\(directory)/mnt"
    try FileManager.default.createDirectory(
      atPath: mountpoint, withIntermediateDirectories: true)
    defer { remove(directory) }
    try command(["mkimage", "--size", "16M", "--", "\(directory)/image"])
    var options = "cleanup=\(cleanup)"
    if let era = setup.era { options += ",era=\(era.rawValue)" }
    if isAboutBuffers { options += ",watch=buffers,hold=100" }
    try command(["mount", "\(directory)/image", mountpoint, "-o", options])
    var isMounted = true
    defer { if isMounted { unmount(mountpoint) } }
    if isAboutBuffers {
      try UnstableBufferLab.observe(mountpoint, cleanup, &story)
    } else {
      try transfer(mountpoint, cleanup, &story)
    }
    try command(["umount", mountpoint])
    isMounted = false
  }

  /// Unmounts after something failed, which has been said already.
  private func unmount(_ mountpoint: String) {
    do {
      try command(["umount", mountpoint])
    } catch {
      complain("\(mountpoint): could not be unmounted: \(error)")
    }
  }

  /// Removes the lab's directory, unless something is still mounted there.
  private func remove(_ directory: String) {
    do {
      try FileManager.default.removeItem(atPath: directory)
    } catch {
      complain("\(directory): could not be removed: \(error.localizedDescription)")
    }
  }

  /// Runs this program; what it starts in the background is not waited for.
  private func command(_ arguments: [String]) throws {
    let words = ["/proc/self/exe"] + arguments
    guard let child = ChildProcess.spawn(words.map { Array($0.utf8) }) else {
      throw Trouble(message: "\(arguments[0]): \(describe(errno))")
    }
    guard case .ended(let code, let output) = child.await(until: Deadline(seconds: 90)) else {
      throw Trouble(message: "\(arguments[0]): is not through after 90 s")
    }
    if code == 0 { return }
    let line = String(decoding: output.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    throw Trouble(message: line.isEmpty ? arguments[0] : line)
  }

  // MARK: The transfer

  private func transfer(_ mountpoint: String, _ cleanup: String, _ story: inout LabStory) throws {
    let path = "\(mountpoint)/disk"
    let descriptor = unsafe open(path, O_RDWR | EXTRACTFS_O_DIRECT | O_CLOEXEC)
    if descriptor < 0 {
      throw Trouble(message: unsafe "\(path): \(String(cString: strerror(errno)))")
    }
    defer { close(descriptor) }
    var memory: UnsafeMutableRawPointer?
    guard unsafe posix_memalign(&memory, pageSize, 2 * Self.byteCount) == 0,
      let memory = unsafe memory
    else { throw Trouble(message: "no memory") }
    defer { unsafe free(memory) }
    unsafe memory.initializeMemory(
      as: UInt8.self, repeating: UInt8(truncatingIfNeeded: setup.seed | 1), count: Self.byteCount)
    let control = try MountedControl(SystemPath(mountpoint))
    // Reading the control file is direct I/O too, and pins the reader's buffer: the kernel's counters are read
    // inside the mount's.
    let simBefore = try simFigures(control)
    let kernelBefore = try kernelFigures()
    let wrote = unsafe pwrite(descriptor, memory, Self.byteCount, 0)
    let read = unsafe pread(descriptor, memory + Self.byteCount, Self.byteCount, 0)
    let kernelAfter = try kernelFigures()
    let simAfter = try simFigures(control)
    let isRight =
      unsafe wrote == Self.byteCount && read == Self.byteCount
      && memcmp(memory, memory + Self.byteCount, Self.byteCount) == 0
    story.observe("the data", cleanup, expected: "right", happened: isRight ? "right" : "wrong")
    report(
      simBefore.merging(kernelBefore) { sim, _ in sim },
      simAfter.merging(kernelAfter) { sim, _ in sim }, cleanup, &story)
  }

  private func simFigures(_ control: MountedControl) throws -> [String: Int] {
    Dictionary(
      try control.statistics().map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
  }

  /// The kernel's counters, after they were made current.
  private func kernelFigures() throws -> [String: Int] {
    if let refresh = unsafe fopen("/proc/sys/vm/stat_refresh", "we") {
      unsafe fputs("1\n", refresh)
      unsafe fclose(refresh)
    }
    let kernel = try String(contentsOfFile: "/proc/vmstat", encoding: .utf8)
    var figures: [String: Int] = [:]
    for line in kernel.split(separator: "\n") where line.hasPrefix("nr_foll_pin") {
      let words = line.split(separator: " ")
      if words.count == 2 { figures["vm_\(words[0])"] = Int(words[1]) }
    }
    return figures
  }

  private func report(
    _ before: [String: Int], _ after: [String: Int], _ cleanup: String, _ story: inout LabStory
  ) {
    func change(_ name: String) -> Int { (after[name] ?? 0) - (before[name] ?? 0) }
    let pages = 2 * Self.byteCount / pageSize
    let taken = [
      "pin": change("sim_nr_foll_pin_acquired"), "get": change("sim_nr_foll_get_acquired"),
      "none": change("sim_pages_listed"),
    ]
    let given = [
      "pin": change("sim_nr_foll_pin_released"), "get": change("sim_nr_foll_get_released"),
      "none": pages,
    ]
    story.observe(
      "sim: pages taken or listed", cleanup, expected: "\(pages)",
      happened: "\(taken[cleanup] ?? 0)")
    story.observe(
      "sim: given back", cleanup, expected: "\(pages)", happened: "\(given[cleanup] ?? 0)")
    reportKernel(
      change("vm_nr_foll_pin_acquired"), change("vm_nr_foll_pin_released"), cleanup, &story)
  }

  /// The kernel counts client and backing as one, so that the client's part is reckoned, not read.
  private func reportKernel(
    _ acquired: Int, _ released: Int, _ cleanup: String, _ story: inout LabStory
  ) {
    let pages = 2 * Self.byteCount / pageSize
    guard geteuid() == 0, kernelPinsForFuse else {
      story.say("\(cleanup): client and backing: not told apart here (root on Linux 6.9 or later).")
      return
    }
    story.say(
      "\(cleanup): the kernel pinned \(acquired) and unpinned \(released): client \(pages) (reckoned), "
        + "backing \(acquired - pages) (the rest).")
    story.observe(
      "client and backing: pinned", cleanup, expected: "at least \(pages)",
      happened: acquired >= pages ? "at least \(pages)" : "\(acquired)")
  }

  /// Whether fuse.ko takes pins for direct I/O: from 6.9 on.
  private var kernelPinsForFuse: Bool {
    let version = ProcessInfo.processInfo.operatingSystemVersion
    return (version.majorVersion, version.minorVersion) >= (6, 9)
  }
}
