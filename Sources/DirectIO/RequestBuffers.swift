// The tables behind iterators: for each request slot, the segments that present its buffer as any of the kinds.

import IOVector
import Memory

/// Segment tables of all request slots, made once; an iterator borrows its slot's.
@safe public final class RequestBuffers: @unchecked Sendable {
  // Guard of the unchecked Sendable: a slot's tables belong to the worker that has its request.
  /// Slots.
  public let requestCount: Int
  /// The largest request, in bytes.
  public let maxIOBytes: Int
  private let userBase: UInt64
  private let payloadPages: [Page]
  private let bouncePages: [Page]
  private let vectors: UnsafeMutablePointer<IOVec>
  private let bioVectors: UnsafeMutablePointer<BioVec>
  private let arrays: [XArrayTable]
  private let pipes: [PipeBuffer]
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
    cutAlignment = blockSize
    payloadPages = (0..<requestCount).map(payloadPage)
    bouncePages = (0..<requestCount).map(bouncePage)
    let entries = requestCount * RequestShape.maxSegments
    unsafe vectors = .allocate(capacity: entries)
    unsafe vectors.initialize(repeating: IOVec(base: 0, length: 0), count: entries)
    unsafe bioVectors = .allocate(capacity: entries)
    unsafe bioVectors.initialize(
      repeating: BioVec(page: Page(0), offset: 0, length: 0), count: entries)
    let count = maxIOBytes / pageSize + 1
    arrays = payloadPages.map { first in
      XArrayTable(
        (0..<count).map { XArrayEntry(index: UInt64($0), head: first.advanced(by: $0)) })
    }
    pipes = payloadPages.map { first in
      let pipe = PipeBuffer(capacity: count, pages: pages)
      pipe.supply(PageRun(first: first, count: count))
      return pipe
    }
  }

  deinit {
    unsafe vectors.deallocate()
    unsafe bioVectors.deallocate()
  }

  /// The first page of a slot's buffer.
  public func payloadPage(_ index: Int) -> Page { payloadPages[index] }
  func bouncePage(request index: Int) -> Page { bouncePages[index] }

  /// Takes out what a pipe iterator put into the request's pipe.
  func drainPipe(_ index: Int) { pipes[index].drain() }

  /// Makes the iterator that a request's shape asks for, over the request's buffer.
  func iterator(_ index: Int, for request: DirectRequest) -> IOVIter {
    let direction: Direction = request.isWrite ? .source : .destination
    let length = request.length
    let address = UInt64(payloadPages[index].number * pageSize + request.dataOffset)
    switch request.shape.kind {
    case .pipe where !request.isWrite:
      precondition(request.dataOffset == 0, "a pipe's data starts on a page")
      return unsafe IOVIter(pipe: pipes[index], count: length)
    case .ubuf, .pipe, .discard:
      return IOVIter(userBuffer: userBase + address, count: length, direction: direction)
    case .iovec:
      let table = unsafe cutVectors(index, base: userBase + address, request)
      return unsafe IOVIter(userVectors: table, count: length, direction: direction)
    case .kvec:
      let table = unsafe cutVectors(index, base: address, request)
      return unsafe IOVIter(kernelVectors: table, count: length, direction: direction)
    case .bvec:
      let table = unsafe cutBioVectors(index, request)
      return unsafe IOVIter(bioVectors: table, count: length, direction: direction)
    case .xarray:
      return unsafe IOVIter(
        xarray: arrays[index], position: UInt64(request.dataOffset), count: length,
        direction: direction)
    }
  }

  /// Calls `body` with offset and length of each segment. Cuts fall on blocks where there are enough of them,
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

  private func cutVectors(
    _ index: Int, base: UInt64, _ request: DirectRequest
  ) -> UnsafeBufferPointer<IOVec> {
    let table = unsafe vectors + index * RequestShape.maxSegments
    let count = forEachSegment(of: request) { position, start, length in
      unsafe table[position] = IOVec(base: base + UInt64(start), length: length)
    }
    return unsafe UnsafeBufferPointer(start: table, count: count)
  }

  private func cutBioVectors(
    _ index: Int, _ request: DirectRequest
  ) -> UnsafeBufferPointer<BioVec> {
    let table = unsafe bioVectors + index * RequestShape.maxSegments
    let first = payloadPages[index]
    let count = forEachSegment(of: request) { position, start, length in
      let byte = request.dataOffset + start
      unsafe table[position] = BioVec(
        page: first.advanced(by: byte / pageSize), offset: UInt32(byte % pageSize),
        length: UInt32(length))
    }
    return unsafe UnsafeBufferPointer(start: table, count: count)
  }
}
