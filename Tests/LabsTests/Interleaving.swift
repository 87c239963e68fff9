// Random schedules, run on the machine with real iterators and bios, and on the reference model, step by step.

import Block
import IOVector
import Memory
import TestSupport

/// A machine that is used for schedule after schedule, since making one takes longer than a schedule.
@safe final class Interleaving {
  static let halfSize = 2048
  private static let processLimit = 4

  /// A transfer at the device.
  private struct Transfer {
    let bio: BioIndex
    let process: Int
    let isRead: Bool
    let isPinned: Bool
    let cells: [(cell: Cell, half: Int)]
  }

  /// Something that is not as the reference model has it.
  struct Difference: Error, CustomStringConvertible { let description: String }

  private let memory: VirtualMemory
  private let counters = CounterSet(count: 1)
  private let pools: [BioPool]
  private let segments: UnsafeMutablePointer<IOVec>
  private var generator: SeededGenerator
  private var model = ReferenceModel(file: Cell())
  private var transfers: [Transfer] = []

  init(seed: UInt64, era: Era = .merged, bugs: ModelBugs = []) {
    let memory = VirtualMemory(
      frameCount: 36, movableFrameCount: 8, processLimit: Self.processLimit,
      processPageCount: ReferenceModel.pageCount, filePageCount: 1, bugs: bugs)
    self.memory = memory
    let block = counters.blocks[0]
    pools = (0..<Self.processLimit).map { index in
      var context = MemoryContext(
        pages: memory.map.table, user: memory.view(of: ProcessID(index: index)), kernel: .linear,
        era: era, counters: block)
      context.bugs = bugs
      return BioPool(slotCount: 24, vectorsPerBio: 8, context: context)
    }
    unsafe segments = .allocate(capacity: 8)
    generator = SeededGenerator(seed: seed)
  }

  deinit { unsafe segments.deallocate() }

  private func random(_ bound: Int) -> Int {
    Int(truncatingIfNeeded: generator.next() >> 8) % bound
  }

  // MARK: A schedule

  /// Runs one schedule of random steps from an empty machine to an empty machine.
  func run() throws {
    transfers = []
    model = ReferenceModel(file: Cell((fileWord(0), fileWord(1))))
    let first = try memory.spawn()
    map(first.index)
    do {
      for _ in 0..<8 + random(9) { try step() }
      try compare()
      while !transfers.isEmpty { try finish(transfers.count - 1) }
      try compare()
    } catch {
      endAll()
      throw error
    }
    endAll()
    try checkNothingIsLeft()
  }

  private func map(_ process: Int) {
    let last = ReferenceModel.filePage
    memory.mapAnonymous(ProcessID(index: process), pages: 0..<last)
    memory.mapFile(ProcessID(index: process), pages: last..<last + 1, filePage: 0)
    model.processes[process] = [.untouched, .untouched, .untouched, .file]
  }

  private func endAll() {
    for transfer in transfers { pools[transfer.process].adopt(transfer.bio).end() }
    transfers = []
    for process in model.processes.keys { memory.exit(ProcessID(index: process)) }
  }

  private func checkNothingIsLeft() throws {
    memory.writeBack(filePage: 0)
    memory.reclaim(filePage: 0)
    let block = counters.blocks[0]
    if memory.freeFrameCount != 35 { throw Difference(description: "frames are still in use") }
    if memory.extraReferences(of: Page(0)) != 0 {
      throw Difference(description: "the zero page is still held")
    }
    if block.value(of: .simPinAcquired) != block.value(of: .simPinReleased)
      || block.value(of: .simGetAcquired) != block.value(of: .simGetReleased)
      || block.value(of: .simDoubleReleases) != 0
    {
      throw Difference(description: "the counters do not balance")
    }
  }

  private func step() throws {
    let processes = model.processes.keys.sorted()
    guard !processes.isEmpty else { return }
    let process = processes[random(processes.count)]
    let page = random(ReferenceModel.pageCount)
    switch random(20) {
    case 0...4: try write(process, page)
    case 5...6: try read(process, page)
    case 7...8: try fork(process)
    case 9...13: try start(process, page)
    case 14...16: if !transfers.isEmpty { try finish(random(transfers.count)) }
    case 17:
      switch random(3) {
      case 0: memory.writeBack(filePage: 0)
      case 1: memory.reclaim(filePage: 0)
      default: try migrate(process, page)
      }
    case 18:
      if processes.count > 1 {
        memory.exit(ProcessID(index: process))
        model.processes[process] = nil
      }
    default: remap(process, page)
    }
  }

  // MARK: Steps

  private func address(_ page: Int, _ half: Int) -> UInt64 {
    memory.address(ofPage: page) + UInt64(half * Self.halfSize)
  }

  private func write(_ process: Int, _ page: Int) throws {
    let half = random(2)
    let value = generator.next()
    var happened = true
    do {
      try unsafe withUnsafeBytes(of: value) { bytes in
        try unsafe memory.write(ProcessID(index: process), at: address(page, half), bytes)
      }
    } catch {
      happened = false
    }
    let cell = model.writableCell(process, page)
    if happened != (cell != nil) { throw Difference(description: "a write should have failed") }
    cell?[half] = value
  }

  private func read(_ process: Int, _ page: Int) throws {
    let half = random(2)
    var bytes: [UInt8] = []
    do {
      bytes = try memory.read(ProcessID(index: process), at: address(page, half), count: 8)
    } catch {
      if model.cell(process, page) != nil { throw error }
      return
    }
    let value = unsafe bytes.withUnsafeBytes { unsafe $0.loadUnaligned(as: UInt64.self) }
    if value != model.cell(process, page)?[half] {
      throw Difference(description: "process \(process) read something else from page \(page)")
    }
  }

  private func fork(_ process: Int) throws {
    if model.processes.count == Self.processLimit { return }
    let child = try memory.fork(ProcessID(index: process))
    model.fork(process, to: child.index)
  }

  private func remap(_ process: Int, _ page: Int) {
    if page == ReferenceModel.filePage { return }
    if case .unmapped = model.processes[process]?[page] {
      memory.mapAnonymous(ProcessID(index: process), pages: page..<page + 1)
      model.processes[process]?[page] = .untouched
    } else {
      memory.unmap(ProcessID(index: process), pages: page..<page + 1)
      model.processes[process]?[page] = .unmapped
    }
  }

  /// A page that anybody holds stays; any other may move, and nobody sees it.
  private func migrate(_ process: Int, _ page: Int) throws {
    guard let frame = memory.page(of: ProcessID(index: process), at: page), frame != Page(0) else {
      return
    }
    let cell = model.cell(process, page)
    let isPinned = transfers.contains { $0.isPinned && $0.cells.contains { $0.cell === cell } }
    do {
      try memory.migrate(frame)
    } catch {
      return
    }
    if isPinned { throw Difference(description: "a pinned page was moved") }
  }

  /// Starts a transfer of one to four half pages, each a segment of its own.
  private func start(_ process: Int, _ page: Int) throws {
    let isRead = random(2) == 0
    let isPinned = random(4) != 0
    let firstHalf = random(2)
    let count = 1 + random(min(4, 2 * (ReferenceModel.pageCount - page) - firstHalf))
    for index in 0..<count {
      unsafe segments[index] = IOVec(
        base: address(page, firstHalf + index), length: Self.halfSize)
    }
    var iterator = unsafe IOVIter(
      userVectors: UnsafeBufferPointer(start: segments, count: count),
      count: count * Self.halfSize, direction: isRead ? .destination : .source)
    var bio = try pools[process].makeBio(isRead ? .read : .write, sector: 0, vectorCapacity: 8)
    let pages = (firstHalf + count + 1) / 2
    let mapped = model.mappedPages(process, from: page, atMost: pages)
    do {
      try bio.fill(from: &iterator, policy: isPinned ? .pin : .get)
    } catch {
      bio.end(error)
      if mapped > 0 { throw error }
      return
    }
    let moved = min(count, 2 * mapped - firstHalf)
    if bio.byteCount != moved * Self.halfSize {
      let found = bio.byteCount
      bio.end()
      throw Difference(description: "an extraction found \(found) bytes")
    }
    if isRead { bio.setPagesDirty() }
    var cells: [(cell: Cell, half: Int)] = []
    for index in firstHalf..<firstHalf + moved {
      let place = page + index / 2
      let cell =
        isRead ? model.writableCell(process, place) : model.cell(process, place)
      if let cell { cells.append((cell, index % 2)) }
    }
    transfers.append(
      Transfer(
        bio: bio.detach(), process: process, isRead: isRead, isPinned: isPinned, cells: cells))
  }

  /// The device moves the data, and the bio ends. A reference promises that the page exists and no more, so data
  /// moves through pins only.
  private func finish(_ index: Int) throws {
    let transfer = transfers.remove(at: index)
    let bio = pools[transfer.process].adopt(transfer.bio)
    var difference: Difference?
    if transfer.isPinned {
      var position = bio.iterator
      var next = 0
      while let segment = bio.nextSegment(&position) {
        for offset in stride(
          from: Int(segment.offset), to: Int(segment.offset + segment.length), by: Self.halfSize)
        {
          let (cell, half) = transfer.cells[next]
          next += 1
          if transfer.isRead {
            let value = generator.next()
            cell[half] = value
            setWord(segment.page, offset, value)
          } else if word(segment.page, offset) != cell[half] {
            difference = Difference(description: "the device saw something else")
          }
        }
      }
    }
    bio.end()
    if let difference { throw difference }
  }

  // MARK: Comparing

  private func word(_ page: Page, _ offset: Int) -> UInt64 {
    unsafe memory.map.table.memory(at: page, offset: offset, length: 8)
      .loadUnaligned(as: UInt64.self)
  }

  private func setWord(_ page: Page, _ offset: Int, _ value: UInt64) {
    unsafe memory.map.table.memory(at: page, offset: offset, length: 8)
      .storeBytes(of: value, as: UInt64.self)
  }

  private func fileWord(_ half: Int) -> UInt64 {
    if let page = memory.cachedPage(ofFilePage: 0) { return word(page, half * Self.halfSize) }
    return unsafe memory.fileBytes.withUnsafeBytes {
      unsafe $0.loadUnaligned(fromByteOffset: half * Self.halfSize, as: UInt64.self)
    }
  }

  /// Everything that every process sees, and the machine's own invariants.
  private func compare() throws {
    if let defect = memory.defect() { throw Difference(description: defect) }
    for half in 0..<2 where fileWord(half) != model.file[half] {
      throw Difference(description: "the file is not what was written to it")
    }
    for process in model.processes.keys {
      for page in 0..<ReferenceModel.pageCount {
        guard let frame = memory.page(of: ProcessID(index: process), at: page) else { continue }
        let cell = model.cell(process, page)
        for half in 0..<2 where word(frame, half * Self.halfSize) != cell?[half] {
          throw Difference(description: "process \(process) sees something else in page \(page)")
        }
      }
    }
  }
}
