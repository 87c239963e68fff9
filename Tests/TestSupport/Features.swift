// What a machine must have for a test, and whether this one has it.

import Foundation

/// Whether this process may use a path in a way, as access(2) says.
private func mayAccess(_ path: String, _ mode: CInt) -> Bool {
  unsafe access(path, mode) == 0
}

/// Something that not every machine has.
public enum Feature: String, CaseIterable, Sendable {
  /// /dev/fuse can be opened, and fusermount3 is there for those who are not root.
  case fuse = "/dev/fuse"
  /// The load generator.
  case fio
  /// Direct I/O in the directory where tests keep their files.
  case directIO = "O_DIRECT on the temporary directory"
  /// A filesystem there for which the kernel pins pages: ext4, XFS, Btrfs or an overlay of these, not
  /// tmpfs, and a kernel that does so for a file's direct I/O (v6.5); before, it took references.
  case pinningFilesystem = "pins for direct I/O below the temporary directory (ext4, XFS, Btrfs)"
  /// The rights of root, for chattr, drop_caches and stat_refresh.
  case root
  /// A filesystem in memory.
  case memoryFilesystem = "tmpfs on /dev/shm"
  /// FUSE over io_uring, switched on. A kernel that cannot have it lacks nothing.
  case fuseRing = "FUSE over io_uring (enable_uring of the fuse module)"
  /// What examples in C are compiled with.
  case compiler = "a C compiler (cc)"
  /// What shows the code of an executable.
  case disassembler = "binutils' objdump"
  /// The reference parser of OpenMetrics, for Debian's own Python.
  case metricsParser = "python3-prometheus-client"
  /// A terminal that a script can type into and look at.
  case tmux
  /// Readers of manual pages.
  case mandoc = "mandoc and man"
  /// Shells that completions are for.
  case shells = "bash, zsh and fish"
  /// What checks units.
  case systemdAnalyze = "systemd-analyze"
  /// Kernel counters of pinned pages, which root may refresh.
  case pinCounters = "nr_foll_pin_acquired in /proc/vmstat"

  /// Whether continuous integration demands every feature, so that a missing one fails, not skips.
  public static let allRequired =
    ProcessInfo.processInfo.environment["EXTRACTFS_REQUIRE_ALL"] == "1"

  /// Whether this machine has it.
  public var isPresent: Bool {
    switch self {
    case .fuse:
      mayAccess("/dev/fuse", R_OK | W_OK) && (geteuid() == 0 || Self.inPath("fusermount3"))
    case .fio: Self.inPath("fio")
    case .directIO: Self.directIOWorks
    case .pinningFilesystem: Self.filesystemPins
    case .root: geteuid() == 0
    case .compiler: Self.inPath("cc")
    case .disassembler: Self.inPath("objdump")
    case .metricsParser:
      (try? run(["/usr/bin/python3", "-c", "import prometheus_client.openmetrics.parser"]))?
        .exitCode == 0
    case .mandoc: Self.inPath("mandoc") && Self.inPath("man")
    case .shells: ["bash", "zsh", "fish"].allSatisfy(Self.inPath)
    case .systemdAnalyze: Self.inPath("systemd-analyze")
    case .tmux: Self.inPath("tmux")
    case .memoryFilesystem: Self.typeOfFilesystem(memoryDirectory) == "tmpfs"
    case .fuseRing: Self.fuseRingState == .on
    case .pinCounters:
      mayAccess("/proc/sys/vm/stat_refresh", W_OK) && (try? KernelPins.read()) != nil
    }
  }

  /// fio's engine that keeps many requests in flight; containers may forbid io_uring.
  public static let asynchronousEngine: String = {
    let probe = try? run([
      "fio", "--name=probe", "--filename=probe", "--size=4k", "--rw=write", "--ioengine=io_uring",
    ])
    return probe?.exitCode == 0 ? "io_uring" : "libaio"
  }()

  /// Whether a test that needs these may run: they are there, or nothing may be skipped.
  public static func permit(_ features: [Feature]) -> Bool {
    features.allSatisfy { $0.isPresent || ($0.isExpected && allRequired) }
  }

  /// What a kernel can say of FUSE over io_uring.
  public enum FuseRing: Sendable { case on, off, unknown }

  /// Whether the kernel has it, and whether it is switched on.
  public static let fuseRingState: FuseRing = {
    let path = "/sys/module/fuse/parameters/enable_uring"
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return .unknown }
    return text.hasPrefix("Y") ? .on : .off
  }()

  /// Whether every machine where nothing may be skipped has it.
  public var isExpected: Bool {
    switch self {
    case .fuseRing: Self.fuseRingState != .unknown
    // Where systemd does not run, nothing installs it.
    case .systemdAnalyze: false
    default: true
    }
  }

  /// Whether the kernel pins the pages of a program that does direct I/O on a FUSE mount.
  ///
  /// It does since it takes them by `iov_iter_extract_pages()` (fuse_get_user_pages(), fs/fuse/file.c, v6.9);
  /// before that it took references, which nothing counts. So it is tried, on a mount whose daemon
  /// transfers nothing and pins nothing itself.
  /// - Throws: what a mount or the counters throw, where the machine has none.
  public static func clientIsPinned() throws -> Bool {
    let buffer = AlignedBuffer(count: 1 << 20)
    return try withMount(options: "backend=null", imageSizeBytes: buffer.count) { mount in
      try everyReadPins(OpenFile(mount.disk, .direct), into: buffer)
    }
  }

  private static func inPath(_ program: String) -> Bool {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
    return path.split(separator: ":").contains { mayAccess("\($0)/\(program)", X_OK) }
  }

  private static let directIOWorks: Bool =
    (try? withTemporaryDirectory { directory in
      let file = directory.appending(path: "probe")
      try makeSparseFile(file, sizeBytes: 4096)
      return try OpenFile(file.path, .direct)
        .read(into: AlignedBuffer(count: 4096), count: 4096, at: 0) == 4096
    }) ?? false

  private static let filesystemPins: Bool = {
    let name = typeOfFilesystem(scratchDirectory)
    return ["ext2/ext3", "xfs", "btrfs", "overlayfs"].contains(name) && (try? filePins()) ?? true
  }()

  /// Whether the kernel's counters see the pages of direct reads of a file.
  /// - Throws: what the counters throw, where they cannot be read.
  private static func filePins() throws -> Bool {
    try withTemporaryDirectory { directory in
      let buffer = AlignedBuffer(count: 1 << 20)
      let path = directory.appending(path: "probe").path
      // Real blocks: a hole is read without touching the device.
      let file = try OpenFile(path, [.write, .create])
      try file.write(from: buffer, count: buffer.count, at: 0)
      try file.synchronize()
      return try everyReadPins(OpenFile(path, .direct), into: buffer)
    }
  }

  /// Whether each of three direct reads pins the whole buffer; others may pin meanwhile as well.
  private static func everyReadPins(_ file: OpenFile, into buffer: AlignedBuffer) throws -> Bool {
    try (0..<3).allSatisfy { _ in
      let before = try KernelPins.read()
      try file.read(into: buffer, count: buffer.count, at: 0)
      return try KernelPins.read().acquired - before.acquired >= buffer.count / 4096
    }
  }

  /// The name that stat(1) has for it.
  private static func typeOfFilesystem(_ directory: URL) -> String {
    let type = try? run(["stat", "-f", "-c", "%T", directory.path]).output
    return type?.trimmingCharacters(in: .whitespacesAndNewlines) ?? ""
  }
}

/// The kernel's own count of pinned pages, over all processes.
public struct KernelPins: Sendable, Equatable {
  /// Pages pinned since boot.
  public let acquired: Int
  /// Pages unpinned since boot.
  public let released: Int

  /// Reads the counters after folding in what each CPU has not reported yet (needs root).
  public static func read() throws -> KernelPins {
    try Data("1".utf8).write(to: URL(filePath: "/proc/sys/vm/stat_refresh"))
    let text = try String(contentsOf: URL(filePath: "/proc/vmstat"), encoding: .utf8)
    let values = try Statistics(parsing: text)
    guard let acquired = values["nr_foll_pin_acquired"],
      let released = values["nr_foll_pin_released"]
    else { throw TestFailure("/proc/vmstat does not count pins") }
    return KernelPins(acquired: acquired, released: released)
  }
}
