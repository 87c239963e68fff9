// One thread of the benchmark: it has buffers, tables, counters and bios of its own, and shares the pages.

import Block
import IOVector
import Memory

/// Runs one case again and again, and says how long that took. Made in the thread that uses it.
@safe final class CoreWorker {
  private let one: CoreCase
  private let machine: CoreMachine
  private let counters = CounterSet(count: 1)
  private let context: MemoryContext
  private let pool: BioPool
  private let pipe: PipeBuffer
  private let vectors = UnsafeMutableBufferPointer<IOVec>.allocate(capacity: 4)
  private let bioVectors = UnsafeMutableBufferPointer<BioVec>.allocate(capacity: 1)
  private let template: IOVIter?
  /// Twice the bytes of a request: where `memcpy` copies from, and to.
  private let bytes: UnsafeMutableRawBufferPointer

  init(_ one: CoreCase, on machine: CoreMachine) {
    self.one = one
    self.machine = machine
    context = MemoryContext(
      pages: machine.map.table, user: machine.space.view, kernel: .linear, era: .v8,
      counters: counters.blocks[0])
    pool = BioPool(slotCount: 2, context: context)
    pipe = PipeBuffer(capacity: CoreMachine.pageCount, pages: machine.map.table)
    pipe.supply(PageRun(first: Page(0), count: CoreMachine.pageCount))
    let size = one.byteCount
    let isUser = one.kind == .iovec
    let segments = isUser ? 4 : 1
    let start = isUser ? CoreMachine.userAddress : 0
    _ = unsafe vectors.initialize(
      from: (0..<4).map {
        IOVec(base: start + UInt64($0 * size / segments), length: size / segments)
      })
    _ = unsafe bioVectors.initialize(from: [
      BioVec(page: Page(0), offset: 0, length: UInt32(size))
    ])
    unsafe template = Self.iterator(
      one, vectors: UnsafeBufferPointer(rebasing: vectors[0..<segments]),
      bioVectors: UnsafeBufferPointer(bioVectors), cache: machine.cache)
    let copied = one.operation == .memcpy ? 2 * size : 0
    unsafe bytes = .allocate(byteCount: copied, alignment: pageSize)
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 1)
  }

  deinit {
    unsafe vectors.deallocate()
    unsafe bioVectors.deallocate()
    unsafe bytes.deallocate()
  }

  /// The iterator with which each request starts; nil for a pipe, whose start depends on what is in it.
  @unsafe private static func iterator(
    _ one: CoreCase, vectors: UnsafeBufferPointer<IOVec>,
    bioVectors: UnsafeBufferPointer<BioVec>, cache: XArrayTable
  ) -> IOVIter? {
    let size = one.byteCount
    return switch one.kind {
    case .ubuf:
      IOVIter(userBuffer: CoreMachine.userAddress, count: size, direction: .destination)
    case .iovec: unsafe IOVIter(userVectors: vectors, count: size, direction: .destination)
    case .kvec: unsafe IOVIter(kernelVectors: vectors, count: size, direction: .destination)
    case .bvec: unsafe IOVIter(bioVectors: bioVectors, count: size, direction: .destination)
    case .xarray:
      unsafe IOVIter(xarray: cache, position: 0, count: size, direction: .destination)
    case .pipe, .discard, .folioq, nil: nil
    }
  }

  @inline(__always)
  private var freshIterator: IOVIter {
    if let template { return template }
    return unsafe IOVIter(pipe: pipe, count: one.byteCount)
  }

  /// Runs requests.
  /// - Returns: nanoseconds for all of them together.
  func run(_ iterations: Int) throws(Errno) -> Int {
    switch one.operation {
    case .extract: try extract(iterations)
    case .bio: try makeBios(iterations)
    case .release: release(iterations)
    case .memcpy: copy(iterations)
    case .adds: add(iterations)
    }
  }

  private func extract(_ iterations: Int) throws(Errno) -> Int {
    var list = PageList(runCapacity: CoreMachine.pageCount)
    let isPipe = one.kind == .pipe
    let watch = Stopwatch()
    for _ in 0..<iterations {
      var iterator = freshIterator
      list.removeAll()
      while iterator.count > 0 {
        let (byteCount, _) = try iterator.extractPages(
          into: &list, maxBytes: .max, maxPages: CoreMachine.pageCount, in: context)
        if byteCount == 0 { throw .ioError }
      }
      let mode = iterator.extractMode
      for index in 0..<list.runCount { context.release(list.run(at: index), mode: mode) }
      if isPipe { pipe.drain() }
    }
    return watch.nanoseconds
  }

  /// A read's bio: its end marks the pages dirty, which they are from the second time on.
  private func makeBios(_ iterations: Int) throws(Errno) -> Int {
    let isPipe = one.kind == .pipe
    let watch = Stopwatch()
    for _ in 0..<iterations {
      var iterator = freshIterator
      var bio = try pool.makeBio(.read, sector: 0)
      do throws(Errno) { try bio.fill(from: &iterator) } catch {
        bio.end(error)
        throw error
      }
      let index = bio.detach()
      pool.adopt(index).end()
      if iterator.count > 0 { throw .ioError }
      if isPipe { pipe.drain() }
    }
    return watch.nanoseconds
  }

  /// Releases in batches; taking, before each batch, is not measured.
  private func release(_ iterations: Int) -> Int {
    let run = PageRun(first: Page(0), count: one.pageCount)
    let batch = 64
    var left = iterations
    var total = 0
    while left > 0 {
      let count = min(left, batch)
      for _ in 0..<count { context.pages.take(run, mode: .pin, era: .v8) }
      let watch = Stopwatch()
      for _ in 0..<count { context.release(run, mode: .pin) }
      total += watch.nanoseconds
      left -= count
    }
    return total
  }

  private func copy(_ iterations: Int) -> Int {
    let watch = Stopwatch()
    for _ in 0..<iterations { copyOnce() }
    return watch.nanoseconds
  }

  @inline(never)
  private func copyOnce() {
    let size = one.byteCount
    unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[size...]).copyMemory(
      from: UnsafeRawBufferPointer(rebasing: bytes[..<size]))
  }

  private func add(_ iterations: Int) -> Int {
    let watch = Stopwatch()
    for _ in 0..<iterations { machine.addAtomically() }
    return watch.nanoseconds
  }
}

/// Time since it was made.
struct Stopwatch {
  private let begin = SuspendingClock.now

  var nanoseconds: Int {
    let (seconds, attoseconds) = (SuspendingClock.now - begin).components
    return Int(seconds) * 1_000_000_000 + Int(attoseconds / 1_000_000_000)
  }
}
