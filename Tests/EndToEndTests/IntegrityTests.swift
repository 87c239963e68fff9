// That data is byte-exact, whatever the options, sizes and concurrency.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("Data through a mount")
  struct IntegrityTests {
    private static let backends = ["uring", "sync"]
    private static let shapes = ["segs=1,misalign=0", "segs=7,misalign=512"]

    /// fio's arguments for a random write of every block, read back and checked.
    private func verification(of file: String) -> [String] {
      [
        "fio", "--filename=\(file)", "--direct=1", "--ioengine=\(Feature.asynchronousEngine)",
        "--iodepth=16",
        "--rw=randwrite", "--verify=crc32c", "--verify_fatal=1", "--allow_file_create=0",
        "--fallocate=none", "--name=small", "--bs=512", "--offset=0", "--size=1M", "--name=pages",
        "--stonewall", "--bs=4k", "--offset=1M", "--size=15M", "--name=large", "--stonewall",
        "--bs=1M", "--offset=16M", "--size=48M",
      ]
    }

    @Test(
      "passes fio's verification with blocks of 512 bytes, 4 KiB and 1 MiB",
      .needs(.fuse, .fio, .directIO), arguments: iteratorKinds, backends)
    func verifies(kind: String, backend: String) throws {
      for shape in Self.shapes {
        try withMount(
          options: "iter=\(kind),backend=\(backend),\(shape)", imageSizeBytes: 64 << 20
        ) { mount in
          let result = try run(verification(of: mount.disk))
          #expect(result.exitCode == 0, "\(shape): \(result)")
          let figures = try mount.statistics()
          #expect(figures.imbalances == [], "\(shape)")
          #expect(figures["io_errors"] == 0, "\(shape)")
        }
      }
    }

    @Test(
      "leaves the image that the same writes leave of a plain file", .needs(.fuse, .fio, .directIO),
      arguments: iteratorKinds)
    func sameAsPlainFile(kind: String) throws {
      try withTemporaryDirectory { scratch in
        let (image, plain) = (scratch.appending(path: "image"), scratch.appending(path: "plain"))
        for file in [image, plain] { try makeSparseFile(file, sizeBytes: 32 << 20) }
        let writes = [
          "fio", "--direct=1", "--ioengine=psync", "--rw=randwrite", "--bsrange=512-256k",
          "--allrandrepeat=1", "--randseed=7", "--refill_buffers", "--allow_file_create=0",
          "--fallocate=none", "--end_fsync=1", "--name=writes", "--size=32M",
        ]
        try run(writes + ["--filename=\(plain.path)"]).checked()
        try withMount(options: "iter=\(kind),segs=3,misalign=512", image: image) { mount in
          try run(writes + ["--filename=\(mount.disk)"]).checked()
        }
        #expect(try firstDifference(between: image.path, and: plain.path) == nil)
        // A canary: a comparison of nothing with nothing would pass as well.
        let buffer = AlignedBuffer(count: 1 << 20)
        try OpenFile(plain.path).read(into: buffer, count: buffer.count, at: 0)
        #expect((0..<buffer.count).contains { buffer[$0] != 0 })
      }
    }
  }
}
