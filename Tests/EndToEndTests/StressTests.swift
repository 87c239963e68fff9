// Many requests on both transports while everything around them misbehaves: clients are interrupted and killed, the
// daemon is stopped and goes on, settings change, the mount freezes and thaws.

import Foundation
import Memory
import Synchronization
import TestSupport
import Testing

/// Requests in all: `EXTRACTFS_STRESS`, or enough for every kind of trouble.
private let requestCount =
  ProcessInfo.processInfo.environment["EXTRACTFS_STRESS"].flatMap { Int($0) } ?? 20_000

/// `EXTRACTFS_SEED`, to repeat a failure, or a fresh one.
private let seed: UInt64 =
  ProcessInfo.processInfo.environment["EXTRACTFS_SEED"].flatMap { UInt64($0) }
  ?? UInt64.random(in: 0...UInt64.max)

extension EndToEnd {
  @Suite("Under stress")
  struct StressTests {
    private let clients = 6
    private let regionBytes = 1 << 20

    @Test(
      "every client reads what it wrote last, and nothing is left held", .needs(.fuse, .directIO),
      .timeLimit(.minutes(30)), arguments: ["dev", "uring"])
    func keepsOrder(transport: String) throws {
      if transport == "uring" && !Feature.fuseRing.isPresent { return }
      print("stress of \(requestCount) requests with EXTRACTFS_SEED=\(seed) on \(transport)")
      try withMount(
        options: "transport=\(transport)", imageSizeBytes: (clients + 1) * regionBytes,
        limitSeconds: 1700
      ) { mount in
        let trouble = Trouble(mount: mount, seed: seed)
        try trouble.during {
          try onThreads(clients) { client in
            trouble.enroll()
            defer { trouble.leave() }
            try runClient(client, on: mount)
          }
        }
        let statistics = try mount.statistics()
        #expect(statistics.imbalances == [])
        #expect(statistics["requests_inflight"] == 0)
        #expect(try mount.read("pins").split(separator: "\n").filter { !$0.hasPrefix("#") } == [])
        #expect(trouble.interrupts > 0 && trouble.delays > 0)
      }
    }

    /// Reads and writes a region of the client's own, and now and then one that all share.
    private func runClient(_ client: Int, on mount: Mount) throws {
      var random = SeededGenerator(seed: seed &+ UInt64(client))
      let direct = try OpenFile(mount.disk, [.write, .direct])
      let buffered = try OpenFile(mount.disk, .write)
      let shadow = AlignedBuffer(count: regionBytes)
      let data = AlignedBuffer(count: 256 << 10)
      let start = client * regionBytes
      for number in 0..<requestCount / clients {
        let isDirect = Int.random(in: 0..<4, using: &random) > 0
        let step = isDirect ? 512 : 1
        let most = Int.random(in: 0..<32, using: &random) == 0 ? data.count : 8192
        let count = Int.random(in: 1...most / step, using: &random) * step
        let offset = Int.random(in: 0...(regionBytes - count) / step, using: &random) * step
        let file = isDirect ? direct : buffered
        if Int.random(in: 0..<16, using: &random) == 0 {
          // Where all write there is nothing to expect, but that it ends.
          let shared = clients * regionBytes + offset
          try file.write(from: data, count: count, at: shared)
          try file.read(into: data, count: count, at: shared)
        } else if Bool.random(using: &random) {
          data.fill(count: count, using: &random)
          try #require(try file.write(from: data, count: count, at: start + offset) == count)
          shadow.replace(at: offset, with: data, count: count)
        } else {
          try #require(try file.read(into: data, count: count, at: start + offset) == count)
          try #require(
            shadow.holds(data, at: offset, count: count),
            "request \(number) of client \(client): \(count) bytes at \(offset), seed \(seed)")
        }
      }
    }
  }
}

/// What goes wrong around the clients, until they are through.
private final class Trouble: Sendable {
  private let mount: Mount
  private let seed: UInt64
  private let threads = Mutex<[pthread_t]>([])
  private let isOver = Atomic<Bool>(false)
  private let counts = Mutex<(interrupts: Int, delays: Int)>((0, 0))

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
      case 2:
        try mount.control("freeze")
        try mount.control("thaw")
      case 3: try killClient()
      case 4..<8: delay(daemon, microseconds: Int.random(in: 100...3000, using: &random))
      default: interrupt(using: &random)
      }
    }
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
