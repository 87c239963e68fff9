// An iterator of any kind over the same few pages, with the tables that it borrows.

import IOVector
import Memory

/// Owns what an iterator of a kind borrows.
@safe final class KindFixture {
  private let vectors = UnsafeMutableBufferPointer<IOVec>.allocate(capacity: 1)
  private let bioVectors = UnsafeMutableBufferPointer<BioVec>.allocate(capacity: 1)
  private let cache = XArrayTable((0..<16).map { XArrayEntry(index: $0, head: Page(Int($0))) })
  let pipe: PipeBuffer
  let iterator: IOVIter

  /// Makes an iterator over pages 0 and following, or, for a pipe, one that gets pages from 16 on.
  init(_ kind: IOVIter.Kind, bytes: Int, pages: PageTable) {
    pipe = PipeBuffer(capacity: 8, pages: pages)
    if kind == .pipe { pipe.supply(PageRun(first: Page(16), count: 8)) }
    let base = kind == .iovec ? Machine.base : 0
    _ = unsafe vectors.initialize(from: [IOVec(base: base, length: bytes)])
    _ = unsafe bioVectors.initialize(from: [
      BioVec(page: Page(0), offset: 0, length: UInt32(bytes))
    ])
    switch kind {
    case .ubuf:
      iterator = IOVIter(userBuffer: Machine.base, count: bytes, direction: .destination)
    case .iovec:
      iterator = unsafe IOVIter(
        userVectors: UnsafeBufferPointer(vectors), count: bytes, direction: .destination)
    case .kvec:
      iterator = unsafe IOVIter(
        kernelVectors: UnsafeBufferPointer(vectors), count: bytes, direction: .destination)
    case .bvec:
      iterator = unsafe IOVIter(
        bioVectors: UnsafeBufferPointer(bioVectors), count: bytes, direction: .destination)
    case .xarray:
      iterator = unsafe IOVIter(
        xarray: cache, position: 0, count: bytes, direction: .destination)
    case .folioq:
      iterator = unsafe IOVIter(
        folios: UnsafeBufferPointer(bioVectors), offset: 0, count: bytes, direction: .destination)
    case .pipe: iterator = unsafe IOVIter(pipe: pipe, count: bytes)
    case .discard: iterator = IOVIter(discardedBytes: bytes)
    }
  }

  deinit {
    unsafe vectors.deallocate()
    unsafe bioVectors.deallocate()
  }
}
