// Engines over one scripted device, as workers have them.

import Block
import DirectIO
import IOVector
import Memory
import TestSupport
import Testing

/// A few engines that share a device and a write gate, all driven by the test's thread.
final class EngineFixture {
  static let maxIO = 64 << 10
  static let requests = 6
  static let userBase: UInt64 = 1 << 32
  private static let slotPages = maxIO / pageSize + 2

  let map: MemoryMap
  let space: AddressSpace
  let counters: CounterSet
  let ledger: Ledger
  let defects = DefectLog()
  let device: ScriptedDevice
  private(set) var engines: [DirectIOEngine] = []
  private let mail = Mail()

  /// Requests that the gate let in, by engine.
  private final class Mail: @unchecked Sendable {
    // Guard of the unchecked Sendable: the test's thread only.
    var letters: [(engine: Int, request: Int)] = []
  }

  init(device: ScriptedDevice, engineCount: Int = 2) throws {
    self.device = device
    let slots = engineCount * Self.requests
    map = MemoryMap(pageCount: 1 + 2 * slots * Self.slotPages, zeroPage: Page(0), hasMemory: true)
    let entries = (0..<map.table.count).map {
      PageTableEntry(page: Page($0), protection: .readWrite)
    }
    space = AddressSpace([(firstPage: Self.userBase >> 12, entries: entries)])
    counters = CounterSet(count: engineCount)
    ledger = Ledger(lineCount: slots)
    let mail = mail
    let gate = WriteGate { mail.letters.append((engine: $0.worker, request: $0.request)) }
    for worker in 0..<engineCount {
      let context = MemoryContext(
        pages: map.table, user: space.view, kernel: .linear, era: .v8,
        counters: counters.blocks[worker])
      engines.append(
        try DirectIOEngine(
          worker: worker,
          buffers: RequestBuffers(
            requestCount: Self.requests, maxIOBytes: Self.maxIO,
            blockSize: device.limits.logicalBlockSize, userBase: Self.userBase, pages: map.table,
            payloadPage: { Page(1 + (worker * Self.requests + $0) * Self.slotPages) },
            bouncePage: { Page(1 + (slots + worker * Self.requests + $0) * Self.slotPages) }),
          firstLine: worker * Self.requests, device: device, gate: gate, ledger: ledger,
          defects: defects, context: context))
    }
  }

  /// The caller's bytes of a request.
  func buffer(engine: Int, request: Int, offset: Int, count: Int) -> UnsafeMutableRawBufferPointer {
    unsafe map.table.memory(
      at: engines[engine].payloadPage(request), offset: offset, length: count)
  }

  /// Looks once at every engine, and hands on what the gate let in.
  /// - Returns: what finished.
  func turn() -> [(engine: Int, finished: FinishedRequest)] {
    var result: [(engine: Int, finished: FinishedRequest)] = []
    for (index, engine) in engines.enumerated() {
      _ = engine.poll()
      while let finished = engine.nextFinished() {
        engine.release(finished.index)
        result.append((index, finished))
      }
    }
    let letters = mail.letters
    mail.letters = []
    for letter in letters { engines[letter.engine].resume(letter.request) }
    return result
  }

  /// Runs one request on the first engine, alone.
  func result(of request: DirectRequest) -> Errno? {
    engines[0].start(0, request)
    var results: [(engine: Int, finished: FinishedRequest)] = []
    while results.isEmpty { results = turn() }
    return results[0].finished.error
  }

  /// Runs one request that must succeed, and leave nothing held.
  func transfer(
    _ request: DirectRequest, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    #expect(result(of: request) == nil, sourceLocation: sourceLocation)
    #expect(isBalanced, "\(defects.lines)", sourceLocation: sourceLocation)
  }

  /// What must hold when nothing is under way.
  var isBalanced: Bool {
    counters.sum(.simPinAcquired) == counters.sum(.simPinReleased)
      && counters.sum(.simGetAcquired) == counters.sum(.simGetReleased)
      && counters.sum(.simLeaks) == 0 && counters.sum(.simDoubleReleases) == 0
      && defects.lines.isEmpty && ledger.entries().isEmpty
      && (0..<map.table.count).allSatisfy { map.table.referenceCount(of: Page($0)) == 1 }
  }
}

extension SeededGenerator {
  /// Random bytes.
  mutating func bytes(count: Int) -> [UInt8] {
    let words = (0..<(count + 7) / 8).map { _ in next() }
    return unsafe words.withUnsafeBytes { unsafe Array($0.prefix(count)) }
  }
}
