// Many requests of every kind that changes a disk, on both transports, while everything around them misbehaves: clients
// are interrupted and killed, the daemon is stopped and goes on, settings change, the mount freezes and thaws.

import Foundation
import Memory
import Synchronization
import TestSupport
import Testing

/// Requests in all: `EXTRACTFS_STRESS`, or enough for every kind of trouble.
private let requestCount =
  ProcessInfo.processInfo.environment["EXTRACTFS_STRESS"].flatMap { Int($0) } ?? 40_000

/// `EXTRACTFS_SEED`, to repeat a failure, or a fresh one.
private let seed: UInt64 =
  ProcessInfo.processInfo.environment["EXTRACTFS_SEED"].flatMap { UInt64($0) }
  ?? UInt64.random(in: 0...UInt64.max)

/// Seconds that a run may take: many requests may take long.
private let limitSeconds = max(1700, requestCount / 50)

extension EndToEnd {
  @Suite("Under stress")
  struct StressTests {
    private let clients = 6

    @Test(
      "every client reads what it wrote last, and nothing is left held", .needs(.fuse, .directIO),
      .timeLimit(.minutes(limitSeconds / 60 + 2)), arguments: Transport.present)
    func keepsOrder(transport: String) throws {
      print("stress of \(requestCount) requests with EXTRACTFS_SEED=\(seed) on \(transport)")
      try withMount(
        options: "transport=\(transport),block_size=512",
        imageSizeBytes: (clients + 1) * StressClient.regionBytes, limitSeconds: limitSeconds
      ) { mount in
        let trouble = Trouble(mount: mount, seed: seed)
        try trouble.during {
          try onThreads(clients) { number in
            trouble.enroll()
            defer { trouble.leave() }
            var client = try StressClient(number, on: mount, of: clients)
            for _ in 0..<requestCount / clients { try client.step() }
            try client.compare()
          }
        }
        let statistics = try mount.statistics()
        #expect(statistics.imbalances == [])
        #expect(statistics["requests_inflight"] == 0)
        #expect(try mount.read("pins").split(separator: "\n").filter { !$0.hasPrefix("#") } == [])
        #expect(trouble.interrupts > 0 && trouble.delays > 0 && trouble.freezes > 0)
      }
    }
  }
}

/// A client with a region of its own, and a copy in memory of what it must hold.
private struct StressClient {
  static let regionBytes = 1 << 20

  private let number: Int
  private let start: Int
  /// Where all write at once.
  private let sharedStart: Int
  private let direct: OpenFile
  private let buffered: OpenFile
  /// Made once: Foundation starts no program safely while descriptors come and go.
  private let ring: SmallRing
  private let shadow = AlignedBuffer(count: regionBytes)
  private let data = AlignedBuffer(count: 256 << 10)
  private var random: SeededGenerator
  private var steps = 0

  init(_ number: Int, on mount: Mount, of clients: Int) throws {
    self.number = number
    start = number * Self.regionBytes
    sharedStart = clients * Self.regionBytes
    direct = try OpenFile(mount.disk, [.write, .direct])
    buffered = try OpenFile(mount.disk, .write)
    ring = try SmallRing()
    random = SeededGenerator(seed: seed &+ UInt64(number))
  }

  /// One request, or a few that belong together, of a random kind, place and length.
  mutating func step() throws {
    steps += 1
    let isDirect = Int.random(in: 0..<4, using: &random) > 0
    let kind = Int.random(in: 0..<20, using: &random)
    let grain = kind == 0 || (isDirect && Bool.random(using: &random)) ? 512 : 1
    let most =
      kind == 0 ? 12288 : Int.random(in: 0..<32, using: &random) == 0 ? data.count : 8192
    let count = Int.random(in: 1...most / grain, using: &random) * grain
    let offset = Int.random(in: 0...(Self.regionBytes - count) / grain, using: &random) * grain
    // The ring transport answers EAGAIN where too much waits for a thaw: a program tries again.
    try retrying(EAGAIN, EINTR) {
      switch kind {
      case 0: try passThrough(count, at: offset)
      case 1, 2: try zero(count, at: offset)
      case 3: try writeDurably(count, at: offset)
      case 4: try disturbOthers(count, at: offset, isDirect ? direct : buffered)
      case 5..<12: try read(count, at: offset, isDirect ? direct : buffered)
      default:
        data.fill(count: count, using: &random)
        let file = isDirect ? direct : buffered
        try #require(try file.write(from: data, count: count, at: start + offset) == count)
        shadow.replace(at: offset, with: data, count: count)
      }
    }
  }

  /// Compares the whole region, past the page cache and through it.
  func compare() throws {
    for file in [direct, buffered] {
      let found = try file.content(count: Self.regionBytes, at: start)
      let difference = found.firstDifference(from: shadow, count: Self.regionBytes)
      try #require(difference == nil, "region of client \(number), seed \(seed)")
    }
  }

  private func read(_ count: Int, at offset: Int, _ file: OpenFile) throws {
    try #require(try file.read(into: data, count: count, at: start + offset) == count)
    try #require(
      shadow.holds(data, at: offset, count: count),
      "request \(steps) of client \(number): \(count) bytes at \(offset), seed \(seed)")
  }

  private mutating func zero(_ count: Int, at offset: Int) throws {
    let mode = [AllocationMode.punchHole, .zeroRange, .zeroRangeKeepingSize]
      .randomElement(using: &random)!
    try buffered.change(mode, at: start + offset, count: count)
    for index in 0..<count { data[index] = 0 }
    shadow.replace(at: offset, with: data, count: count)
  }

  /// A write that is durable at its answer, by one of the interfaces.
  private mutating func writeDurably(_ count: Int, at offset: Int) throws {
    let interface = WriteInterface.allCases.randomElement(using: &random)!
    data.fill(count: count, using: &random)
    let (place, flags) = (start + offset, TransferFlags.dataSynchronous)
    let moved =
      interface == .ring
      ? try ring.write(direct, from: data, count: count, at: place, flags: flags)
      : try interface.write(direct, from: data, count: count, at: place, flags: flags)
    if moved < 0 { throw SystemFailure("a durable write", code: CInt(-moved)) }
    try #require(moved == count)
    shadow.replace(at: offset, with: data, count: count)
  }

  private mutating func passThrough(_ count: Int, at offset: Int) throws {
    let value = UInt8.random(in: 0...255, using: &random)
    try buffered.passThroughWrite(value, count: count, at: start + offset)
    for index in 0..<count { data[index] = value }
    shadow.replace(at: offset, with: data, count: count)
  }

  /// Where all write there is nothing to expect, but that it ends.
  private mutating func disturbOthers(_ count: Int, at offset: Int, _ file: OpenFile) throws {
    try file.write(from: data, count: count, at: sharedStart + offset)
    if Bool.random(using: &random) {
      try file.change(.punchHole, at: sharedStart + offset, count: count)
    }
    try file.read(into: data, count: count, at: sharedStart + offset)
  }
}

/// What goes wrong around the clients, until they are through.
private final class Trouble: Sendable {
  private let mount: Mount
  private let seed: UInt64
  private let threads = Mutex<[pthread_t]>([])
  private let isOver = Atomic<Bool>(false)
  private let counts = Mutex<(interrupts: Int, delays: Int, freezes: Int)>((0, 0, 0))

  init(mount: Mount, seed: UInt64) {
    self.mount = mount
    self.seed = seed
    // A handler that does nothing, and no SA_RESTART: a system call that can be interrupted is.
    var action = sigaction()
    unsafe action.__sigaction_handler.sa_handler = { _ in }
    unsafe sigaction(SIGUSR2, &action, nil)
  }

  /// Signals sent to clients.
  var interrupts: Int { counts.withLock { $0.interrupts } }
  /// Times that the daemon was stopped.
  var delays: Int { counts.withLock { $0.delays } }
  /// Times that the mount was frozen.
  var freezes: Int { counts.withLock { $0.freezes } }

  /// The calling thread is a client from now on.
  func enroll() { threads.withLock { $0.append(pthread_self()) } }

  /// The calling thread is no client any more; called before it ends.
  func leave() {
    threads.withLock { list in list.removeAll { pthread_equal($0, pthread_self()) != 0 } }
  }

  /// Makes trouble until `body` is through.
  func during(_ body: () throws -> Void) throws {
    let ended = DispatchSemaphore(value: 0)
    let failure = Mutex<(any Error)?>(nil)
    let maker = Thread { [self] in
      do { try make() } catch { failure.withLock { $0 = error } }
      ended.signal()
    }
    maker.start()
    defer {
      isOver.store(true, ordering: .relaxed)
      ended.wait()
    }
    try body()
    isOver.store(true, ordering: .relaxed)
    if let error = failure.withLock({ $0 }) { throw error }
  }

  private func make() throws {
    var random = SeededGenerator(seed: seed &+ 1000)
    let config = try mount.read("config")
    let line = config.split(separator: "\n").first { $0.hasPrefix("pid=") }
    let daemon = try #require(line.flatMap { pid_t($0.dropFirst(4)) })
    let kinds = ["ubuf", "iovec", "kvec", "bvec", "xarray"]
    while !isOver.load(ordering: .relaxed) {
      switch Int.random(in: 0..<32, using: &random) {
      case 0: try mount.control("set iter=\(kinds.randomElement(using: &random)!)")
      case 1:
        try mount.control(
          "set cleanup=\(["auto", "pin", "get", "none"].randomElement(using: &random)!)")
      case 2: try freeze(looks: Int.random(in: 0..<40, using: &random))
      case 3: try killClient()
      case 4..<8: delay(daemon, microseconds: Int.random(in: 100...3000, using: &random))
      default: interrupt(using: &random)
      }
    }
  }

  /// Freezes the mount for as long as it takes to look at it so often; writes and holes pile up meanwhile.
  private func freeze(looks: Int) throws {
    try mount.control("freeze")
    for _ in 0..<looks { _ = try mount.statistics() }
    try mount.control("thaw")
    counts.withLock { $0.freezes += 1 }
  }

  /// Stops the daemon for a while, as a busy machine would.
  private func delay(_ daemon: pid_t, microseconds: Int) {
    kill(daemon, SIGSTOP)
    usleep(UInt32(microseconds))
    kill(daemon, SIGCONT)
    counts.withLock { $0.delays += 1 }
  }

  /// Interrupts a client, wherever it is: the kernel tells the daemon so if a request is under way.
  private func interrupt(using random: inout SeededGenerator) {
    let sent = threads.withLock { list in
      guard let thread = list.randomElement(using: &random) else { return false }
      return pthread_kill(thread, SIGUSR2) == 0
    }
    if sent { counts.withLock { $0.interrupts += 1 } }
  }

  /// A client that is killed in the middle of its requests.
  private func killClient() throws {
    _ = try shell("timeout -s KILL 0.01 dd if='\(mount.disk)' of=/dev/null bs=64k iflag=direct")
  }
}
