// What the two transports owe beside the data: that they say which they are, sleep when nobody asks, and leave the
// kernel's pins to the client.

import Foundation
import TestSupport
import Testing

@testable import extractfs

extension EndToEnd {
  @Suite("A transport")
  struct TransportTests {
    @Test("is named in config", .needs(.fuse), arguments: Transport.present)
    func isNamed(transport: String) throws {
      try withMount(options: "transport=\(transport)", imageSizeBytes: 1 << 20) { mount in
        let lines = try mount.read("config").split(separator: "\n")
        #expect(lines.filter { $0.hasPrefix("transport=") } == ["transport=\(transport)"])
      }
    }

    /// Requests flow when each of the kernel's queues has an entry, and it has one for each CPU that could be there.
    @Test("has a slot for every CPU that the kernel counts", arguments: [1, 2, 4, 96], [1, 2, 5])
    func coversCPUs(processors: Int, workers: Int) throws {
      for possible in [processors, 128, 240] {
        var options = MountOptions()
        options.transport = .uring
        for asked in [nil, workers] {
          for depth in [nil, 2] {
            options.workers = asked
            options.queueDepth = depth
            let sizes = try options.sizes(
              SizingInput(
                processors: processors, possibleProcessors: possible, offersRing: true,
                isImmediate: false, availableBytes: 64 << 30))
            #expect(sizes.queueDepth >= (possible + sizes.workers - 1) / sizes.workers)
          }
        }
      }
    }

    @Test(
      "uses no CPU when nobody asks anything", .needs(.fuse, .directIO),
      arguments: Transport.present)
    func sleeps(transport: String) throws {
      let (own, most) = (50_000_000, 2_500_000)
      try withMount(options: "transport=\(transport)", imageSizeBytes: 1 << 20) { mount in
        let disk = try OpenFile(mount.disk, [.write, .direct])
        let buffer = AlignedBuffer(count: 4096)
        for number in 0..<1000 {
          try disk.write(from: buffer, count: buffer.count, at: number % 256 * 4096)
        }
        let daemon = ProcessWatch(try mount.processIdentifier())
        try daemon.awaitSleep()
        #expect(try daemon.usedNanoseconds(while: own) < most)
      }
      // A canary: who never sleeps is seen.
      let spinner = try ClientProcess(["sh", "-c", "while :; do :; done"])
      defer { spinner.kill() }
      let used = try ProcessWatch(spinner.processIdentifier).usedNanoseconds(while: own)
      #expect(used > most)
    }

    /// What one direct pass over the disk took: pages that the kernel pinned, and pages that were registered.
    private func pass(over disk: OpenFile, sizeBytes: Int, _ mount: Mount) throws -> (
      pinned: Int, registered: Int
    ) {
      let buffer = AlignedBuffer(count: 1 << 20)
      let before = try mount.statistics()
      // The kernel's counters are read inside the model's: reading `stats` pins its reader's page.
      let pinsBefore = try KernelPins.read()
      for offset in stride(from: 0, to: sizeBytes, by: buffer.count) {
        try disk.read(into: buffer, count: buffer.count, at: offset)
      }
      let pinsAfter = try KernelPins.read()
      let registered = try mount.statistics().change(of: "fixed_buffer_pages", since: before)
      return (pinsAfter.acquired - pinsBefore.acquired, registered)
    }

    /// The counters are the whole machine's, and each worker registers its buffers when it first can, so the pass is
    /// made again until neither has disturbed it.
    @Test(
      "lets the kernel pin the client's pages alone with iter=bvec",
      .needs(.fuse, .directIO, .pinningFilesystem, .root, .pinCounters),
      arguments: Transport.present)
    func leavesPins(transport: String) throws {
      let sizeBytes = 16 << 20
      let pages = sizeBytes / 4096
      // A kernel that only takes references to a client's pages counts none of them.
      let clientPages = try Feature.clientIsPinned() ? pages : 0
      try withMount(
        options: "iter=bvec,backend=uring,transport=\(transport)", imageSizeBytes: sizeBytes
      ) { mount in
        // Real blocks: a hole is read without touching the device, and so without its pins.
        let image = try OpenFile(mount.image.path, .write)
        let buffer = AlignedBuffer(count: sizeBytes)
        buffer.fill(with: 0x5A)
        try image.write(from: buffer, count: sizeBytes, at: 0)
        try image.synchronize()
        let disk = try OpenFile(mount.disk, .direct)
        var passes: [(pinned: Int, registered: Int)] = []
        repeat {
          passes.append(try pass(over: disk, sizeBytes: sizeBytes, mount))
        } while passes.count < 20 && passes[passes.count - 1] != (clientPages, 0)
        #expect(passes[passes.count - 1] == (clientPages, 0), "\(passes)")
        #expect(try #require(try mount.statistics()["fixed_buffer_pages"]) > 0)
        // A canary: with an ordinary buffer each page is pinned for the backing transfer as well.
        try mount.control("set iter=ubuf")
        #expect(try pass(over: disk, sizeBytes: sizeBytes, mount).pinned >= clientPages + pages)
      }
    }
  }
}
