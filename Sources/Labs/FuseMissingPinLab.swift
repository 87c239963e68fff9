// A page moves while a read fills it.

import Block
import IOVector
import Memory

extension Lab {
  /// What is written is stored right, and returned wrong.
  static let fuseMissingPin = Lab(
    name: "fuse-missing-pin", title: "a page is moved while a read fills it",
    page: """
      The incident. A test on a FUSE filesystem writes a known string and reads it back with direct I/O. Now and then \
      the buffer holds something else, though the file is right. fuse.ko took the buffer's pages with \
      iov_iter_get_pages2(), that is with a reference, until 6.9. The report blames migration: the page's content \
      moves to another frame, the process is mapped to the new one, and the answer is copied into the old one.

      Kernel commit: "fs/fuse: Fix missing FOLL_PIN for direct-io" makes it iov_iter_extract_pages(), which pins.

      What to look for: with a mover that respects pins only, the read's bytes are wrong under get and none, and what \
      is stored is right under all. That mover is injected: folio_migrate_mapping() of 6.6 refuses a page with any \
      reference too many, as the first row shows, so that a plain reference is protection enough from it. It is \
      none from copy-on-write (see fork-race), and what is not held at all has no protection from anything.
      """
  ) { setup, story throws(Errno) in
    story.say(
      "A process writes 4,096 bytes to the disk, clears its buffer, and starts to read them back.")
    story.say(
      "First a mover as 6.6 has it tries to move the buffer's page: any reference refuses it.")
    story.say(
      "Then, injected, one that asks for pins only. Then the device fills the page it was given.")
    for cleanup in setup.cleanups {
      let column = cleanup.rawValue
      for rule: VirtualMemory.MigrationRule in [.everyReference, .pinsOnly] {
        let outcome = try missingPin(setup, cleanup, rule)
        let injected = rule == .pinsOnly
        let moves = cleanup == .none || (injected && cleanup == .get)
        story.observe(
          injected ? "a mover that asks for pins only" : "a mover as in 6.6", column,
          expected: moves ? "moves the page" : "is refused",
          happened: outcome.moved ? "moves the page" : "is refused")
        if !injected { continue }
        story.observe(
          "stored on disk", column, expected: "right", happened: rightOrWrong(outcome.stored))
        story.observe(
          "returned to the reader", column, expected: rightOrWrong(moves ? pageSize : 0),
          happened: rightOrWrong(outcome.returned))
      }
    }
  }

  private static func missingPin(
    _ setup: LabSetup, _ cleanup: CleanupPolicy, _ rule: VirtualMemory.MigrationRule
  ) throws(Errno) -> (moved: Bool, stored: Int, returned: Int) {
    let rig = LabRig(setup)
    let memory = rig.memory
    var generator = SeededGenerator(seed: setup.seed)
    let text = (0..<pageSize).map { _ in UInt8.random(in: 1...255, using: &generator) }
    let process = try memory.spawn()
    memory.mapAnonymous(process, pages: 0..<1)
    try memory.write(process, at: memory.base, text)
    rig.finish(
      try rig.start(.write, process, at: memory.base, count: pageSize, sector: 64, cleanup))
    try memory.write(process, at: memory.base, [UInt8](repeating: 0, count: pageSize))

    let read = try rig.start(
      .read, process, at: memory.base, count: pageSize, sector: 64, cleanup)
    do throws(Errno) {
      try memory.migrate(read.pages[0], rule: rule)
    } catch .wouldBlock {
      // Refused: the page stays, which is what the observation looks at.
    }
    let moved = memory.page(of: process, at: 0) != read.pages[0]
    rig.finish(read)
    let seen = try memory.read(process, at: memory.base, count: pageSize)
    let stored = rig.disk.bytes[64 << 9..<(64 << 9) + pageSize]
    return (
      moved, differences(Array(stored), text), differences(seen, text)
    )
  }
}
