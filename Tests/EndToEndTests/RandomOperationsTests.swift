// Random operations on a mount, and the proof that the tester itself finds faults.

import Foundation
import Synchronization
import TestSupport
import Testing

/// The seed of this run: `EXTRACTFS_SEED`, to repeat a failure, or a fresh one.
private let seed: UInt64 =
  ProcessInfo.processInfo.environment["EXTRACTFS_SEED"].flatMap { UInt64($0) }
  ?? UInt64.random(in: 0...UInt64.max)

/// One set of options and the load to run on it.
struct Load: Sendable, CustomTestStringConvertible {
  var options: String
  var operations: Int
  var threads = 1
  var sharing = RandomOperations.Sharing.pages
  var kinds = RandomOperations.Kind.allCases

  var testDescription: String {
    "'\(options)', \(operations) operations by \(threads) threads sharing \(sharing)"
  }

  /// 100,000 operations in all.
  static let all = [
    Load(options: "", operations: 20_000),
    Load(options: "backend=sync", operations: 12_000, threads: 4),
    Load(options: "iter=iovec,segs=7,misalign=512", operations: 10_000),
    Load(options: "iter=bvec,backend=sync,segs=3,misalign=512", operations: 10_000, threads: 3),
    Load(options: "iter=xarray,cleanup=get", operations: 8_000),
    Load(options: "iter=kvec,cleanup=none", operations: 8_000),
    Load(options: "iter=pipe", operations: 6_000, threads: 2),
    Load(options: "direct=off", operations: 6_000, threads: 4),
    Load(
      options: "", operations: 10_000, threads: 4, sharing: .bytes,
      kinds: [.unalignedDirectRead, .unalignedDirectWrite]),
    Load(
      options: "backend=sync,segs=5", operations: 10_000, threads: 4, sharing: .bytes,
      kinds: [.unalignedDirectRead, .unalignedDirectWrite]),
  ]
}

extension EndToEnd {
  @Suite("Random operations")
  struct RandomOperationsTests {
    @Test("match a plain file", .needs(.fuse, .directIO), arguments: Load.all)
    func matchPlainFile(load: Load) throws {
      try withTemporaryDirectory { scratch in
        let (image, shadow) = (scratch.appending(path: "image"), scratch.appending(path: "shadow"))
        try makeSparseFile(image, sizeBytes: 8 << 20)
        try withMount(options: load.options, image: image) { mount in
          var operations = RandomOperations(
            subject: mount.disk, shadow: shadow.path, seed: seed, operations: load.operations)
          operations.threads = load.threads
          operations.sharing = load.sharing
          operations.kinds = load.kinds
          // Said beforehand, in case the process does not survive the run.
          print("random operations with EXTRACTFS_SEED=\(seed) on -o '\(load.options)'")
          try operations.run()
          #expect(try mount.statistics().imbalances == [])
        }
        #expect(try firstDifference(between: image.path, and: shadow.path) == nil, "seed \(seed)")
      }
    }

    @Test("number a hundred thousand")
    func areMany() {
      #expect(Load.all.map(\.operations).reduce(0, +) >= 100_000)
    }

    @Test("match on a plain file, which is right by definition", .needs(.directIO))
    func acceptPlainFile() throws {
      try withTemporaryDirectory { scratch in
        let file = scratch.appending(path: "subject")
        try makeSparseFile(file, sizeBytes: 1 << 20)
        var operations = RandomOperations(
          subject: file.path, shadow: scratch.appending(path: "shadow").path, seed: seed,
          operations: 2000)
        operations.kinds.removeAll { [.unalignedDirectRead, .unalignedDirectWrite].contains($0) }
        try operations.run()
      }
    }

    @Test("find a single wrong byte, and report seed and offset", .needs(.directIO))
    func findCanary() throws {
      try withTemporaryDirectory { scratch in
        let file = scratch.appending(path: "subject")
        try makeSparseFile(file, sizeBytes: 1 << 20)
        var operations = RandomOperations(
          subject: file.path, shadow: scratch.appending(path: "shadow").path, seed: 42,
          operations: 1000)
        operations.kinds = [.bufferedRead]
        operations.beforeOperation = { number in
          guard number == 500 else { return }
          let buffer = AlignedBuffer(count: 1)
          buffer[0] = 0xFF
          try OpenFile(file.path, .write).write(from: buffer, count: 1, at: 123_456)
        }
        let failure = try #require(throws: TestFailure.self) { try operations.run() }
        #expect(failure.description.contains("seed 42"))
        #expect(failure.description.contains("123456"))
      }
    }
  }
}
