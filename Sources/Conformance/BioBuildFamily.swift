// The family `bio_build`: from iterators to bios, through their release.

import Block
import IOVector
import Memory

/// How a vector's bios are completed.
private enum DirtyStyle: String {
  case none, release
  case setAndCheck = "set_check"
}

/// Builds bios, completes and releases them.
struct BioBuildFamily {
  private let input: JSON
  private let bio: JSON
  private let world: World
  private let pool: BioPool
  private let operation: BioOperation
  private let limits: QueueLimits
  private let dirtyStyle: DirtyStyle
  private var built: [BioIndex] = []
  private var bios: [JSON] = []

  /// The most bios that a vector may build.
  private static let maxBios = 512

  /// Runs a vector, once for each generation of dirtying.
  static func run(_ input: JSON) throws(VectorError) -> JSON {
    var family = try BioBuildFamily(input, .page)
    var fields = try family.run(.page)
    if fields["dirty_page"] != nil {
      var second = try BioBuildFamily(input, .folio)
      for (name, value) in try second.run(.folio) where name.hasSuffix("_folio") {
        fields[name] = value
      }
    }
    return .object(fields)
  }

  private init(_ input: JSON, _ granularity: DirtyGranularity) throws(VectorError) {
    self.input = input
    bio = try input.field("bio")
    let retention = try bio.optional("retention")
    if let retention, retention != .string("ref") {
      throw VectorError(text: "unknown retention \(retention.text)")
    }
    world = try World(input, era: retention == nil ? .merged : .get)
    pool = BioPool(slotCount: Self.maxBios, context: world.context)
    pool.dirtyGranularity = granularity
    operation = try BioOperation(named: try bio.field("op"))
    limits = try Self.limits(bio)
    let style = try bio.optional("dirty")?.string("dirty") ?? "none"
    guard let known = DirtyStyle(rawValue: style) else {
      throw VectorError(text: "unknown dirty style \"\(style)\"")
    }
    dirtyStyle = known
  }

  private static func limits(_ bio: JSON) throws(VectorError) -> QueueLimits {
    var limits = QueueLimits()
    let word = 0...Int(UInt32.max)
    limits.logicalBlockSize = try bio.int(field: "lbs", 0...1 << 30, default: 0)
    if limits.logicalBlockSize.nonzeroBitCount > 1 {
      throw VectorError(text: "lbs is not a power of two")
    }
    let isMapping = try bio.field("mode") == .string("map_user")
    // Without a device there is no queue that could accept such pages.
    limits.allowsPeerToPeerDMA =
      try bio.flag("p2p_queue") && (isMapping || limits.logicalBlockSize > 0)
    guard let given = try bio.optional("limits") else { return limits }
    limits.maxZoneAppendSectors = UInt32(
      try given.int(field: "max_zone_append_sectors", word, default: 2560))
    limits.maxHwSectors = UInt32(try given.int(field: "max_hw_sectors", word, default: 2560))
    limits.maxSegments = try given.int(field: "max_segments", word, default: 128)
    limits.maxSegmentSize = UInt32(try given.int(field: "max_segment_size", word, default: 65536))
    limits.segBoundaryMask = UInt64(
      try given.int(field: "seg_boundary_mask", 0...Int.max, default: 0xffff_ffff))
    limits.virtBoundaryMask = UInt64(
      try given.int(field: "virt_boundary_mask", 0...Int.max, default: 0))
    limits.dmaAlignment = UInt32(try given.int(field: "dma_alignment", word, default: 511))
    return limits
  }

  private mutating func run(
    _ granularity: DirtyGranularity
  ) throws(VectorError) -> [String: JSON] {
    let mode = try bio.field("mode").string("mode")
    if mode == "add_page" { return try addPages() }
    var fields: [String: JSON] = [:]
    let cleaned = try self.cleaned()
    let tables = try IterInput(try input.field("iter"))
    var iterator = tables.iterator
    var isRefused = false
    do {
      defer { fields["release"] = .array(complete(cleaned, granularity, &fields, isRefused)) }
      switch mode {
      case "get_pages": try getPages(&iterator)
      case "map_user": try mapUser(&iterator)
      case "dio": isRefused = try directIO(&iterator, &fields)
      default: throw VectorError(text: "unknown mode \"\(mode)\"")
      }
    }
    fields["bios"] = .array(bios)
    fields["leaked"] = world.leaked
    return fields
  }

  private func cleaned() throws(VectorError) -> [Page] {
    var pages: [Page] = []
    for page in try bio.arrayIfPresent("cleaned") {
      pages.append(Page(try page.int("cleaned", 0...world.map.table.count - 1)))
    }
    return pages
  }

  private func makeBio(_ capacity: Int, sector: UInt64 = 0) throws(VectorError) -> Bio {
    do throws(Errno) {
      return try pool.makeBio(operation, sector: sector, vectorCapacity: capacity)
    } catch {
      throw VectorError(text: "more than \(Self.maxBios) bios")
    }
  }

  /// Notes what became of a bio; a successful one stays in flight until it is completed.
  private mutating func note(
    _ bio: consuming Bio, error: Errno?, _ iterator: IOVIter, _ extra: [String: JSON],
    withSector: Bool = false
  ) {
    var fields = extra
    fields["iter"] = iterator.triple
    fields["refs"] = world.changes()
    if let error {
      fields["ret"] = .int(-Int(error.rawValue))
      bio.end(error)
    } else {
      fields["ret"] = .int(0)
      fields.merge(bio.json) { $1 }
      if withSector { fields["sector"] = .int(Int(bio.sector)) }
      built.append(bio.detach())
    }
    bios.append(.object(fields))
  }

  private func fill(_ bio: inout Bio, _ iterator: inout IOVIter) -> Errno? {
    do throws(Errno) { try bio.fill(from: &iterator, limits: limits) } catch { return error }
    return nil
  }

  private mutating func getPages(_ iterator: inout IOVIter) throws(VectorError) {
    let capacity = try bio.int(field: "max_vecs", 0...BioPool.maxVectors)
    let most = try bio.int(field: "max_bios")
    while bios.count < most {
      var next = try makeBio(capacity)
      let error = fill(&next, &iterator)
      note(next, error: error, iterator, [:])
      if error != nil || iterator.count == 0 { break }
    }
  }

  private mutating func mapUser(_ iterator: inout IOVIter) throws(VectorError) {
    let vectorCount = iterator.npages(max: BioPool.maxVectors)
    var next = try makeBio(vectorCount)
    var failure: Errno?
    do throws(Errno) { try next.mapUser(from: &iterator, limits: limits) } catch { failure = error }
    note(next, error: failure, iterator, ["nr_vecs": .int(vectorCount)])
  }

  /// The submission loop of direct I/O.
  ///
  /// - Returns: whether the request was refused for its alignment.
  ///
  /// Kernel: `iomap_dio_bio_iter()`, fs/iomap/direct-io.c, v6.6.
  private mutating func directIO(
    _ iterator: inout IOVIter, _ fields: inout [String: JSON]
  ) throws(VectorError) -> Bool {
    let block = limits.logicalBlockSize
    if block == 0 { throw VectorError(text: "dio needs lbs") }
    let start = try bio.int(field: "pos")
    let length = try bio.int(field: "length")
    let mask = try bio.int(field: "dma_mask", 0...Int(UInt32.max), default: block - 1)
    let isAligned = iterator.isAligned(
      addressMask: UInt32(mask), lengthMask: UInt32(block - 1))
    if (start | length) & (block - 1) != 0 || !isAligned {
      fields["ret"] = .int(-Int(Errno.invalidArgument.rawValue))
      fields["iter_after"] = iterator.triple
      return true
    }
    let cut = max(iterator.count - length, 0)
    iterator.truncate(to: length)
    var copied = 0
    var failure: Errno?
    while iterator.count > 0 {
      let capacity = Self.roundedCapacity(iterator)
      var next = try makeBio(capacity, sector: UInt64(start + copied) >> 9)
      failure = fill(&next, &iterator)
      if failure == nil { copied += next.byteCount }
      note(next, error: failure, iterator, ["max_vecs": .int(capacity)], withSector: true)
      if failure != nil { break }
    }
    iterator.reexpand(to: iterator.count + cut)
    let result = copied > 0 ? copied : -Int(failure?.rawValue ?? 0)
    fields["ret"] = .int(result)
    fields["iter_after"] = iterator.triple
    return false
  }

  /// The size of the segment table that the kernel's pools give out.
  private static func roundedCapacity(_ iterator: IOVIter) -> Int {
    if iterator.kind == .bvec { return 0 }
    let wanted = iterator.npages(max: BioPool.maxVectors)
    return wanted == 0 ? 0 : [4, 16, 64, 128].first { wanted <= $0 } ?? 256
  }

  /// Completes and releases all bios in order.
  private mutating func complete(
    _ cleaned: [Page], _ granularity: DirtyGranularity, _ fields: inout [String: JSON],
    _ isRefused: Bool
  ) -> [JSON] {
    let pages = world.map.table
    if dirtyStyle == .setAndCheck {
      for index in built {
        let bio = pool.adopt(index)
        bio.setPagesDirty()
        _ = bio.detach()
      }
      for page in cleaned {
        pages.clearDirty(granularity == .folio ? pages.head(of: page) : page)
      }
    }
    var releases: [JSON] = []
    var deferred: [JSON] = []
    for index in built {
      var bio = pool.adopt(index)
      switch dirtyStyle {
      case .none: bio.releasePages(markDirty: false)
      case .release: bio.releasePages(markDirty: true)
      case .setAndCheck:
        let isDeferred = bio.checkPagesDirty()
        if isDeferred { bio.releasePages(markDirty: true) }
        deferred.append(.bool(isDeferred))
      }
      bio.end()
      releases.append(world.changes())
    }
    built = []
    let suffix = granularity == .page ? "_page" : "_folio"
    if dirtyStyle != .none && !isRefused { fields["dirty" + suffix] = world.dirtyPages }
    if dirtyStyle == .setAndCheck && !isRefused { fields["deferred" + suffix] = .array(deferred) }
    return releases
  }

  private func addPages() throws(VectorError) -> [String: JSON] {
    let capacity = try bio.int(field: "max_vecs", 0...BioPool.maxVectors)
    let parts = try IterInput.bioVectors(
      .array(try bio.field("adds").array("adds").map { $0.swappedAdd }))
    var target = try makeBio(capacity)
    var results: [Int] = []
    for part in parts {
      results.append(Int(target.add(page: part.page, length: part.length, offset: part.offset)))
    }
    let state = target.json
    target.end()
    return ["rets": .ints(results), "bio": .object(state)]
  }
}

extension JSON {
  /// `[page, length, offset]` as `[page, offset, length]`.
  fileprivate var swappedAdd: JSON {
    guard case .array(let parts) = self, parts.count == 3 else { return self }
    return .array([parts[0], parts[2], parts[1]])
  }
}

extension Bio {
  /// The bio as the vectors write it.
  fileprivate var json: [String: JSON] {
    var names: [JSON] = []
    if flags.contains(.pagePinned) { names.append(.string("pinned")) }
    if flags.contains(.pageReffed) { names.append(.string("reffed")) }
    if flags.contains(.cloned) { names.append(.string("cloned")) }
    return [
      "flags": .array(names), "vcnt": .int(vectorCount), "size": .int(byteCount),
      "idx": .int(Int(iterator.index)), "done": .int(Int(iterator.done)),
      "bvecs": .array((0..<vectorCount).map { vector(at: $0).json }),
    ]
  }
}
