// What a bio holds, and that it lets go of it exactly once.

import Block
import IOVector
import Memory
import Testing

@Suite("A bio")
struct BioTests {
  @Test("has the cleanup mode in the bits of FollFlags")
  func flagBits() {
    #expect(BioFlags.pagePinned.rawValue == FollFlags.pin.rawValue)
    #expect(BioFlags.pageReffed.rawValue == FollFlags.get.rawValue)
    for mode: FollFlags in [[], .pin, .get] {
      #expect(BioFlags(cleanupMode: mode.union([.write, .noFault])).cleanupMode == mode)
    }
    #expect(BioFlags([.cloned]).cleanupMode == [])
  }

  @Test("takes a contiguous mebibyte as one segment, and pins each page once")
  func mebibyte() throws {
    let rig = Rig(pages: 256)
    var iterator = rig.user(0, 1 << 20)
    var bio = try rig.pool.makeBio(.read, sector: 8, token: 3)
    try bio.fill(from: &iterator)
    #expect(bio.list == [[0, 0, 1 << 20]])
    #expect(bio.flags == .pagePinned && bio.token == 3 && bio.sector == 8)
    #expect(rig.counts.allSatisfy { $0 == [1025, 0] })
    bio.end()
    #expect(rig.isBalanced)
    #expect(rig.dirty == Array(0..<256))
    let counters = rig.counters
    #expect(counters.sum(.bios) == 1 && counters.sum(.bvecs) == 1)
    #expect(counters.sum(.bvecMerges) == 255 && counters.sum(.samePageMerges) == 0)
    #expect(counters.samples(of: .bioBytes).reduce(0, +) == 1)
  }

  @Test("gives the second pin of a page back at once when it merges within the page")
  func samePage() throws {
    let rig = Rig()
    let table = SegmentTable([
      IOVec(base: Rig.base, length: 512), IOVec(base: Rig.base + 512, length: 512),
      IOVec(base: Rig.base + 4096, length: 512),
    ])
    var iterator = unsafe IOVIter(userVectors: table.buffer, count: 1536, direction: .source)
    var bio = try rig.pool.makeBio(.write, sector: 0)
    try bio.fill(from: &iterator)
    #expect(bio.list == [[0, 0, 1024], [1, 0, 512]])
    #expect(rig.counts[0] == [1025, 0] && rig.counts[1] == [1025, 0])
    #expect(rig.counters.sum(.samePageMerges) == 1)
    #expect(rig.counters.sum(.simPinAcquired) == 3 && rig.counters.sum(.simPinReleased) == 1)
    bio.end()
    #expect(rig.isBalanced)
    #expect(rig.dirty.isEmpty)
  }

  @Test("releases as the policy took", arguments: CleanupPolicy.allCases)
  func policies(_ policy: CleanupPolicy) throws {
    let rig = Rig()
    let kernel = SegmentTable([IOVec(base: 100, length: 9000)])
    let pages = SegmentTable([BioVec(page: Page(20), offset: 512, length: 8192)])
    let cache = XArrayTable((0..<8).map { XArrayEntry(index: $0, head: Page(Int($0) + 30)) })
    let pipe = PipeBuffer(capacity: 8, pages: rig.map.table)
    pipe.supply(PageRun(first: Page(40), count: 8))
    let iterators = unsafe [
      rig.user(100, 9000),
      IOVIter(kernelVectors: kernel.buffer, count: 9000, direction: .destination),
      IOVIter(bioVectors: pages.buffer, count: 8192, direction: .destination),
      IOVIter(xarray: cache, position: 0, count: 9000, direction: .destination),
      IOVIter(pipe: pipe, count: 9000),
    ]
    for var iterator in iterators {
      let kind = iterator.kind
      let isShared = kind == .bvec && policy == .auto
      let mode = policy.mode(for: iterator)
      var bio = try rig.pool.makeBio(.read, sector: 0)
      var limits = QueueLimits()
      limits.logicalBlockSize = 1
      try bio.fill(from: &iterator, limits: limits, policy: policy)
      #expect(bio.flags == (isShared ? .cloned : BioFlags(cleanupMode: mode)), "\(kind)")
      #expect(iterator.count == 0)
      bio.end()
      pipe.drain()
      #expect(rig.isBalanced, "\(kind)")
    }
    let listed =
      policy == .none ? [3, 3, 3, 3, 3] : policy == .auto ? [0, 3, 3, 3, 3] : [0, 0, 0, 0, 0]
    let kinds: [IOVIter.Kind] = [.ubuf, .kvec, .bvec, .xarray, .pipe]
    #expect(kinds.map { rig.counters.sum(.pagesListed, kind: Int($0.rawValue)) } == listed)
  }

  @Test("takes a reference on every kind in the era get")
  func legacy() throws {
    let rig = Rig(era: .get)
    let cache = XArrayTable((0..<8).map { XArrayEntry(index: $0, head: Page(Int($0) + 30)) })
    let cached = unsafe IOVIter(xarray: cache, position: 0, count: 8192, direction: .source)
    for var iterator in [rig.user(0, 8192, .source), cached] {
      var bio = try rig.pool.makeBio(.write, sector: 0)
      try bio.fill(from: &iterator)
      #expect(bio.flags == .pageReffed)
      bio.end()
      #expect(rig.isBalanced)
    }
    #expect(rig.counters.sum(.simGetAcquired) == 4 && rig.counters.sum(.simPinAcquired) == 0)
  }

  @Test("holds nothing after it could not be filled")
  func failure() throws {
    let rig = Rig(pages: 2)
    var bio = try rig.pool.makeBio(.read, sector: 0)
    var outside = rig.user(8192, 4096)
    #expect(throws: Errno.badAddress) { try bio.fill(from: &outside) }
    var short = rig.user(0, 100)
    #expect(throws: Errno.badAddress) { try bio.fill(from: &short) }
    #expect(short.count == 100)
    bio.end(.badAddress)
    #expect(rig.isBalanced)
  }

  @Test("is given up by a trap when it is dropped unended")
  func dropped() async {
    await #expect(processExitsWith: .failure) {
      let rig = Rig()
      let bio = try rig.pool.makeBio(.read, sector: 0)
      _ = consume bio
    }
  }

  @Test("cannot be adopted twice")
  func adoptedTwice() async {
    await #expect(processExitsWith: .failure) {
      let rig = Rig()
      let index = try rig.pool.makeBio(.read, sector: 0).detach()
      let first = rig.pool.adopt(index)
      rig.pool.adopt(index).end()
      first.end()
    }
  }
}

@Suite("A pool of bios")
struct BioPoolTests {
  @Test("runs out at its bound, and has its slots again when bios end")
  func bound() throws {
    let rig = Rig(slots: 3)
    let pool = rig.pool
    let first = try pool.makeBio(.read, sector: 0)
    let second = try pool.makeBio(.read, sector: 0).detach()
    let third = try pool.makeBio(.read, sector: 0)
    #expect(pool.freeCount == 0 && pool.outstandingCount == 3)
    #expect(throws: Errno.noMemory) { try pool.makeBio(.read, sector: 0).end() }
    pool.adopt(second).end()
    first.end()
    try pool.makeBio(.write, sector: 0).end()
    third.end()
    #expect(pool.freeCount == 3)
  }

  @Test("tells of each end once, with token and status, when the slot is free again")
  func completion() throws {
    let rig = Rig(slots: 1)
    var seen: [(Int, Errno?)] = []
    rig.pool.completion = { seen.append(($0, $1)) }
    try rig.pool.makeBio(.read, sector: 0, token: 7).end()
    try rig.pool.makeBio(.read, sector: 0, token: 8).end(.ioError)
    let bio = try rig.pool.makeBio(.read, sector: 0, token: 9)
    bio.status = .noSpace
    rig.pool.adopt(bio.detach()).end(.ioError)
    #expect(seen.map(\.0) == [7, 8, 9])
    #expect(seen.map(\.1) == [nil, .ioError, .noSpace])
    rig.pool.completion = nil
  }
}
