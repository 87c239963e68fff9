// The shared zero page: written out again and again, and counted each time, or not.

import Block
import IOVector
import Memory

extension Lab {
  /// Many writes from memory that was never touched.
  static let zeroPage = Lab(
    name: "zero-page", title: "the count of the shared zero page",
    page: """
      The incident. Memory that was only read, never written, is one shared page of zeroes. Every direct write from \
      it takes something on that one page, for every virtual page again. A 32-bit count is not made for that: a \
      reference adds 1, a pin on a small page 1,024, so that some two million pins at once overflow it. And where \
      the release believes that such a page needs none, as vfio did, the count never comes down.

      Kernel commits: "vfio/type1: Unpin zero pages" (6.0) ended the leak, "mm: Don't pin ZERO_PAGE in \
      pin_user_pages()" (6.5) ended the counting under pins, and patch 4 of the series, "iomap: Don't get an \
      reference on ZERO_PAGE for direct I/O block zeroing", ended it where iomap pads a fresh block with zeroes.

      What to look for: while 32 writes of 16 pages each are in flight, the count is up by 512 under get, by 1,024 \
      times as much under the pins of version 8, and unchanged as merged. With the leak switched on the count stays \
      up after the writes, and their number until the overflow can be told. The leak is injected into the release.
      """
  ) { setup, story throws(Errno) in
    story.say(
      "A process reads 16 pages that it never wrote, and starts 32 direct writes from them.")
    story.say("Then the same with a release that skips the zero page (injected: zero-page-ref).")
    story.say("Then 32 bios pad a block with the zero page itself, as a list of pages.")
    for cleanup in setup.cleanups {
      let eras: [Era] = cleanup == .pin ? [.v8, .merged] : [.v8]
      for era in eras.map({ setup.era ?? $0 }).uniqued {
        try countZeroPage(setup, cleanup, era, &story)
      }
    }
  }

  private static func countZeroPage(
    _ setup: LabSetup, _ cleanup: CleanupPolicy, _ era: Era, _ story: inout LabStory
  ) throws(Errno) {
    let column = cleanup == .pin ? "pin (\(era.rawValue))" : cleanup.rawValue
    let pins = cleanup == .pin
    let perPage = cleanup == .none ? 0 : pins ? Int(pinCountingBias) : 1
    let counted = pins && !era.pinsZeroPage ? 0 : 512 * perPage
    let correct = try writeFromZeroPage(setup, cleanup, era, bugs: [])
    story.observe(
      "32 writes in flight", column, expected: "+\(counted)", happened: "+\(correct.inFlight)")
    story.observe("after them", column, expected: "+0", happened: "+\(correct.after)")
    let leaking = try writeFromZeroPage(setup, cleanup, era, bugs: .zeroPageRef)
    let leaked = 512 * perPage
    story.observe(
      "after, with the leak", column, expected: "+\(leaked)", happened: "+\(leaking.after)")
    let perWrite = leaking.after / 32
    story.observe(
      "overflow after", column,
      expected: leaked == 0 ? "never" : "\((1 << 31) / (leaked / 32)) writes",
      happened: perWrite == 0 ? "never" : "\((1 << 31) / perWrite) writes")
    let padding = try padWithZeroPage(setup, cleanup == .get ? .get : .auto, era)
    story.observe(
      "32 padded blocks in flight", column, expected: cleanup == .get ? "+32" : "+0",
      happened: "+\(padding)")
  }

  private static func writeFromZeroPage(
    _ setup: LabSetup, _ cleanup: CleanupPolicy, _ era: Era, bugs: ModelBugs
  ) throws(Errno) -> (inFlight: Int, after: Int) {
    let rig = LabRig(setup, era: era, bugs: bugs)
    let memory = rig.memory
    let process = try memory.spawn()
    memory.mapAnonymous(process, pages: 0..<16)
    _ = try memory.read(process, at: memory.base, count: 16 * pageSize)
    var transfers: [LabRig.Transfer] = []
    for _ in 0..<32 {
      transfers.append(
        try rig.start(.write, process, at: memory.base, count: 16 * pageSize, cleanup))
    }
    let inFlight = memory.extraReferences(of: Page(0))
    for transfer in transfers { rig.finish(transfer) }
    return (inFlight, memory.extraReferences(of: Page(0)))
  }

  /// The zero page as a segment of its own: owned by the kernel, so that nothing need be taken.
  private static func padWithZeroPage(
    _ setup: LabSetup, _ policy: CleanupPolicy, _ era: Era
  ) throws(Errno) -> Int {
    let rig = LabRig(setup, era: era)
    let process = try rig.memory.spawn()
    let table = LabTable([BioVec(page: Page(0), offset: 0, length: 512)])
    var transfers: [LabRig.Transfer] = []
    for _ in 0..<32 {
      var iterator = unsafe IOVIter(bioVectors: table.buffer, count: 512, direction: .source)
      transfers.append(try rig.start(.write, process, &iterator, policy))
    }
    let inFlight = rig.memory.extraReferences(of: Page(0))
    for transfer in transfers { rig.finish(transfer) }
    return inFlight
  }
}

extension Array where Element: Equatable {
  /// Each element once, in its first place.
  var uniqued: [Element] {
    reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }
}

/// A segment table that stays in place while bios use it.
@safe final class LabTable<Segment: BitwiseCopyable> {
  private let storage: UnsafeMutableBufferPointer<Segment>

  init(_ segments: [Segment]) {
    unsafe storage = .allocate(capacity: segments.count)
    _ = unsafe storage.initialize(from: segments)
  }

  deinit { unsafe storage.deallocate() }

  /// The segments, as long as this lives.
  @unsafe var buffer: UnsafeBufferPointer<Segment> { unsafe UnsafeBufferPointer(storage) }
}
