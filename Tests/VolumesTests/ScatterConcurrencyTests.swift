// A scatter volume under several threads at once.

import Dispatch
import Memory
import TestSupport
import Testing

@testable import Volumes

@Suite("A scatter volume under several threads")
struct ScatterConcurrencyTests {
  @Test("loses no write and gives no block to two files", arguments: [1, 2] as [UInt64])
  func writesAtOnce(seed: UInt64) throws {
    let threads = 4
    let blocks = 256
    let fixture = try ScatterFixture(
      imageBytes: 2 * threads * blocks * 512, blockBytes: 512, seed: seed)
    let shared = try fixture.makeFile("shared")
    let failures = Guarded<[Errno]>([])
    DispatchQueue.concurrentPerform(iterations: threads) { thread in
      do throws(Errno) {
        // Every thread has every fourth block of one file, and a file of its own that comes and goes.
        for block in 0..<blocks {
          let bytes = [UInt8](repeating: UInt8(thread + 1), count: 512)
          try fixture.write(bytes, to: shared, at: (block * threads + thread) * 512)
          try Self.comeAndGo(fixture, "own\(thread)", bytes: bytes)
        }
      } catch {
        failures.withLock { $0.append(error) }
      }
    }
    #expect(failures.withLock { $0 } == [])
    fixture.check()
    let expected = (0..<blocks * threads * 512).map { UInt8($0 / 512 % threads + 1) }
    #expect(try fixture.read(shared) == expected)
    #expect(fixture.freeBlocks == threads * blocks)
  }

  private static func comeAndGo(
    _ fixture: ScatterFixture, _ name: String, bytes: [UInt8]
  ) throws(Errno) {
    let file = try fixture.makeFile(name)
    try fixture.write(bytes, to: file, at: 700)
    let read = try fixture.read(file)
    #expect(read == [UInt8](repeating: 0, count: 700) + bytes)
    try fixture.volume.unlink(FileName(name), in: 1)
    fixture.volume.forget(file, lookups: 1)
  }

  @Test("gives two writers of the same hole the same block")
  func sharesHole() throws {
    let fixture = try ScatterFixture(imageBytes: 64 * 4096)
    let file = try fixture.makeFile("a")
    let places = Guarded<Set<Int>>([])
    let kinds = Guarded<[String]>([])
    DispatchQueue.concurrentPerform(iterations: 8) { _ in
      do throws(Errno) {
        let extent = try fixture.extentToWrite(file, at: 4096, limit: 4096)
        places.withLock { _ = $0.insert(extent.deviceOffset) }
        kinds.withLock { $0.append("\(extent.kind)") }
      } catch {
        kinds.withLock { $0.append("error \(error.rawValue)") }
      }
    }
    #expect(places.withLock { $0.count } == 1)
    #expect(
      kinds.withLock { $0.sorted() } == ["new"] + Array(repeating: "unwritten", count: 7))
    #expect(fixture.freeBlocks == 63)
  }
}
