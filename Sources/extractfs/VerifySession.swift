// One run of `extractfs verify`: what is set up, watched, compared, and put back.

import ArgumentParser
import CSystem
import Glibc
import Memory
import Trace
import Volumes

/// A mount under examination.
struct VerifySession {
  private let mount: MountedControl
  private let config: [String: String]
  private let daemon: pid_t
  private let image: SystemPath
  private let seed: UInt64
  private let source: TraceSource
  private var kernelTrace: KernelTrace?
  private var kernelReason = ""
  private var disk: (major: UInt32, minor: UInt32, startSector: UInt64)?
  private var workload: VerifyWorkload?
  private var log = ModelLog()

  private static let kinds = ["ubuf", "iovec", "kvec", "bvec", "xarray"]

  init(_ mount: MountedControl, seed: UInt64) throws {
    self.mount = mount
    self.seed = seed
    var config: [String: String] = [:]
    for line in try mount.read("config").split(separator: "\n") {
      let parts = line.split(separator: "=", maxSplits: 1).map(String.init)
      if parts.count == 2 { config[parts[0]] = parts[1] }
    }
    self.config = config
    guard let daemon = config["pid"].flatMap({ pid_t($0) }) else {
      throw failure("\(mount.name): config does not say the daemon's process")
    }
    self.daemon = daemon
    image = SystemPath("/proc/\(daemon)/root" + (config["image"] ?? ""))
    source = try TraceSource(mount)
  }

  // MARK: Setting up

  /// Gets ready: rules, workload, the kernel's tracepoint.
  mutating func prepare(writes: Bool, file: SystemPath, works: Bool) throws {
    try set("era=\(Self.nearestEra)")
    findDisk()
    if works { try prepareWorkload(writes: writes, file: file) }
    if let disk {
      do throws(KernelTrace.Missing) {
        kernelTrace = try KernelTrace(device: (disk.major, disk.minor))
      } catch {
        kernelReason = error.reason
      }
    }
  }

  private mutating func prepareWorkload(writes: Bool, file: SystemPath) throws {
    let size = config["size"].flatMap { Int($0) } ?? 0
    var ranges = dataRanges
    if ranges.isEmpty && writes { ranges = [0..<min(size, 16 << 20)] }
    if ranges.isEmpty { ranges = [0..<min(size, 16 << 20)] }
    let workload = try VerifyWorkload(file, ranges: ranges, writes: writes, seed: seed)
    if writes { try workload.settle() }
    // What the first request of each kind sets up is no part of the proof: registered buffers are pinned once.
    for kind in Self.kinds {
      try set("iter=\(kind)")
      _ = try workload.run(requests: 2)
    }
    self.workload = workload
  }

  /// Parts of the image that have data, if it is the mount's only file.
  private var dataRanges: [Range<Int>] {
    if config["volume"] != "raw" { return [] }
    return FileExtents(of: image).runs.filter { !$0.isUnwritten }
      .map { $0.logical..<($0.logical + $0.length) }
      .filter { $0.count >= 4096 && $0.upperBound <= config["size"].flatMap { Int($0) } ?? 0 }
  }

  /// The era nearest to the kernel that runs.
  static var nearestEra: String {
    let (major, minor) = kernelVersion
    return (major, minor) >= (6, 5) ? "merged" : "get"
  }

  private static var kernelVersion: (Int, Int) {
    let text = String(
      decoding: contents(of: SystemPath("/proc/sys/kernel/osrelease")) ?? [], as: UTF8.self)
    let parts = text.split { !$0.isNumber }.compactMap { Int($0) }
    return parts.count >= 2 ? (parts[0], parts[1]) : (0, 0)
  }

  private mutating func findDisk() {
    var found = stat()
    if unsafe image.withCString({ unsafe stat($0, &found) }) != 0 {
      kernelReason = "the image cannot be seen from here: \(describe(errno))"
      return
    }
    let isDevice = found.st_mode & S_IFMT == S_IFBLK
    let number = isDevice ? found.st_rdev : found.st_dev
    let major = UInt32(number >> 8 & 0xfff)
    let minor = UInt32(number & 0xff | number >> 12 & 0xfff00)
    if major == 0 {
      kernelReason = "the image's filesystem is on no disk"
      return
    }
    let start = contents(of: SystemPath("/sys/dev/block/\(major):\(minor)/start")) ?? []
    let text = String(decoding: start, as: UTF8.self).prefix { $0.isNumber }
    disk = (major, minor, UInt64(text) ?? 0)
  }

  /// A setting of the mount.
  private func set(_ setting: String) throws {
    let path = mount.mountpoint.appending(".extractfs/control")
    let descriptor = path.open(O_WRONLY)
    if descriptor < 0 { throw failure("\(path.shown): \(describe(errno))") }
    let bytes = Array("set \(setting)\n".utf8)
    let count = unsafe write(descriptor, bytes, bytes.count)
    let error = errno
    close(descriptor)
    if count != bytes.count { throw failure("set \(setting): \(describe(error))") }
  }

  /// Puts the mount's settings back.
  func restore() {
    for name in ["iter", "era"] {
      if let value = config[name] {
        do { try set("\(name)=\(value)") } catch {
          complain("\(name)=\(value) could not be put back")
        }
      }
    }
  }

  // MARK: Looking

  /// Makes requests and compares. The kernel counts the pins of all programs: where it has counted too many, another
  /// may have come between, and the same is done again.
  mutating func work(requests: Int) throws -> VerifyVerdict {
    var verdict = try workOnce(requests: requests)
    for _ in 0..<4 where verdict.hasTooManyPins { verdict = try workOnce(requests: requests) }
    return verdict
  }

  private mutating func workOnce(requests: Int) throws -> VerifyVerdict {
    guard let workload else { preconditionFailure("a workload was not prepared") }
    try beginLook()
    let noiseBefore = Self.noise()
    let before = KernelCounters.read()
    var done = VerifyWork()
    for (index, kind) in Self.kinds.enumerated() {
      try set("iter=\(kind)")
      let share = requests / Self.kinds.count + (index < requests % Self.kinds.count ? 1 : 0)
      let work = try workload.run(requests: share)
      done.requests += work.requests
      done.clientPages += work.clientPages
      try drain(milliseconds: 0)
    }
    try drain(milliseconds: 50)
    let after = KernelCounters.read()
    let noise = max(noiseBefore, Self.noise())
    let pinned = before.flatMap { old in after.map { $0.pinAcquired - old.pinAcquired } }
    return try judge(
      client: done.clientPages, pinned: pinned, noise: noise, requests: done.requests)
  }

  /// Watches and compares.
  mutating func watch(seconds: Double) throws -> VerifyVerdict {
    Interruption.await()
    try beginLook()
    let deadline = Deadline(seconds: seconds)
    while !Interruption.hasCome, deadline.remainingMilliseconds > 0 {
      try drain(milliseconds: min(deadline.remainingMilliseconds, 100))
    }
    try drain(milliseconds: 50)
    return try judge(client: nil, pinned: nil, noise: 0, requests: nil)
  }

  private mutating func beginLook() throws {
    try drain(milliseconds: 20)
    log = ModelLog()
    do throws(KernelTrace.Missing) {
      try kernelTrace?.restart()
    } catch {
      kernelTrace = nil
      kernelReason = error.reason
    }
  }

  /// Takes what has come, until nothing comes for so long.
  private mutating func drain(milliseconds: Int32) throws {
    while try source.take(waiting: milliseconds, { log.add($0) }) == .records {}
  }

  /// Pages that others on this machine pin in a moment.
  private static func noise() -> Int {
    guard let before = KernelCounters.read() else { return 0 }
    _ = poll(nil, 0, 100)
    return KernelCounters.read().map { $0.pinAcquired - before.pinAcquired } ?? 0
  }

  // MARK: Judging

  private func judge(
    client: Int?, pinned: Int?, noise: Int, requests: Int?
  ) throws -> VerifyVerdict {
    var verdict = VerifyVerdict()
    if let bug = config["bug"], bug != "none" {
      verdict.details.append("bug=\(bug) is switched on")
    }
    if log.lost > 0 {
      verdict.skip("everything", "\(log.lost) events were lost: the requests came too fast")
      return verdict
    }
    if let requests { verdict.add("requests seen", requests, log.requests) }
    verdict.add("requests that balance", log.requests, log.balanced)
    verdict.add("modes as the rules have them", log.requests, log.rightModes)
    verdict.details += log.details
    judgePins(client: client, pinned: pinned, noise: noise, &verdict)
    judgeBios(&verdict)
    return verdict
  }

  private func judgePins(
    client: Int?, pinned: Int?, noise: Int, _ verdict: inout VerifyVerdict
  ) {
    let name = VerifyVerdict.pinsCheck
    guard let client else {
      return verdict.skip(name, "whose pages your programs use is not known")
    }
    guard let pinned else { return verdict.skip(name, "this kernel counts no pins") }
    if noise > 0 {
      return verdict.skip(
        name, "the machine is not quiet: others pinned \(noise) pages within 0.1 s")
    }
    // fuse.ko pins since 6.9 ("fs/fuse: Fix missing FOLL_PIN for direct-io"); before it took references.
    let clientPins = Self.kernelVersion >= (6, 9) ? client : 0
    let backing = (config["device"] ?? "").contains("O_DIRECT") ? log.backingPages : 0
    verdict.add(
      name, clientPins + backing, pinned,
      "client \(clientPins) + backing \(backing); sim \(log.simPages)")
  }

  private func judgeBios(_ verdict: inout VerifyVerdict) {
    let name = "bios of the kernel"
    guard let disk, let kernelTrace else { return verdict.skip(name, kernelReason) }
    if !(config["device"] ?? "").contains("O_DIRECT") {
      return verdict.skip(name, "the image's I/O goes through the host's page cache")
    }
    let extents = FileExtents(of: image)
    if !extents.isKnown { return verdict.skip(name, "the host's filesystem does not tell places") }
    let seen: [KernelBio]
    do throws(KernelTrace.Missing) {
      let (bios, areWhole) = try kernelTrace.bios(of: daemon)
      if !areWhole { return verdict.skip(name, "the kernel's ring of events ran over") }
      seen = bios
    } catch {
      return verdict.skip(name, error.reason)
    }
    let expected = log.bios.flatMap { bio in
      extents.bios(
        isWrite: bio.isWrite, offset: Int(bio.sector) * 512, length: bio.sectors * 512,
        diskStartSector: disk.startSector)
    }
    if expected.isEmpty && seen.isEmpty && !log.bios.isEmpty {
      return verdict.skip(name, "the image has no data where it was read; try --writes")
    }
    compare(expected, seen, cached: cachedPages(extents, disk.startSector), &verdict)
  }

  /// Pages of the disk that bios touched which go through the host's page cache: what that reads and writes around them,
  /// and when, is its own affair.
  private func cachedPages(_ extents: FileExtents, _ startSector: UInt64) -> Set<UInt64> {
    var pages: Set<UInt64> = []
    for bio in log.cachedBios {
      let offset = Int(bio.sector) * 512 & ~4095
      let end = (Int(bio.sector) * 512 + bio.sectors * 512 + 4095) & ~4095
      let runs = extents.bios(
        isWrite: true, offset: offset, length: end - offset, diskStartSector: startSector)
      for run in runs { pages.formUnion(run.pages) }
    }
    return pages
  }

  private func compare(
    _ expected: [KernelBio], _ seen: [KernelBio], cached: Set<UInt64>,
    _ verdict: inout VerifyVerdict
  ) {
    var counts: [KernelBio: Int] = [:]
    for bio in expected { counts[bio, default: 0] += 1 }
    for bio in seen { counts[bio, default: 0] -= 1 }
    let missing = counts.filter { $0.value > 0 }
    let byCache = counts.filter { $0.value < 0 && !cached.isDisjoint(with: $0.key.pages) }
    let extra = counts.filter { $0.value < 0 && byCache[$0.key] == nil }
    let ofCache = -byCache.values.reduce(0, +)
    verdict.add(
      "bios of the kernel, number", expected.count, seen.count - ofCache,
      "of \(log.bios.count) bios of the model, cut where the image's extents end"
        + (ofCache > 0 ? "; \(ofCache) more by the host's page cache" : ""))
    verdict.add(
      "bios with that sector and size", expected.count,
      expected.count - missing.values.reduce(0, +))
    for (title, some) in [("missing", missing), ("unexpected", extra)] {
      for bio in some.keys.sorted(by: { $0.sector < $1.sector }).prefix(5) {
        verdict.details.append(
          "\(title): \(bio.isWrite ? "write" : "read") of sector \(bio.sector) + \(bio.sectors)")
      }
    }
  }
}

/// What the model says it did.
struct ModelLog {
  var requests = 0
  var balanced = 0
  var rightModes = 0
  var lost = 0
  var simPages = 0
  /// Pages of bios that the kernel ought to pin for the image's own direct I/O.
  var backingPages = 0
  var bios: [KernelBio] = []
  /// Bios that go through the host's page cache.
  var cachedBios: [KernelBio] = []
  var details: [String] = []
  private var assembler = RequestAssembler()
  private static let mostDetails = 10

  mutating func add(_ record: TraceRecord) {
    if record.step == .lost { lost += record.length }
    if record.step == .submit { addBio(record) }
    guard let request = assembler.add(record), request.operation == 15 || request.operation == 16
    else { return }
    requests += 1
    simPages += request.pages
    let isBalanced =
      request.imbalance == 0 && (request.mode.isEmpty || request.pages == request.releasedPages)
    if isBalanced { balanced += 1 }
    if !isBalanced {
      note(
        "request \(request.request): \(request.pages) pages taken, \(request.releasedPages) released"
      )
    }
    if hasRightMode(request) {
      rightModes += 1
    } else {
      note(
        "request \(request.request): mode \(TraceNames.mode(request.mode)) on a \(TraceNames.kind(request.kind))"
      )
    }
  }

  private mutating func note(_ line: String) {
    if details.count < Self.mostDetails { details.append(line) }
  }

  /// User memory is pinned, all else is listed. Under the rules before 6.5 everything has a reference.
  private func hasRightMode(_ request: TracedRequest) -> Bool {
    if !request.hasPages { return true }
    if VerifySession.nearestEra == "get" { return request.mode == .get }
    let isUser = request.kind <= 1
    return request.mode == (isUser ? .pin : [])
  }

  private mutating func addBio(_ record: TraceRecord) {
    let isWrite = record.operation == 1
    if !isWrite && record.operation != 0 || record.length == 0 { return }
    let bio = KernelBio(isWrite: isWrite, sector: record.sector, sectors: record.length / 512)
    if record.flags.contains(.cached) { return cachedBios.append(bio) }
    bios.append(bio)
    if !record.flags.contains(.registered) && !record.flags.contains(.zeroes) {
      backingPages += record.pages
    }
  }
}
