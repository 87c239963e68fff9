// Pins that last, and memory that has to leave.

import Block
import IOVector
import Memory

extension Lab {
  /// Long-term pins move out of the way first; short ones that last are in it.
  static let longterm = Lab(
    name: "longterm", title: "long-term pins against memory that is to be taken away",
    page: """
      The incident. A block of memory is to be unplugged, so everything in it has to move. A page that is pinned \
      cannot: the hardware knows its address. A direct read is soon over, so the mover tries again. But RDMA, vfio or \
      registered io_uring buffers hold their pins for as long as a program runs, and one such page keeps the whole \
      block in the machine. Whoever pins for long has to say so (FOLL_LONGTERM); the page is then moved out of the \
      movable zone first, and pinned where it may stay.

      Kernel commit: "mm/gup: migrate pinned pages out of movable zone" (5.13).

      What to look for: with a long-term pin the page leaves its frame before it is pinned, and the memory can be \
      taken away. With a pin or reference held by a bio in flight it cannot, until the bio has ended. With nothing \
      held, the memory is taken away under the device, and the read is wrong. And a page that somebody else holds \
      cannot leave: the long-term pin is refused. Pins for reading have a rule of their own: a page that is shared \
      after fork() is made the process's own before it is pinned, so that hardware sees what is written later; a \
      reference stays with the old page.
      """
  ) { setup, story throws(Errno) in
    story.say(
      "A machine whose second half is movable, and is to be unplugged. A process's page lies there."
    )
    story.say(
      "First a direct read is in flight on it, then a long-term pin is taken on it instead.")
    story.say("Last, a page shared with a child is held for reading, and the parent writes to it.")
    for cleanup in setup.cleanups {
      try unplugUnderRead(setup, cleanup, &story)
      try unplugUnderLongTermPin(setup, cleanup, &story)
      try readSharedPage(setup, cleanup, &story)
    }
  }

  /// A process whose first page lies in a movable frame, all others being in use at that moment.
  private static func movableProcess(_ rig: LabRig) throws(Errno) -> ProcessID {
    let memory = rig.memory
    let filler = try memory.spawn()
    memory.mapAnonymous(filler, pages: 0..<7)
    try memory.write(filler, at: memory.base, [UInt8](repeating: 1, count: 7 * pageSize))
    let process = try memory.spawn()
    memory.mapAnonymous(process, pages: 0..<1)
    try memory.write(process, at: memory.base, [2])
    memory.exit(filler)
    return process
  }

  private static func unplugUnderRead(
    _ setup: LabSetup, _ cleanup: CleanupPolicy, _ story: inout LabStory
  ) throws(Errno) {
    let rig = LabRig(setup, frames: 16, movableFrames: 8)
    let memory = rig.memory
    let process = try movableProcess(rig)
    let read = try rig.start(.read, process, at: memory.base, count: pageSize, cleanup)
    let stuck = memory.takeMovableFramesOffline()
    let isReads = stuck.allSatisfy { read.pages.contains($0) }
    rig.finish(read)
    let wrong = try rig.wrongBytes(process, at: memory.base, count: pageSize)
    let column = cleanup.rawValue
    story.observe(
      "unplugging during a read", column, expected: cleanup == .none ? "done" : "refused by 1 page",
      happened: stuck.isEmpty ? "done" : "refused by \(stuck.count) page")
    story.observe(
      "the read's data", column, expected: rightOrWrong(cleanup == .none ? pageSize : 0),
      happened: rightOrWrong(wrong))
    // As Android's page_pinner has it: what was detected in the way, then who released it.
    story.observe(
      "detected in the way", column, expected: cleanup == .none ? "nothing" : "the read's page",
      happened: stuck.isEmpty ? "nothing" : isReads ? "the read's page" : "another page")
    if stuck.isEmpty { return }
    let isFree = stuck.allSatisfy { memory.extraReferences(of: $0) == 0 }
    story.observe(
      "then released by", column, expected: "the read's end",
      happened: isFree ? "the read's end" : "nobody")
    story.observe(
      "unplugging after it", column, expected: "done",
      happened: memory.takeMovableFramesOffline().isEmpty ? "done" : "refused")
  }

  /// What hardware sees of a write that comes after the page was taken for reading.
  private static func readSharedPage(
    _ setup: LabSetup, _ cleanup: CleanupPolicy, _ story: inout LabStory
  ) throws(Errno) {
    let rig = LabRig(setup)
    let memory = rig.memory
    let parent = try memory.spawn()
    memory.mapAnonymous(parent, pages: 0..<1)
    try memory.write(parent, at: memory.base, [UInt8](repeating: 0, count: pageSize))
    _ = try memory.fork(parent)
    let transfer = try rig.start(.write, parent, at: memory.base, count: pageSize, cleanup)
    try memory.write(parent, at: memory.base, [UInt8](repeating: 7, count: pageSize))
    rig.finish(transfer)
    let seen = rig.disk.bytes[0]
    story.observe(
      "hardware reads a shared page", cleanup.rawValue,
      expected: cleanup == .pin ? "sees new bytes" : "sees old bytes",
      happened: seen == 7 ? "sees new bytes" : seen == 0 ? "sees old bytes" : "sees others")
  }

  private static func unplugUnderLongTermPin(
    _ setup: LabSetup, _ cleanup: CleanupPolicy, _ story: inout LabStory
  ) throws(Errno) {
    if cleanup != .pin { return }
    let rig = LabRig(setup, frames: 16, movableFrames: 8)
    let memory = rig.memory
    let process = try movableProcess(rig)
    let context = rig.context(of: process)
    let flags: FollFlags = [.pin, .write, .longTerm]
    var list = PageList(runCapacity: 1)

    let read = try rig.start(.read, process, at: memory.base, count: pageSize, cleanup)
    var answer = "granted"
    do throws(Errno) {
      _ = try context.takeUserPages(at: memory.base, pageCount: 1, flags: flags, into: &list)
    } catch {
      answer = "refused"
    }
    rig.finish(read)
    story.observe("long-term pin during a read", "pin", expected: "refused", happened: answer)

    list.removeAll()
    let before = memory.page(of: process, at: 0)
    _ = try context.takeUserPages(at: memory.base, pageCount: 1, flags: flags, into: &list)
    let moved = memory.page(of: process, at: 0) != before
    story.observe(
      "long-term pin after it", "pin", expected: "moved first",
      happened: moved ? "moved first" : "in place")
    let stuck = memory.takeMovableFramesOffline()
    story.observe(
      "unplugging under it", "pin", expected: "done", happened: stuck.isEmpty ? "done" : "refused")
    context.release(list.run(at: 0), mode: .pin)
    story.observe("held at the end", "pin", expected: "0", happened: "\(rig.countsOnPages)")
  }
}
