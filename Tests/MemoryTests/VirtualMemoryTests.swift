// Processes: each rule of fork(), copy-on-write, writeback and migration by itself.

import Memory
import Testing

/// A machine with one process that has four anonymous pages, and what extraction needs.
private final class Processes {
  let memory: VirtualMemory
  let parent: ProcessID
  let counters = CounterSet(count: 1)

  init(movable: Int = 0, bugs: ModelBugs = []) throws {
    memory = VirtualMemory(
      frameCount: 24, movableFrameCount: movable, processPageCount: 4, filePageCount: 2, bugs: bugs)
    parent = try memory.spawn()
    memory.mapAnonymous(parent, pages: 0..<4)
  }

  /// Takes something on a page, as an extraction does.
  func take(
    _ process: ProcessID, _ page: Int, _ flags: FollFlags
  ) throws(Errno) -> Page {
    var list = PageList(runCapacity: 4)
    _ = try context(process).takeUserPages(
      at: memory.address(ofPage: page), pageCount: 1, flags: flags, into: &list)
    return list.page(at: 0)
  }

  func context(_ process: ProcessID) -> MemoryContext {
    MemoryContext(
      pages: memory.map.table, user: memory.view(of: process), kernel: .linear, era: .merged,
      counters: counters.blocks[0])
  }

  func release(_ page: Page, _ mode: FollFlags) {
    context(parent).release(PageRun(first: page, count: 1), mode: mode)
  }

  func write(_ process: ProcessID, _ page: Int, _ byte: UInt8) throws {
    try memory.write(process, at: memory.address(ofPage: page), [byte])
  }

  func byte(_ process: ProcessID, _ page: Int) throws -> UInt8 {
    try memory.read(process, at: memory.address(ofPage: page), count: 1)[0]
  }
}

@Suite("Virtual memory")
struct VirtualMemoryTests {
  @Test("reads the zero page until the first write")
  func zeroPage() throws {
    let rig = try Processes()
    #expect(try rig.byte(rig.parent, 0) == 0)
    #expect(rig.memory.page(of: rig.parent, at: 0) == Page(0))
    try rig.write(rig.parent, 0, 5)
    #expect(rig.memory.page(of: rig.parent, at: 0) != Page(0))
    #expect(rig.memory.defect() == nil)
  }

  @Test("shares pages at fork(), copies for the first writer, and gives the other the page back")
  func copyOnWrite() throws {
    let rig = try Processes()
    let memory = rig.memory
    try rig.write(rig.parent, 0, 1)
    let page = try #require(memory.page(of: rig.parent, at: 0))
    let child = try memory.fork(rig.parent)
    #expect(memory.page(of: child, at: 0) == page && memory.referenceCount(of: page) == 2)
    try rig.write(rig.parent, 0, 2)
    #expect(memory.page(of: rig.parent, at: 0) != page)
    #expect(try rig.byte(child, 0) == 1)
    // The child is alone with the old page now, and takes it over.
    try rig.write(child, 0, 3)
    #expect(memory.page(of: child, at: 0) == page)
    #expect(try rig.byte(rig.parent, 0) == 2)
    #expect(memory.defect() == nil)
  }

  @Test("copies a pinned page for the child at fork()", arguments: [FollFlags.pin, .get])
  func earlyCopy(_ mode: FollFlags) throws {
    let rig = try Processes()
    let page = try rig.take(rig.parent, 0, mode.union(.write))
    let child = try rig.memory.fork(rig.parent)
    #expect((rig.memory.page(of: child, at: 0) == page) == (mode == .get))
    try rig.write(rig.parent, 0, 9)
    #expect((rig.memory.page(of: rig.parent, at: 0) == page) == (mode == .pin))
    rig.release(page, mode)
    #expect(rig.memory.extraReferences(of: page) == 0 && rig.memory.defect() == nil)
  }

  @Test("does not let a writer take a page over that somebody refers to")
  func noReuse() throws {
    let rig = try Processes()
    let page = try rig.take(rig.parent, 0, [.get, .write])
    rig.memory.exit(try rig.memory.fork(rig.parent))
    try rig.write(rig.parent, 0, 1)
    #expect(rig.memory.page(of: rig.parent, at: 0) != page)
    // Nobody maps the page any more, and the reference keeps it.
    #expect(rig.memory.referenceCount(of: page) == 1)
    let free = rig.memory.freeFrameCount
    rig.release(page, .get)
    #expect(rig.memory.freeFrameCount == free + 1)
  }

  @Test("unshares a page before it is pinned for reading, and only then")
  func unshare() throws {
    let rig = try Processes()
    try rig.write(rig.parent, 0, 1)
    let page = try #require(rig.memory.page(of: rig.parent, at: 0))
    let child = try rig.memory.fork(rig.parent)
    #expect(try rig.take(child, 0, .get) == page)
    rig.release(page, .get)
    let pinned = try rig.take(child, 0, .pin)
    #expect(pinned != page)
    // What is written now goes where the hardware looks.
    try rig.write(child, 0, 2)
    #expect(rig.memory.page(of: child, at: 0) == pinned)
    rig.release(pinned, .pin)
    #expect(throws: Errno.badAddress) { try rig.take(rig.parent, 0, [.pin, .noFault]) }
  }

  @Test("refuses what a mapping does not allow")
  func refusals() throws {
    let rig = try Processes()
    rig.memory.mapAnonymous(rig.parent, pages: 1..<2, isReadOnly: true)
    rig.memory.unmap(rig.parent, pages: 2..<3)
    #expect(throws: Errno.badAddress) { try rig.take(rig.parent, 1, [.pin, .write]) }
    #expect(try rig.take(rig.parent, 1, .pin) == Page(0))
    #expect(throws: Errno.badAddress) { try rig.take(rig.parent, 2, .pin) }
    #expect(throws: Errno.badAddress) { try rig.take(rig.parent, 3, [.pin, .write, .noFault]) }
  }

  @Test("notices writers of a file page after writeback, but not hardware")
  func writeback() throws {
    let rig = try Processes()
    let memory = rig.memory
    memory.mapFile(rig.parent, pages: 0..<2, filePage: 0)
    try rig.write(rig.parent, 0, 7)
    #expect(memory.writeBack(filePage: 0) && !memory.writeBack(filePage: 0))
    #expect(memory.fileBytes[0] == 7)
    try rig.write(rig.parent, 0, 8)
    #expect(!memory.reclaim(filePage: 0) && memory.writeBack(filePage: 0))
    let page = try rig.take(rig.parent, 0, [.pin, .write])
    #expect(memory.writeBack(filePage: 0))
    #expect(!memory.map.table.isDirty(page) && !memory.reclaim(filePage: 0))
    rig.release(page, .pin)
    #expect(memory.reclaim(filePage: 0) && memory.cachedPage(ofFilePage: 0) == nil)
    #expect(try rig.byte(rig.parent, 0) == 8)
    rig.memory.mapFile(rig.parent, pages: 1..<2, filePage: 2)
    #expect(throws: Errno.badAddress) { try rig.byte(rig.parent, 1) }
  }

  @Test("shares file pages between processes after fork()")
  func sharedFile() throws {
    let rig = try Processes()
    rig.memory.mapFile(rig.parent, pages: 0..<1, filePage: 1)
    try rig.write(rig.parent, 0, 1)
    let child = try rig.memory.fork(rig.parent)
    try rig.write(child, 0, 2)
    #expect(try rig.byte(rig.parent, 0) == 2)
    #expect(rig.memory.defect() == nil)
  }

  @Test("moves a page with all its mappings unless somebody holds it")
  func migration() throws {
    let rig = try Processes()
    try rig.write(rig.parent, 0, 4)
    let child = try rig.memory.fork(rig.parent)
    let page = try #require(rig.memory.page(of: rig.parent, at: 0))
    let target = try rig.memory.migrate(page)
    #expect(rig.memory.page(of: rig.parent, at: 0) == target)
    #expect(rig.memory.page(of: child, at: 0) == target)
    #expect(try rig.byte(child, 0) == 4)
    for mode: FollFlags in [.pin, .get] {
      let held = try rig.take(rig.parent, 1, mode.union(.write))
      #expect(throws: Errno.wouldBlock) { try rig.memory.migrate(held) }
      rig.release(held, mode)
      try rig.memory.migrate(held)
    }
    #expect(rig.memory.defect() == nil)
  }

  @Test("moves a page out of movable memory before it is pinned for long")
  func longTerm() throws {
    let rig = try Processes(movable: 23)
    try rig.write(rig.parent, 0, 4)
    // Every frame is movable: there is nowhere to go.
    #expect(throws: Errno.badAddress) { try rig.take(rig.parent, 0, [.pin, .longTerm]) }
    let roomy = try Processes(movable: 12)
    for page in 0..<4 { try roomy.write(roomy.parent, page, UInt8(page)) }
    let page = try roomy.take(roomy.parent, 0, [.pin, .longTerm, .write])
    #expect(!roomy.memory.isMovable(page))
    #expect(roomy.memory.takeMovableFramesOffline().isEmpty)
    roomy.release(page, .pin)
    // A page that was never written is given a frame of its own, so that later writes are seen.
    roomy.memory.mapAnonymous(roomy.parent, pages: 1..<2)
    let untouched = try roomy.take(roomy.parent, 1, [.pin, .longTerm])
    #expect(untouched != Page(0))
    roomy.release(untouched, .pin)
  }

  @Test("keeps pinned pages after exit() until they are unpinned")
  func exitWithPins() throws {
    let rig = try Processes()
    let page = try rig.take(rig.parent, 0, [.pin, .write])
    rig.memory.exit(rig.parent)
    #expect(!rig.memory.isAlive(rig.parent) && rig.memory.freeFrameCount == 22)
    rig.release(page, .pin)
    #expect(rig.memory.freeFrameCount == 23)
  }

  @Test("makes no more processes than there is room for")
  func processLimit() throws {
    let rig = try Processes()
    for _ in 0..<3 { _ = try rig.memory.fork(rig.parent) }
    #expect(throws: Errno.wouldBlock) { try rig.memory.fork(rig.parent) }
  }

  @Test("undoes a fork() that runs out of memory")
  func forkWithoutMemory() throws {
    let memory = VirtualMemory(frameCount: 5, processPageCount: 4)
    let parent = try memory.spawn()
    memory.mapAnonymous(parent, pages: 0..<4)
    let counters = CounterSet(count: 1)
    let context = MemoryContext(
      pages: memory.map.table, user: memory.view(of: parent), kernel: .linear, era: .merged,
      counters: counters.blocks[0])
    var list = PageList(runCapacity: 4)
    _ = try context.takeUserPages(
      at: memory.base, pageCount: 4, flags: [.pin, .write], into: &list)
    #expect(throws: Errno.noMemory) { try memory.fork(parent) }
    #expect(memory.isAlive(parent) && memory.defect() == nil)
    for index in 0..<list.runCount { context.release(list.run(at: index), mode: .pin) }
  }
}
