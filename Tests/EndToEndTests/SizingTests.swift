// How many threads and buffers a mount has by itself, and what is refused.

import TestSupport
import Testing

@testable import extractfs

@Suite("The sizes of a mount")
struct SizingTests {
  private func sizes(
    _ processors: Int, available: Int = 64 << 30, ring: Bool = true, options: String = ""
  ) throws -> ServerSizes {
    var parsed = MountOptions()
    try parsed.apply(options)
    return try parsed.sizes(
      SizingInput(
        processors: processors, possibleProcessors: processors, offersRing: ring,
        isImmediate: false, availableBytes: available))
  }

  @Test("stay within 256 MiB by default", arguments: [1, 2, 8, 64, 256], [true, false])
  func defaults(processors: Int, ring: Bool) throws {
    let sizes = try sizes(processors, ring: ring)
    #expect(sizes.byteCount <= 256 << 20, "\(sizes)")
    #expect(sizes.maxIOBytes >= 128 << 10 && sizes.queueDepth >= 2 && sizes.workers >= 1)
    // A slot for each queue of the kernel's.
    if ring { #expect(sizes.workers * sizes.queueDepth >= processors) }
  }

  @Test("stay within an eighth of what is there", arguments: [1, 2, 8])
  func small(processors: Int) throws {
    #expect(try sizes(processors, available: 256 << 20).byteCount <= 32 << 20)
  }

  @Test("are what was asked for")
  func asked() throws {
    let sizes = try sizes(2, options: "workers=5,queue_depth=40,max_io=64k")
    #expect(sizes.workers == 5 && sizes.queueDepth == 40 && sizes.maxIOBytes == 64 << 10)
  }

  @Test(
    "are refused in one line where they do not fit",
    arguments: ["workers=64,queue_depth=1024", "workers=64", "queue_depth=1024"])
  func refused(options: String) throws {
    let error = try #require(throws: OptionError.self) {
      try sizes(2, available: 96 << 20, options: "max_io=1M," + options)
    }
    #expect(error.message.contains("MiB"))
  }
}
