// Finding the request that did not give everything back.

import Block
import DirectIO
import IOVector
import Memory

extension Lab {
  /// The direct-I/O engine with a bug in the release of its bios.
  static let leakHunt = Lab(
    name: "leak-hunt", title: "which request left pages held",
    page: """
      The incident. An error path, a merge or an end-of-loop condition releases one page too few. Nothing fails: the \
      page can never be moved, freed or taken offline again, and nobody knows whose it was. The history of the block \
      layer has several, such as the page left behind by a zone append that did not fit.

      Kernel commits: "block: Fix page refcounts for unaligned buffers in __bio_release_pages()" (6.9) and "block: fix \
      pin count management when merging same-page segments" (6.6).

      What to look for: every request whose buffer was mapped is named in the log of defects with the pages it left \
      held, and the requests that went through the bounce buffer are not, since they hold nothing of the caller's. \
      Under none nothing is taken, so nothing can be left. Without the bug the log is empty. The bug \
      (release-one-short) is injected into the end of the bio.
      """
  ) { setup, story throws(Errno) in
    var generator = SeededGenerator(seed: setup.seed)
    let shifts = (0..<8).map { _ in Bool.random(using: &generator) ? 0 : 8 }
    let mapped = shifts.indices.filter { shifts[$0] == 0 }.map { "\($0 + 1)" }
    story.say(
      "The engine reads eight times 8 KiB; the seed decides which buffers are aligned for the device:"
    )
    story.say(
      "requests \(mapped.joined(separator: " ")) are, and are mapped; the others are bounced.")
    story.say(
      "Injected: release-one-short, a bio's end forgets its last page. Then the same without it.")
    for cleanup in setup.cleanups {
      let column = cleanup.rawValue
      let holds = cleanup != .none
      let broken = try hunt(setup, cleanup, shifts, bugs: .releaseOneShort)
      story.observe(
        "pages left held", column, expected: holds ? "\(mapped.count)" : "0",
        happened: "\(broken.leaks)")
      story.observe(
        "requests named", column, expected: holds ? mapped.joined(separator: " ") : "",
        happened: broken.named.joined(separator: " "))
      let fixed = try hunt(setup, cleanup, shifts, bugs: [])
      story.observe(
        "without the bug", column, expected: "0 left, 0 named",
        happened: "\(fixed.leaks) left, \(fixed.named.count) named")
    }
  }

  private static func hunt(
    _ setup: LabSetup, _ cleanup: CleanupPolicy, _ shifts: [Int], bugs: ModelBugs
  ) throws(Errno) -> (leaks: Int, named: [String]) {
    let rig = try EngineRig(setup, bugs: bugs)
    for (index, shift) in shifts.enumerated() {
      rig.run(
        DirectRequest(
          isWrite: false, unique: RequestNumber(UInt64(index + 1)), inode: 2,
          fileOffset: index << 13,
          deviceOffset: index << 13, length: 8192, dataOffset: shift,
          shape: RequestShape(cleanup: cleanup, era: setup.era ?? .v8)))
    }
    let named = rig.defects.lines.map { line in
      String(line.split(separator: " ").dropFirst().first ?? "")
    }
    return (rig.leaks, named)
  }
}

/// The direct-I/O engine over a lab's disk, with one request at a time.
final class EngineRig {
  static let maxIO = 64 << 10
  private static let slotPages = maxIO / pageSize + 2
  private static let userBase: UInt64 = 1 << 32

  let map: MemoryMap
  let disk: LabDisk
  let defects = DefectLog()
  private let space: AddressSpace
  private let counters = CounterSet(count: 1)
  private let engine: DirectIOEngine

  init(_ setup: LabSetup, diskBytes: Int = 64 << 10, bugs: ModelBugs = []) throws(Errno) {
    let slotPages = Self.slotPages
    map = MemoryMap(pageCount: 1 + 2 * slotPages, zeroPage: Page(0), hasMemory: true)
    let entries = (0..<map.table.count).map {
      PageTableEntry(page: Page($0), protection: .readWrite)
    }
    space = AddressSpace([(firstPage: Self.userBase >> 12, entries: entries)])
    disk = LabDisk(byteCount: diskBytes, blockSize: 512, seed: setup.seed)
    var context = MemoryContext(
      pages: map.table, user: space.view, kernel: .linear, era: setup.era ?? .v8,
      counters: counters.blocks[0])
    context.bugs = setup.bugs.union(bugs)
    engine = try DirectIOEngine(
      worker: 0,
      buffers: RequestBuffers(
        requestCount: 1, maxIOBytes: Self.maxIO, blockSize: disk.limits.logicalBlockSize,
        userBase: Self.userBase, pages: map.table, payloadPage: { _ in Page(1) },
        bouncePage: { _ in Page(1 + slotPages) }),
      device: disk, ledger: Ledger(lineCount: 1), defects: defects,
      context: context)
  }

  /// Runs one request to its end.
  func run(_ request: DirectRequest) {
    engine.start(0, request)
    while engine.nextFinished() == nil { _ = engine.poll() }
    engine.release(0)
  }

  /// The caller's bytes.
  func payload(offset: Int, count: Int) -> [UInt8] {
    unsafe Array(map.table.memory(at: Page(1), offset: offset, length: count))
  }

  /// Sets the caller's bytes.
  func fillPayload(with byte: UInt8) {
    unsafe map.table.memory(at: Page(1), offset: 0, length: Self.maxIO)
      .initializeMemory(as: UInt8.self, repeating: byte)
  }

  /// Pages left held.
  var leaks: Int { counters.sum(.simLeaks) }
  /// Bytes that went through the bounce buffer so far.
  var bouncedBytes: Int { counters.sum(.bouncedBytes) }
  /// Whether nothing is held.
  var isBalanced: Bool {
    counters.sum(.simPinAcquired) == counters.sum(.simPinReleased)
      && counters.sum(.simGetAcquired) == counters.sum(.simGetReleased)
      && counters.sum(.simDoubleReleases) == 0
  }
}
