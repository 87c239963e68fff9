// The buffers of all request slots, and what presents them as iterators of any kind.

import IOVector
import Memory

/// Buffers, extents and states of all slots of a mount, made once. An iterator borrows its slot's tables.
public final class RequestBuffers: @unchecked Sendable {
  // Guard of the unchecked Sendable: what belongs to a slot is touched by the worker that has it alone.
  /// Slots.
  public let requestCount: Int
  /// The largest request, in bytes.
  public let maxIOBytes: Int
  let table: RequestTable
  private let extentLists: FixedTable<ExtentList>
  private let userBase: UInt64
  private let payloadPages: [Page]
  private let bouncePages: [Page]
  private let segments: FixedTable<SegmentTables>
  private let pages: PageTable
  private let cutAlignment: Int

  /// Makes the tables.
  /// - Parameters:
  ///   - requestCount: slots.
  ///   - maxIOBytes: the largest request.
  ///   - blockSize: the device's logical block, on which segments are cut.
  ///   - userBase: where the client's address space begins.
  ///   - pages: the page table.
  ///   - payloadPage: the first page of a slot's buffer; one page more than `maxIOBytes` is there.
  ///   - bouncePage: the first page of a slot's bounce buffer; two pages more than `maxIOBytes` are there.
  public init(
    requestCount: Int, maxIOBytes: Int, blockSize: Int, userBase: UInt64, pages: PageTable,
    payloadPage: (Int) -> Page, bouncePage: (Int) -> Page
  ) {
    self.requestCount = requestCount
    self.maxIOBytes = maxIOBytes
    self.userBase = userBase
    self.pages = pages
    cutAlignment = blockSize
    table = RequestTable(slotCount: requestCount)
    extentLists = FixedTable(count: requestCount) { _ in ExtentList() }
    payloadPages = (0..<requestCount).map(payloadPage)
    bouncePages = (0..<requestCount).map(bouncePage)
    segments = FixedTable(count: requestCount) { _ in SegmentTables() }
  }

  /// The extents of a slot's next request, to be filled in place before it is started.
  public subscript(extents slot: Slot) -> ExtentList {
    @inline(__always) unsafeAddress {
      unsafe UnsafePointer(extentLists.pointer(to: slot.number))
    }
    @inline(__always) unsafeMutableAddress {
      unsafe extentLists.pointer(to: slot.number)
    }
  }

  /// The first page of a slot's buffer.
  public func payloadPage(_ slot: Slot) -> Page { payloadPages[slot.number] }
  func bouncePage(_ slot: Slot) -> Page { bouncePages[slot.number] }

  /// Whether a page is of a slot's bounce buffer.
  func isBounce(_ page: Page, of slot: Slot) -> Bool {
    let first = bouncePages[slot.number].number
    return page.number >= first && page.number < first + maxIOBytes / pageSize + 2
  }

  /// Takes out what a pipe iterator put into the request's pipe.
  func drainPipe(_ slot: Slot) { segments[slot.number].pipe?.drain() }

  /// Makes the iterator that a request's shape asks for, over the request's buffer.
  func iterator(_ slot: Slot, for request: DirectRequest) -> IOVIter {
    let direction: Direction = request.isWrite ? .source : .destination
    let length = request.length
    let address = UInt64(payloadPages[slot.number].number * pageSize + request.dataOffset)
    switch request.shape.kind {
    case .pipe where !request.isWrite:
      precondition(request.dataOffset == 0, "a pipe's data starts on a page")
      return unsafe IOVIter(pipe: pipe(slot), count: length)
    case .ubuf, .pipe, .discard:
      return IOVIter(userBuffer: userBase + address, count: length, direction: direction)
    case .iovec:
      let count = cutVectors(slot, base: userBase + address, request)
      return unsafe IOVIter(
        userVectors: segments[slot.number].vectors.first(count), count: length,
        direction: direction)
    case .kvec:
      let count = cutVectors(slot, base: address, request)
      return unsafe IOVIter(
        kernelVectors: segments[slot.number].vectors.first(count), count: length,
        direction: direction)
    case .bvec:
      let count = cutBioVectors(slot, request)
      return unsafe IOVIter(
        bioVectors: segments[slot.number].bioVectors.first(count), count: length,
        direction: direction)
    case .folioq:
      let skipped = request.dataOffset / folioBytes
      return unsafe IOVIter(
        folios: folios(slot, from: skipped), offset: request.dataOffset - skipped * folioBytes,
        count: length, direction: direction)
    case .xarray:
      return unsafe IOVIter(
        xarray: xarray(slot), position: UInt64(request.dataOffset), count: length,
        direction: direction)
    }
  }

  /// Calls `body` with place, offset and length of each segment. Cuts fall on blocks where there are enough of them,
  /// else anywhere; the last segment takes the rest.
  private func forEachSegment(of request: DirectRequest, _ body: (Int, Int, Int) -> Void) -> Int {
    var piece = request.length / request.shape.segments
    if piece >= cutAlignment { piece -= piece % cutAlignment }
    let count = piece == 0 ? 1 : request.shape.segments
    for index in 0..<count {
      let start = index * piece
      body(index, start, index == count - 1 ? request.length - start : piece)
    }
    return count
  }

  private func cutVectors(_ slot: Slot, base: UInt64, _ request: DirectRequest) -> Int {
    segments[slot.number].makeVectors()
    return forEachSegment(of: request) { place, start, length in
      segments[slot.number].vectors[place] = IOVec(base: base + UInt64(start), length: length)
    }
  }

  private func cutBioVectors(_ slot: Slot, _ request: DirectRequest) -> Int {
    segments[slot.number].makeBioVectors()
    let first = payloadPages[slot.number]
    return forEachSegment(of: request) { place, start, length in
      let byte = request.dataOffset + start
      segments[slot.number].bioVectors[place] = BioVec(
        page: first.advanced(by: byte / pageSize), offset: UInt32(byte % pageSize),
        length: UInt32(length))
    }
  }

  /// Bytes in each folio of a queue: four pages, so that requests cross folios.
  private var folioBytes: Int { 4 * pageSize }

  /// The slot's buffer as a queue of folios, from one of them on; the last may be smaller.
  @unsafe private func folios(_ slot: Slot, from first: Int) -> UnsafeBufferPointer<BioVec> {
    let pages = pagesPerSlot
    let count = (pages * pageSize + folioBytes - 1) / folioBytes
    if segments[slot.number].folios.count == 0 {
      segments[slot.number].folios = FixedTable(
        count: count, repeating: BioVec(page: Page(0), offset: 0, length: 0))
      for index in 0..<count {
        let start = index * folioBytes
        segments[slot.number].folios[index] = BioVec(
          page: payloadPages[slot.number].advanced(by: start / pageSize), offset: 0,
          length: UInt32(min(folioBytes, pages * pageSize - start)))
      }
    }
    let all = unsafe segments[slot.number].folios.first(count)
    return unsafe UnsafeBufferPointer(rebasing: all[first...])
  }

  private var pagesPerSlot: Int { maxIOBytes / pageSize + 1 }

  private func pipe(_ slot: Slot) -> PipeBuffer {
    if let pipe = segments[slot.number].pipe { return pipe }
    let pipe = PipeBuffer(capacity: pagesPerSlot, pages: pages)
    pipe.supply(PageRun(first: payloadPages[slot.number], count: pagesPerSlot))
    segments[slot.number].pipe = pipe
    return pipe
  }

  private func xarray(_ slot: Slot) -> XArrayTable {
    if let xarray = segments[slot.number].xarray { return xarray }
    let first = payloadPages[slot.number]
    let xarray = XArrayTable(
      (0..<pagesPerSlot).map { XArrayEntry(index: UInt64($0), head: first.advanced(by: $0)) })
    segments[slot.number].xarray = xarray
    return xarray
  }
}

/// What iterators over one slot's buffer look into. Made when the slot first serves a request of the kind: a mount
/// uses one or two of the kinds, and may have very many slots.
private struct SegmentTables: ~Copyable {
  var vectors = FixedTable<IOVec>(count: 0, repeating: IOVec(base: 0, length: 0))
  var bioVectors = FixedTable<BioVec>(
    count: 0, repeating: BioVec(page: Page(0), offset: 0, length: 0))
  var folios = FixedTable<BioVec>(
    count: 0, repeating: BioVec(page: Page(0), offset: 0, length: 0))
  var xarray: XArrayTable?
  var pipe: PipeBuffer?

  mutating func makeVectors() {
    if vectors.count > 0 { return }
    vectors = FixedTable(
      count: RequestShape.maxSegments, repeating: IOVec(base: 0, length: 0))
  }

  mutating func makeBioVectors() {
    if bioVectors.count > 0 { return }
    bioVectors = FixedTable(
      count: RequestShape.maxSegments, repeating: BioVec(page: Page(0), offset: 0, length: 0))
  }
}
