// Many small segments in one page.

import Block
import IOVector
import Memory

extension Lab {
  /// Each segment pins the page; the bio needs one pin.
  static let samePageMerge = Lab(
    name: "same-page-merge", title: "many segments of one page, one pin",
    page: """
      The incident. A process passes eight segments of 512 bytes that lie one after the other in one page. Each is \
      extracted by itself, and each extraction pins the page. The bio merges them into one segment, and its end \
      will unpin the page once. So every merge within the page has to give its own pin back at once. The path of \
      pass-through requests lost count of that: it gave back one pin for a whole extraction, or none.

      Kernel commit: "block: fix pin count management when merging same-page segments" (6.6).

      What to look for: eight taken, seven given back at once, one held; the same for pass-through. Linux 7.3 merges \
      nothing in a file's direct I/O: there all eight are held, by eight segments. With the bug \
      (merge-keeps-pin, injected) seven stay for good. Under get the same holds for references, under none there is \
      nothing to lose count of.
      """
  ) { setup, story throws(Errno) in
    story.say("Eight segments of 512 bytes, one after the other in one page, as one direct write.")
    story.say(
      "First as a file's direct I/O, then as a pass-through request, then as a pass-through")
    story.say("request with the count lost (injected: merge-keeps-pin).")
    for cleanup in setup.cleanups {
      let taken = cleanup == .none ? 0 : 8
      let held = cleanup == .none ? 0 : 1
      let good = "\(taken) taken, \(held) held, 0 left"
      let merges = (setup.era ?? .v8).rules.contains(.mergesPieces)
      let direct = merges ? good : "\(taken) taken, \(taken) held, 0 left"
      let bad = "\(taken) taken, \(taken) held, \(taken - held) left"
      let column = cleanup.rawValue
      story.observe(
        "direct I/O", column, expected: direct,
        happened: try mergeInPage(setup, cleanup, false, []))
      story.observe(
        "pass-through", column, expected: good, happened: try mergeInPage(setup, cleanup, true, []))
      story.observe(
        "pass-through, count lost", column, expected: bad,
        happened: try mergeInPage(setup, cleanup, true, .mergeKeepsPin))
    }
  }

  private static func mergeInPage(
    _ setup: LabSetup, _ cleanup: CleanupPolicy, _ passThrough: Bool, _ bugs: ModelBugs
  ) throws(Errno) -> String {
    let rig = LabRig(setup, bugs: bugs)
    let memory = rig.memory
    let process = try memory.spawn()
    memory.mapAnonymous(process, pages: 0..<1)
    try memory.write(process, at: memory.base, [1])
    let table = LabTable(
      (0..<8).map { IOVec(base: memory.base + UInt64($0) * 512, length: 512) })
    var iterator = unsafe IOVIter(userVectors: table.buffer, count: 4096, direction: .source)
    let transfer = try rig.start(
      passThrough ? .driverOut : .write, process, &iterator, passThrough: passThrough, cleanup)
    let taken =
      rig.counters.value(of: .simPinAcquired) + rig.counters.value(of: .simGetAcquired)
    let held = rig.countsOnPages
    rig.finish(transfer)
    return "\(taken) taken, \(held) held, \(rig.countsOnPages) left"
  }
}
