// The call that a vector of whole calls describes, and the memory it runs in.

import DirectCall
import IOVector
import Memory

/// A vector's call with its memory.
struct CallInput {
  /// Where the vectors' addresses begin, unless they are absolute.
  static let window: UInt64 = 1 << 44
  /// The most pages that a vector may describe.
  static let maxPages = 1 << 17

  let call: DirectCall
  let memory: CallMemory
  let foreign: Set<Int>

  /// Reads a vector's `input`.
  /// - Parameters:
  ///   - era: whose rules are followed.
  ///   - bugs: defects that are switched on.
  init(_ input: JSON, era: Era, bugs: ModelBugs) throws(VectorError) {
    let device = try input.field("device")
    let name = try device.field("name").string("name")
    let segments = try Self.segments(input)
    let api = try input.field("api").string("api")
    var call = DirectCall(
      target: try Self.target(name, input), limits: try Self.limits(device),
      interface: try Self.interface(api), isWrite: try input.field("dir").string("dir") == "source",
      offset: try input.int(field: "off", Int.min...Int.max), segments: segments, era: era)
    call.bugs = bugs
    call.hasSingleBuffer = api == "pread" || api == "pwrite"
    call.mustNotWait = try input.int(field: "flags", 0...0xffff, default: 0) & 8 != 0
    let mapped = try Self.mapped(input)
    call.registered = try Self.registered(input)
    self.call = call
    let mem = try input.field("mem")
    let pageCount = max(1, try mem.int(field: "pages", 0...Self.maxPages))
    foreign = Set(
      try mem.arrayIfPresent("foreign").map { page throws(VectorError) in try page.int("foreign") })
    var folios: [(head: Page, order: Int)] = []
    for folio in try mem.arrayIfPresent("folios") {
      let pair = try folio.array("folio", count: 2...2)
      let head = try pair[0].int("folio head", 0...pageCount - 1)
      let order = try pair[1].int("folio order", 0...16)
      if head + 1 << order > pageCount { throw VectorError(text: "a folio is beyond the pages") }
      folios.append((Page(head), order))
    }
    let zero = try mem.optional("zero")?.int("zero", 0...pageCount - 1)
    memory = CallMemory(
      pageCount: pageCount, folios: folios, zeroPage: zero.map { Page($0) }, mapped: mapped,
      era: era)
  }

  private static func interface(_ api: String) throws(VectorError) -> CallInterface {
    switch api {
    case "preadv", "pwritev", "pread", "pwrite": return .synchronous
    case "ur_readv", "ur_writev": return .ring
    case "ur_rfix", "ur_wfix": return .ringFixed
    case "spl_in": return .spliceIn
    case "spl_out": return .spliceOut
    default: throw VectorError(text: "unknown api \"\(api)\"")
    }
  }

  private static func target(_ name: String, _ input: JSON) throws(VectorError) -> CallTarget {
    if name == "fuse" { return .server }
    guard let text = try input.optional("file")?.string("file") else { return .device }
    guard let state = CallTarget.FileState(rawValue: text) else {
      throw VectorError(text: "unknown state of a file \"\(text)\"")
    }
    let systems: [CallTarget.FileSystem] = [.ext4, .xfs, .btrfs]
    guard let system = systems.first(where: { name.hasPrefix($0.rawValue) }) else {
      throw VectorError(text: "unknown filesystem \"\(name)\"")
    }
    return .file(system, state)
  }

  private static func limits(_ device: JSON) throws(VectorError) -> CallLimits {
    var limits = CallLimits()
    limits.logicalBlockSize = try device.int(field: "logical_block_size", 1...65536, default: 512)
    limits.dmaAlignment = try device.int(field: "dma_alignment", 0...65535, default: 511)
    limits.maxSegments = try device.int(field: "max_segments", 1...65535, default: 128)
    limits.maxSegmentSize = try device.int(field: "max_segment_size", 1...1 << 32, default: 65536)
    limits.maxBytes = CallLimits.requestBytes(
      kibibytes: try device.int(field: "max_sectors_kb", 1...1 << 31, default: 127))
    limits.virtBoundaryMask = try device.int(field: "virt_boundary_mask", 0...1 << 20, default: 0)
    limits.stableWrites = try device.int(field: "stable_writes", 0...1, default: 0) == 1
    limits.byteCount = try device.optional("size")?.int("size")
    if limits.logicalBlockSize & (limits.logicalBlockSize - 1) != 0 {
      throw VectorError(text: "a logical block is a power of two")
    }
    return limits
  }

  private static func segments(_ input: JSON) throws(VectorError) -> [IOVec] {
    var segments: [IOVec] = []
    for segment in try input.arrayIfPresent("segs") {
      let parts = try segment.array("seg", count: 2...3)
      let start = parts.count == 3 ? 0 : window
      segments.append(
        IOVec(
          base: try address(parts[0]) &+ start,
          length: try parts[1].int("length", Int.min...Int.max)))
    }
    return segments
  }

  /// A number of 64 bits, which may be too large for a signed one.
  private static func address(_ value: JSON) throws(VectorError) -> UInt64 {
    if case .otherNumber(let text) = value, let number = UInt64(text) { return number }
    return UInt64(bitPattern: Int64(try value.int("base", Int.min...Int.max)))
  }

  /// The user pages, and what the way they were made says of them.
  private static func mapped(_ input: JSON) throws(VectorError) -> [UInt64: MappedPage] {
    var areas: [(pages: Range<Int>, kind: String)] = []
    for area in try input.arrayIfPresent("map") {
      let parts = try area.array("map", count: 5...5)
      let first = try parts[1].int("vpn", 0...1 << 36)
      let count = try parts[2].int("n", 0...1 << 20)
      areas.append((first..<first + count, try parts[0].string("kind")))
    }
    var mapped: [UInt64: MappedPage] = [:]
    for run in try input.arrayIfPresent("pt") {
      let parts = try run.array("pt", count: 4...4)
      let first = try parts[0].int("virtual page", 0...1 << 36)
      let page = parts[1] == .null ? nil : try parts[1].int("page", 0...maxPages)
      let count = try parts[2].int("count", 0...maxPages)
      let access: MappedPage.Access
      switch try parts[3].string("perm") {
      case "rw": access = .readWrite
      case "ro": access = .readOnly
      case "none": access = .none
      default: throw VectorError(text: "unknown page table entry \(run.text)")
      }
      for index in 0..<count {
        var user = MappedPage(page: page.map { Page($0 + index) }, access: access)
        let kind = areas.last { $0.pages.contains(first + index) }?.kind ?? ""
        user.isSecret = kind == "secret"
        user.isAbsent = ["lazy", "rolazy", "shmlazy", "shmprivl"].contains(kind)
        user.isShared = kind == "cow"
        user.isCached = ["exts", "extr", "extp"].contains(kind)
        mapped[window >> 12 + UInt64(first + index)] = user
      }
    }
    return mapped
  }

  /// The range that was registered as a ring's buffer: all that is mapped.
  private static func registered(
    _ input: JSON
  ) throws(VectorError) -> (address: UInt64, byteCount: Int) {
    var first = Int.max
    var end = 0
    for area in try input.arrayIfPresent("map") {
      let parts = try area.array("map", count: 5...5)
      let start = try parts[1].int("vpn", 0...1 << 36)
      first = min(first, start)
      end = max(end, start + (try parts[2].int("n", 0...1 << 20)))
    }
    return first > end ? (0, 0) : (window &+ UInt64(first) << 12, (end - first) << 12)
  }
}
