// A file's page under DMA while it is written back.

import Block
import IOVector
import Memory

extension Lab {
  /// Who dirties the page, and when.
  static let pinnedWriteback = Lab(
    name: "pinned-writeback", title: "writeback of a file page that a read is filling",
    page: """
      The incident. A process maps a file, and reads from a device with O_DIRECT straight into the mapping. The page \
      is dirty from the start, since the device will write to it. Before the data has come, writeback cleans it: it \
      writes out the old bytes and takes write access away, to notice the next writer. The device is not noticed. If \
      nobody dirties the page again once the data is there, it is a clean page with new content, and memory pressure \
      drops it: the file shows the old bytes again. The dirtying has to come before the page is let go, since \
      afterwards it may be somebody else's.

      Kernel commits: "mm: introduce put_user_page*(), placeholder versions" began the work that led to pins, because \
      of this very race (5.2). bio_set_pages_dirty() before the transfer, and bio_check_pages_dirty() or \
      bio_release_pages() at its end, are what keeps the data of bios.

      What to look for: under pin and get the page cannot be dropped during the transfer, is dirty at the end of the \
      bio, and the file has the new bytes. Under none nothing of this holds: the frame is given away during the \
      transfer, and the data goes to whoever has it. With dirty-too-late (injected) even the pinned page is \
      dropped before it is dirtied, and the bytes are lost. The writeback and the memory pressure are injected.
      """
  ) { setup, story throws(Errno) in
    story.say(
      "A direct read of 4,096 bytes into a mapped file page. Injected while the device has it:")
    story.say("writeback, which cleans and write-protects the page, then memory pressure.")
    story.say("Then the device fills the page, the bio ends, and memory is short again.")
    for cleanup in setup.cleanups {
      let column = cleanup.rawValue
      let holds = cleanup != .none
      let correct = try writeBackDuringRead(setup, cleanup, [])
      story.observe(
        "dropped during the read", column, expected: holds ? "no" : "yes",
        happened: correct.droppedEarly ? "yes" : "no")
      story.observe(
        "in the file afterwards", column, expected: rightOrWrong(holds ? 0 : pageSize),
        happened: rightOrWrong(correct.wrong))
      let late = try writeBackDuringRead(setup, cleanup, .dirtyTooLate)
      story.observe(
        "with dirty-too-late", column, expected: rightOrWrong(pageSize),
        happened: rightOrWrong(late.wrong))
    }
  }

  private static func writeBackDuringRead(
    _ setup: LabSetup, _ cleanup: CleanupPolicy, _ bugs: ModelBugs
  ) throws(Errno) -> (droppedEarly: Bool, wrong: Int) {
    let rig = LabRig(setup, filePages: 1, bugs: bugs)
    let memory = rig.memory
    let process = try memory.spawn()
    memory.mapFile(process, pages: 0..<1, filePage: 0)
    let read = try rig.start(.read, process, at: memory.base, count: pageSize, cleanup)
    memory.writeBack(filePage: 0)
    let droppedEarly = memory.reclaim(filePage: 0)
    rig.finish(read)
    memory.reclaim(filePage: 0)
    // Too late: by now the page is in nobody's cache, or clean for good.
    memory.writeBack(filePage: 0)
    let wrong = try rig.wrongBytes(process, at: memory.base, count: pageSize)
    let onDisk = differences(memory.fileBytes, Array(rig.disk.bytes.prefix(pageSize)))
    return (droppedEarly, max(wrong, onDisk))
  }
}
