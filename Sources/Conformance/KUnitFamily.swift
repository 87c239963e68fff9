// The family `kunit`: the kernel's own unit tests of copying and extraction, restated as data.

import IOVector
import Memory

/// Runs the copying and extraction cases over one buffer.
struct KUnitFamily {
  private let input: JSON
  private let world: World
  private let pageCount: Int
  private let tag: String

  /// Runs a vector; its tag says what is done.
  static func run(_ input: JSON, tag: String) throws(VectorError) -> JSON {
    let family = try KUnitFamily(input, tag: tag)
    switch tag {
    case "copy_to_kvec", "copy_from_kvec", "copy_to_bvec", "copy_from_bvec":
      return try family.copy()
    case "copy_to_xarray", "copy_from_xarray": return try family.copyCache()
    case "extract_pages_kvec", "extract_pages_bvec": return try family.extract()
    case "extract_pages_xarray": return try family.extractCache()
    default: throw VectorError(text: "unknown case \"\(tag)\"")
    }
  }

  private init(_ input: JSON, tag: String) throws(VectorError) {
    self.input = input
    self.tag = tag
    if let bytes = try input.optional("buffer_bytes") {
      pageCount = Memory.pageCount(covering: try bytes.int("buffer_bytes", 1...1 << 24))
    } else {
      pageCount = try input.int(field: "buffer_pages", 1...1 << 12)
    }
    var machine: [String: JSON] = ["mem": .object(["pages": .int(pageCount)])]
    machine["vmap"] = try input.optional("vmap")
    world = try World(.object(machine), hasMemory: true)
    if !isCopyTo {
      for page in 0..<pageCount {
        world.write(at: page, (0..<pageSize).map { UInt8(truncatingIfNeeded: $0) })
      }
    }
  }

  private var isCopyTo: Bool { tag.hasPrefix("copy_to") }

  private var ranges: [(from: Int, to: Int)] {
    get throws(VectorError) {
      var result: [(from: Int, to: Int)] = []
      for range in try input.field("ranges").array("ranges") {
        let pair = try range.array("range", count: 2...2)
        let from = try pair[0].int("from", 0...pageCount * pageSize)
        result.append((from, try pair[1].int("to", from...pageCount * pageSize)))
      }
      return result
    }
  }

  private var direction: JSON { get throws(VectorError) { try input.field("dir") } }

  /// The iterator of a copying case: the ranges as addresses of the linear map, or the given segments.
  private func segments() throws(VectorError) -> IterInput {
    let count = try input.field("copy_bytes")
    if tag.hasSuffix("bvec") {
      return try IterInput(
        .object([
          "type": .string("bvec"), "dir": try direction, "bvecs": try input.field("bvecs"),
          "count": count,
        ]))
    }
    let segments = try ranges.map { JSON.ints([$0.from, $0.to - $0.from]) }
    return try IterInput(
      .object([
        "type": .string("kvec"), "dir": try direction, "segs": .array(segments), "count": count,
      ]))
  }

  private func cache(_ range: (from: Int, to: Int)) throws(VectorError) -> IterInput {
    let pages = try input.int(field: "xarray_pages", 0...1 << 16)
    let entries = (0..<pages).map { JSON.ints([$0, $0, 0]) }
    return try IterInput(
      .object([
        "type": .string("xarray"), "dir": try direction, "entries": .array(entries),
        "start": .int(range.from), "count": .int(range.to - range.from),
      ]))
  }

  /// Copies once, and adds the copied bytes to the scratch area.
  private func copy(
    _ iterator: inout IOVIter, _ byteCount: Int, scratch: inout [UInt8], done: Int
  ) -> Int {
    if isCopyTo {
      let source = (done..<done + byteCount).map { UInt8(truncatingIfNeeded: $0) }
      return unsafe iterator.copyTo(source.span.bytes, in: world.context)
    }
    let bytes = world.copyOut(byteCount, &iterator)
    scratch.append(contentsOf: bytes)
    return bytes.count
  }

  private func checksum(_ scratch: [UInt8]) throws(VectorError) -> (String, JSON) {
    if isCopyTo {
      return ("buffer_crc32", .int(CRC32.of(world.bytes(at: 0, count: pageCount * pageSize))))
    }
    let size = try input.int(field: "scratch_bytes", scratch.count...1 << 24)
    let area = scratch + Array(repeating: 0, count: size - scratch.count)
    return ("scratch_crc32", .int(CRC32.of(area)))
  }

  private func copy() throws(VectorError) -> JSON {
    let tables = try segments()
    var iterator = tables.iterator
    var scratch: [UInt8] = []
    let byteCount = try input.int(field: "copy_bytes", 0...pageCount * pageSize)
    let copied = copy(&iterator, byteCount, scratch: &scratch, done: 0)
    let (name, sum) = try checksum(scratch)
    return .object([
      "copied": .int(copied), "count": .int(iterator.count),
      "nr_segs": .int(iterator.segmentsLeft), name: sum,
    ])
  }

  private func copyCache() throws(VectorError) -> JSON {
    var scratch: [UInt8] = []
    var results: [JSON] = []
    var done = 0
    for range in try ranges {
      let tables = try cache(range)
      var iterator = tables.iterator
      let copied = copy(&iterator, iterator.count, scratch: &scratch, done: done)
      done += copied
      results.append(
        .object([
          "copied": .int(copied), "count": .int(iterator.count),
          "iov_offset": .int(iterator.offset),
        ]))
    }
    let (name, sum) = try checksum(scratch)
    return .object(["per_range": .array(results), name: sum])
  }

  /// Extracts until the iterator is empty; an empty one is asked once.
  private func extract(_ iterator: inout IOVIter) throws(VectorError) -> [JSON] {
    let maxBytes = try input.int(field: "maxsize")
    let maxPages = try input.int(field: "maxpages")
    var calls: [JSON] = []
    repeat {
      var list = PageList(runCapacity: pageCount + 8)
      var fields: [String: JSON] = [:]
      var bytes = 0
      do throws(Errno) {
        let result = try iterator.extractPages(
          into: &list, maxBytes: maxBytes, maxPages: maxPages, in: world.context)
        bytes = result.byteCount
        fields["ret"] = .int(bytes)
        if bytes > 0 {
          fields["off"] = .int(result.offsetInFirstPage)
          fields["pages_rle"] = list.runs
        }
      } catch {
        fields["ret"] = .int(-Int(error.rawValue))
      }
      fields["iter"] = iterator.triple
      calls.append(.object(fields))
      if bytes == 0 { break }
    } while iterator.count > 0
    return calls
  }

  private func extract() throws(VectorError) -> JSON {
    let tables = try IterInput(try input.field("iter"))
    var iterator = tables.iterator
    let total = iterator.count
    let calls = try extract(&iterator)
    return .object([
      "calls": .array(calls), "total": .int(total - iterator.count),
      "count": .int(iterator.count),
    ])
  }

  private func extractCache() throws(VectorError) -> JSON {
    var results: [JSON] = []
    for range in try ranges {
      let tables = try cache(range)
      var iterator = tables.iterator
      let calls = try extract(&iterator)
      results.append(
        .object([
          "start": .int(range.from), "count": .int(range.to - range.from),
          "calls": .array(calls), "final": iterator.triple,
        ]))
    }
    return .object(["per_range": .array(results)])
  }
}
