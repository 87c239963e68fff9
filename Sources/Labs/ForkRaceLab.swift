// fork() while a direct read is under way.

import Block
import IOVector
import Memory

extension Lab {
  /// A reader forks, then touches a variable that shares a page with its buffer.
  static let forkRace = Lab(
    name: "fork-race", title: "fork() during a direct read",
    page: """
      The incident. A thread reads a file with O_DIRECT while another thread of the process calls fork(). fork() \
      shares every page with the child, write-protected. The next write by the parent to the page of its buffer, be \
      it to a variable that merely lies beside the buffer, gives the parent a fresh copy of that page. The device \
      goes on filling the old page, which is now the child's: the read succeeds, and the parent has stale bytes.

      A plain reference keeps the old page alive, and nothing more: that was direct I/O before the series. With not \
      even a reference, the old page is free once the child has gone, and the device writes into the memory of \
      whoever gets it next. A pin says that hardware may write to the page, and fork() copies it for the child at \
      once; the parent keeps the page that the device fills.

      Kernel commits: "mm: Do early cow for pinned pages during fork() for ptes" taught fork() to look at pins (5.9), \
      "mm: remember exclusively mapped anonymous pages with PG_anon_exclusive" made it exact (5.19), and "block: \
      convert bio_map_user_iov to use iov_iter_extract_pages" with its neighbours made direct I/O pin (6.5).

      What to look for: the parent's bytes differ under get and none, and a bystander's under none. The race is \
      injected into the model between filling the bio and the device's transfer; a fixed kernel does not show it.
      """
  ) { setup, story throws(Errno) in
    var generator = SeededGenerator(seed: setup.seed)
    let sector = generator.next() % 200
    story.say("A process starts a direct read of 7,680 bytes to 512 bytes after a page boundary.")
    story.say(
      "Injected while the device has the bio: fork(); the parent writes one byte in front of")
    story.say(
      "its buffer; the child exits; a bystander touches memory of its own for the first time.")
    story.say("Then the device fills the pages it was given (sector \(sector)), and the bio ends.")
    for cleanup in setup.cleanups {
      let outcome = try forkRace(setup, cleanup, sector: sector)
      let column = cleanup.rawValue
      let lost = cleanup == .pin ? 0 : 3584
      let harmed = cleanup == .none ? 3584 : 0
      story.observe(
        "the parent's buffer", column, expected: rightOrWrong(lost),
        happened: rightOrWrong(outcome.parent))
      story.observe(
        "the bystander's memory", column, expected: rightOrWrong(harmed),
        happened: rightOrWrong(outcome.bystander))
      story.observe(
        "the parent's page moved", column, expected: cleanup == .pin ? "no" : "yes",
        happened: outcome.moved ? "yes" : "no")
      story.observe("held at the end", column, expected: "0", happened: "\(outcome.held)")
    }
  }

  private static func forkRace(
    _ setup: LabSetup, _ cleanup: CleanupPolicy, sector: UInt64
  ) throws(Errno) -> (parent: Int, bystander: Int, moved: Bool, held: Int) {
    let rig = LabRig(setup)
    let memory = rig.memory
    let parent = try memory.spawn()
    memory.mapAnonymous(parent, pages: 0..<2)
    try memory.write(parent, at: memory.base, [UInt8](repeating: 0, count: 2 * pageSize))
    let buffer = memory.base + 512
    let transfer = try rig.start(.read, parent, at: buffer, count: 7680, sector: sector, cleanup)

    let child = try memory.fork(parent)
    try memory.write(parent, at: memory.base, [42])
    memory.exit(child)
    let bystander = try memory.spawn()
    memory.mapAnonymous(bystander, pages: 0..<2)
    let own = [UInt8](repeating: 0, count: 2 * pageSize)
    try memory.write(bystander, at: memory.base, own)

    rig.finish(transfer)
    let wrong = try rig.wrongBytes(
      parent, at: buffer, count: 7680, diskOffset: Int(sector) * 512)
    let seen = try memory.read(bystander, at: memory.base, count: own.count)
    return (
      wrong, differences(seen, own),
      memory.page(of: parent, at: 0) != transfer.pages.first, rig.countsOnPages
    )
  }
}
