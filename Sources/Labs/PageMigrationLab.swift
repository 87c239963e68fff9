// Who keeps a page from being moved, told as the kernel's page pinner tells it.

import Block
import IOVector
import Memory

extension Lab {
  /// A holder is named, with what it holds and for how long.
  static let pageMigration = Lab(
    name: "page-migration", title: "who keeps a page where it is, in page_pinner's words",
    page: """
      The incident. A large block of memory is wanted in one piece, for a camera or for huge pages, and migration is to \
      clear it. One page does not move, and the whole block is lost. The kernel knows that the page has more \
      references than mappings, but not whose they are. page_pinner, a debug feature of Android's kernels, notes for each \
      page that could not be moved who holds it, and when it was let go: count, reason, and how long. Our pages have \
      their holders in the open, so the same can be said here.

      Kernel commit: "mm: introduce page pinner" (Android's 5.10 and later; never merged into Linux).

      What to look for: during a read the page does not move, and the line says why: a pin shows as a count of 1,024 more, a \
      reference as one more, which could be anybody's. Under none nobody holds it, so it moves, and the read's data is \
      lost. When the bio has ended, the page moves at once.
      """
  ) { setup, story throws(Errno) in
    story.say("A direct read is in flight on a process's page. Migration tries to move the page,")
    story.say("is refused or not, and tries again when the bio has ended.")
    for cleanup in setup.cleanups {
      let rig = LabRig(setup)
      let memory = rig.memory
      let process = try memory.spawn()
      memory.mapAnonymous(process, pages: 0..<1)
      try memory.write(process, at: memory.base, [1])
      let read = try rig.start(.read, process, at: memory.base, count: pageSize, cleanup)
      let column = cleanup.rawValue
      let held = [
        "pin": "refused: count 1025, mapped 1, held by a pin",
        "get": "refused: count 2, mapped 1, held by a reference",
      ]
      story.observe(
        "migration during the read", column, expected: held[column] ?? "moved",
        happened: attempt(memory, process))
      rig.finish(read)
      story.observe(
        "the read's data", column, expected: rightOrWrong(cleanup == .none ? pageSize : 0),
        happened: rightOrWrong(
          try rig.wrongBytes(process, at: memory.base, count: pageSize)))
      story.observe(
        "migration after it", column, expected: "moved", happened: attempt(memory, process))
      story.observe("held at the end", column, expected: "0", happened: "\(rig.countsOnPages)")
    }
  }

  /// Tries to move a process's first page, and tells what page_pinner would.
  private static func attempt(_ memory: VirtualMemory, _ process: ProcessID) -> String {
    guard let page = memory.page(of: process, at: 0) else { return "not there" }
    do throws(Errno) {
      try memory.migrate(page)
      return "moved"
    } catch {
      let table = memory.map.table
      let count = table.referenceCount(of: table.head(of: page))
      let holder = table.mayBeDMAPinned(page) ? "a pin" : "a reference"
      return "refused: count \(count), mapped 1, held by \(holder)"
    }
  }
}
