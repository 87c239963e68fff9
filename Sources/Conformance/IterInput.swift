// The iterator that a vector describes, with the tables it borrows.

import IOVector
import Memory

/// Owns the tables of a vector's iterator; the iterator is used while this lives.
@safe final class IterInput {
  private var vectors: UnsafeMutableBufferPointer<IOVec>
  private var bioVectors: UnsafeMutableBufferPointer<BioVec>
  private let xarray: XArrayTable
  let iterator: IOVIter
  /// The most runs that one extraction of a page cache can give.
  let cachedPages: Int

  init(_ input: JSON) throws(VectorError) {
    let type = try input.field("type").string("type")
    let count = try input.int(field: "count")
    let direction = type == "discard" ? .destination : try Self.direction(input)
    let noFault = try input.flag("nofault")
    let segments = try Self.vectors(
      type == "iovec" || type == "kvec" ? input.field("segs") : .array([]))
    let pageSegments = try Self.bioVectors(type == "bvec" ? input.field("bvecs") : .array([]))
    let entries = try Self.entries(type == "xarray" ? input.field("entries") : .array([]))
    let base = type == "ubuf" ? try input.int(field: "base") : 0
    let position = type == "xarray" ? try input.int(field: "start") : 0
    unsafe vectors = .allocate(capacity: segments.count)
    _ = unsafe vectors.initialize(from: segments)
    unsafe bioVectors = .allocate(capacity: pageSegments.count)
    _ = unsafe bioVectors.initialize(from: pageSegments)
    xarray = XArrayTable(entries)
    cachedPages = entries.count
    switch type {
    case "ubuf":
      iterator = IOVIter(
        userBuffer: UInt64(base), count: count, direction: direction, noFault: noFault)
    case "iovec":
      iterator = unsafe IOVIter(
        userVectors: UnsafeBufferPointer(vectors), count: count, direction: direction,
        noFault: noFault)
    case "kvec":
      iterator = unsafe IOVIter(
        kernelVectors: UnsafeBufferPointer(vectors), count: count, direction: direction)
    case "bvec":
      iterator = unsafe IOVIter(
        bioVectors: UnsafeBufferPointer(bioVectors), count: count, direction: direction)
    case "xarray":
      iterator = unsafe IOVIter(
        xarray: xarray, position: UInt64(position), count: count, direction: direction)
    case "discard": iterator = IOVIter(discardedBytes: count)
    default: throw VectorError(text: "unknown iterator type \"\(type)\"")
    }
  }

  deinit {
    unsafe vectors.deallocate()
    unsafe bioVectors.deallocate()
  }

  static func direction(_ input: JSON) throws(VectorError) -> Direction {
    let name = try input.field("dir").string("dir")
    switch name {
    case "dest": return .destination
    case "source": return .source
    default: throw VectorError(text: "unknown direction \"\(name)\"")
    }
  }

  static func vectors(
    _ list: JSON, lengths: ClosedRange<Int> = 0...Int.max >> 1
  ) throws(VectorError) -> [IOVec] {
    var result: [IOVec] = []
    for segment in try list.array("segs") {
      let parts = try segment.array("seg", count: 2...2)
      let base = try parts[0].int("base", 0...Int.max)
      result.append(IOVec(base: UInt64(base), length: try parts[1].int("length", lengths)))
    }
    return result
  }

  static func bioVectors(_ list: JSON) throws(VectorError) -> [BioVec] {
    let word = 0...Int(UInt32.max)
    var result: [BioVec] = []
    for segment in try list.array("bvecs") {
      let parts = try segment.array("bvec", count: 3...3)
      let page = try parts[0].int("page", 0...1 << 31)
      let offset = try parts[1].int("offset", word)
      let length = try parts[2].int("length", word)
      result.append(BioVec(page: Page(page), offset: UInt32(offset), length: UInt32(length)))
    }
    return result
  }

  static func entries(_ list: JSON) throws(VectorError) -> [XArrayEntry] {
    var result: [XArrayEntry] = []
    for entry in try list.array("entries") {
      let parts = try entry.array("entry", count: 3...3)
      let index = try parts[0].int("index")
      let head = try parts[1].int("head page", 0...1 << 31)
      let order = try parts[2].int("order", 0...20)
      result.append(XArrayEntry(index: UInt64(index), head: Page(head), order: UInt8(order)))
    }
    if !XArrayTable.isValid(result) { throw VectorError(text: "entries overlap") }
    return result
  }
}

extension IOVIter {
  /// The state triple of the vectors.
  var triple: JSON { .ints([count, offset, segmentsLeft]) }

  /// The name of the kind in the vectors.
  var typeName: String { countedKindNames[Int(kind.rawValue)] }
}

/// Applies iterator operations, and remembers the saved state.
struct IterMachine {
  var iterator: IOVIter
  private var saved: IOVIter.SavedState?

  init(_ iterator: IOVIter) { self.iterator = iterator }

  /// Runs one operation.
  /// - Returns: the operation's result, if it has one.
  mutating func apply(_ operation: JSON) throws(VectorError) -> JSON? {
    let parts = try operation.array("op", count: 1...3)
    let name = try parts[0].string("op")
    func argument(_ place: Int) throws(VectorError) -> Int {
      guard place < parts.count else { throw VectorError(text: "\(name) wants more arguments") }
      let value = try parts[place].int(name, Int.min...Int.max)
      // A size with its sign bit set is a very large one.
      return value < 0 ? .max : value
    }
    switch name {
    case "advance": iterator.advance(by: try argument(1))
    case "revert": try revert(try argument(1))
    case "truncate": iterator.truncate(to: try argument(1))
    case "reexpand": iterator.reexpand(to: try argument(1))
    case "save": saved = iterator.saveState()
    case "restore":
      guard let saved else { throw VectorError(text: "restore without save") }
      iterator.restore(saved)
    case "npages": return .int(iterator.npages(max: try argument(1)))
    case "npages_cap":
      return .int(iterator.npages(max: try argument(1), maxBytes: try argument(2)))
    case "alignment": return .int(Int(truncatingIfNeeded: iterator.alignment))
    case "gap_alignment": return .int(Int(truncatingIfNeeded: iterator.gapAlignment))
    case "is_aligned":
      let addressMask = UInt32(truncatingIfNeeded: try argument(1))
      let lengthMask = UInt32(truncatingIfNeeded: try argument(2))
      return .bool(iterator.isAligned(addressMask: addressMask, lengthMask: lengthMask))
    case "single_seg_count": return .int(iterator.singleSegmentCount)
    case "will_pin": return .bool(iterator.willPin)
    default: throw VectorError(text: "unknown operation \"\(name)\"")
    }
    return nil
  }

  private mutating func revert(_ byteCount: Int) throws(VectorError) {
    if byteCount <= maxReadWriteBytes && iterator.kind != .discard
      && byteCount > iterator.revertibleBytes
    {
      throw VectorError(text: "revert goes before the start")
    }
    iterator.revert(by: byteCount)
  }
}
