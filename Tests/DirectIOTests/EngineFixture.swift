// Engines over one scripted device, as workers have them.

import Block
import DirectIO
import IOVector
import Memory
import TestSupport
import Testing

/// A few engines that share a device and their slots, all driven by the test's thread. Every request is given one
/// file's gate.
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
  let buffers: RequestBuffers
  let gate: WriteGate
  private(set) var engines: [DirectIOEngine] = []
  private let mail = Mail()
  /// Gates of other files: requests do not keep theirs.
  private var otherGates: [WriteGate] = []

  /// Requests that the gate let in, by engine.
  private final class Mail: @unchecked Sendable {
    // Guard of the unchecked Sendable: the test's thread only.
    var letters: [WriteGate.Waiter] = []
  }

  init(
    device: ScriptedDevice, engineCount: Int = 2, bioCount: Int = DirectIOEngine.defaultBioCount
  ) throws {
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
    gate = WriteGate { mail.letters.append($0) }
    buffers = RequestBuffers(
      requestCount: slots, maxIOBytes: Self.maxIO, blockSize: device.limits.logicalBlockSize,
      userBase: Self.userBase, pages: map.table,
      payloadPage: { Page(1 + $0 * Self.slotPages) },
      bouncePage: { Page(1 + (slots + $0) * Self.slotPages) })
    for worker in 0..<engineCount {
      let context = MemoryContext(
        pages: map.table, user: space.view, kernel: .linear, era: .v8,
        counters: counters.blocks[worker])
      engines.append(
        try DirectIOEngine(
          worker: worker, buffers: buffers, device: device, ledger: ledger, defects: defects,
          context: context, bioCount: bioCount))
    }
  }

  /// A gate of another file.
  func anotherGate() -> WriteGate {
    let gate = WriteGate { [mail] in mail.letters.append($0) }
    otherGates.append(gate)
    return gate
  }

  /// The slot that an engine uses for a request of its own count.
  func slot(engine: Int, _ request: Int) -> Slot { Slot(engine * Self.requests + request) }

  /// Starts a request in a slot of an engine, with the extents of `extents`, or with its own.
  func start(
    engine: Int = 0, _ request: Int, _ direct: DirectRequest, extents: [Extent] = [],
    gate other: WriteGate? = nil
  ) {
    let slot = slot(engine: engine, request)
    buffers[extents: slot].removeAll()
    for extent in extents { buffers[extents: slot].append(extent) }
    var direct = direct
    direct.setGate(other ?? gate)
    engines[engine].start(slot, direct)
  }

  /// The caller's bytes of a request.
  func buffer(engine: Int, request: Int, offset: Int, count: Int) -> UnsafeMutableRawBufferPointer {
    unsafe map.table.memory(
      at: buffers.payloadPage(slot(engine: engine, request)), offset: offset, length: count)
  }

  /// Looks once at every engine, and hands on what the gate let in.
  /// - Parameter releases: whether what finished is released at once.
  /// - Returns: what finished.
  func turn(releases: Bool = true) -> [Ended] {
    var result: [Ended] = []
    for (index, engine) in engines.enumerated() {
      _ = engine.poll()
      while let finished = engine.nextFinished() {
        if releases { engine.release(finished.slot) }
        result.append(
          Ended(
            engine: index, request: finished.slot.number - index * Self.requests,
            error: finished.error, latencyNanoseconds: finished.latencyNanoseconds))
      }
    }
    let letters = mail.letters
    mail.letters = []
    for letter in letters { engines[letter.worker].resume(letter.slot) }
    return result
  }

  /// Runs one request on the first engine, alone.
  func result(of request: DirectRequest, extents: [Extent] = []) -> Errno? {
    start(0, request, extents: extents)
    return finish(1)[0].error
  }

  /// Turns until so many requests have ended.
  @discardableResult func finish(_ count: Int) -> [Ended] {
    var ended: [Ended] = []
    while ended.count < count { ended += turn() }
    return ended
  }

  /// Runs one request that must succeed, and leave nothing held.
  func transfer(
    _ request: DirectRequest, extents: [Extent] = [],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    #expect(result(of: request, extents: extents) == nil, sourceLocation: sourceLocation)
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

/// A request that is through.
struct Ended {
  let engine: Int
  let request: Int
  let error: Errno?
  let latencyNanoseconds: Int
}

extension SeededGenerator {
  /// Random bytes.
  mutating func bytes(count: Int) -> [UInt8] {
    let words = (0..<(count + 7) / 8).map { _ in next() }
    return unsafe words.withUnsafeBytes { unsafe Array($0.prefix(count)) }
  }
}
