// The family `bio_iter`: moving along bios, listing them, cutting them.

import Block
import IOVector
import Memory

/// One operation of a vector, checked before any bio exists, so that nothing can go wrong while one does.
private enum BioStep {
  case advance(Int)
  case advanceIterator(Int)
  case advanceSingle(Int)
  case segments
  case vectors
  case allSegments
  case allFolios
  case segmentCount
  case sectors
  case split(sectors: Int, follow: Bool)
  case trim(offset: Int, size: Int)
  case truncate(Int)

  init(_ operation: JSON) throws(VectorError) {
    let parts = try operation.array("op", count: 1...3)
    let name = try parts[0].string("op")
    func argument(_ place: Int) throws(VectorError) -> Int {
      guard place < parts.count else { throw VectorError(text: "\(name) wants more arguments") }
      return try parts[place].int(name)
    }
    switch name {
    case "advance": self = .advance(try argument(1))
    case "advance_iter": self = .advanceIterator(try argument(1))
    case "advance_single": self = .advanceSingle(try argument(1))
    case "segments": self = .segments
    case "bvecs": self = .vectors
    case "segments_all": self = .allSegments
    case "folios_all": self = .allFolios
    case "nr_segments": self = .segmentCount
    case "sectors": self = .sectors
    case "split":
      guard parts.count == 3, case .bool(let follow) = parts[2] else {
        throw VectorError(text: "split wants sectors and true or false")
      }
      self = .split(sectors: try argument(1), follow: follow)
    case "trim": self = .trim(offset: try argument(1), size: try argument(2))
    case "truncate": self = .truncate(try argument(1))
    default: throw VectorError(text: "unknown operation \"\(name)\"")
    }
  }
}

/// Runs operations on a bio with a given table and position.
enum BioIterFamily {
  /// Runs a vector.
  static func run(_ input: JSON) throws(VectorError) -> JSON {
    let world = try World(input)
    let description = try input.field("bio")
    let operation = try BioOperation(named: try description.field("op"))
    let position = try position(try description.field("iter"))
    let vectors = try IterInput.bioVectors(try description.field("bvecs"))
    let total = vectors.reduce(0) { $0 + Int($1.length) }
    let tables = try IterInput(
      .object([
        "type": .string("bvec"), "dir": .string("source"),
        "bvecs": try description.field("bvecs"), "count": .int(total),
      ]))
    var steps: [BioStep] = []
    for step in try input.field("ops").array("ops") { steps.append(try BioStep(step)) }
    let pool = BioPool(slotCount: steps.count + 1, vectorsPerBio: 1, context: world.context)
    var walk = BioWalk(pool: pool)
    return .object(["ops": .array(try walk.run(steps, operation, position, tables))])
  }

  private static func position(_ input: JSON) throws(VectorError) -> BioIterator {
    let word = 0...Int(UInt32.max)
    return BioIterator(
      sector: UInt64(try input.int(field: "sector")),
      size: UInt32(try input.int(field: "size", word)),
      index: UInt32(try input.int(field: "idx", word)),
      done: UInt32(try input.int(field: "done", word)))
  }
}

/// A run of steps. Bios that are no longer current stay in flight until the end.
private struct BioWalk {
  let pool: BioPool
  private var parked: [BioIndex] = []

  init(pool: BioPool) { self.pool = pool }

  mutating func run(
    _ steps: [BioStep], _ operation: BioOperation, _ position: BioIterator, _ tables: IterInput
  ) throws(VectorError) -> [JSON] {
    var results: [JSON] = []
    var iterator = tables.iterator
    var bio: Bio
    do throws(Errno) {
      bio = try pool.makeBio(operation, sector: 0, vectorCapacity: 0)
    } catch {
      throw VectorError(text: "no bio: errno \(error.rawValue)")
    }
    do throws(Errno) {
      try bio.fill(from: &iterator)
    } catch {
      bio.end(error)
      throw VectorError(text: "the table cannot be shared: errno \(error.rawValue)")
    }
    bio.iterator = position
    for step in steps {
      var fields = list(step, bio) ?? move(step, &bio)
      if case .split(let sectors, let follow) = step {
        split(&bio, sectors: sectors, follow: follow, &fields)
      }
      fields["iter"] = bio.iterator.json
      results.append(.object(fields))
    }
    bio.end()
    for index in parked.reversed() { pool.adopt(index).end() }
    return results
  }

  private func list(_ step: BioStep, _ bio: borrowing Bio) -> [String: JSON]? {
    var items: [JSON] = []
    switch step {
    case .segments: items = bio.segmentList
    case .vectors:
      var position = bio.iterator
      while let piece = bio.nextVector(&position) { items.append(piece.json) }
    case .allSegments: bio.forEachSegment { items.append($0.json) }
    case .allFolios:
      bio.forEachFolio { items.append(.ints([$0.head.number, $0.offset, $0.length])) }
    case .segmentCount: return ["ret": .int(bio.segmentCount)]
    case .sectors: return ["ret": .int(bio.sectorCount)]
    default: return nil
    }
    return ["list": .array(items)]
  }

  private func move(_ step: BioStep, _ bio: inout Bio) -> [String: JSON] {
    switch step {
    case .advance(let bytes): bio.advance(by: bytes)
    case .advanceIterator(let bytes): bio.advanceIterator(by: bytes)
    case .advanceSingle(let bytes): bio.advanceIteratorSingle(by: bytes)
    case .trim(let offset, let size): bio.trim(offset: offset, size: size)
    case .truncate(let bytes): bio.truncate(to: bytes)
    default: break
    }
    return [:]
  }

  private mutating func split(
    _ bio: inout Bio, sectors: Int, follow: Bool, _ fields: inout [String: JSON]
  ) {
    var front: Bio
    do throws(Errno) {
      front = try bio.split(sectors: sectors)
    } catch {
      fields["ret"] = .null
      return
    }
    fields["split"] = front.iterator.json
    if front.operation == .read || front.operation == .write {
      fields["split_segments"] = .array(front.segmentList)
    }
    if !follow {
      front.end()
      return
    }
    fields["swap"] = .bool(true)
    // The front becomes the current bio.
    swap(&bio, &front)
    parked.append(front.detach())
  }
}

extension BioOperation {
  /// The operation of a name in the vectors.
  init(named name: JSON) throws(VectorError) {
    switch try name.string("op") {
    case "read": self = .read
    case "write": self = .write
    case "flush": self = .flush
    case "discard": self = .discard
    case "secure_erase": self = .secureErase
    case "zone_append": self = .zoneAppend
    case "write_zeroes": self = .writeZeroes
    case let other: throw VectorError(text: "unknown operation \"\(other)\"")
    }
  }
}

extension BioIterator {
  /// The position as the vectors write it.
  var json: JSON {
    .array([
      .int(Int(truncatingIfNeeded: sector)), .int(Int(size)), .int(Int(index)), .int(Int(done)),
    ])
  }
}

extension BioVec {
  /// The segment as the vectors write it.
  var json: JSON { .ints([page.number, Int(offset), Int(length)]) }
}

extension Bio {
  /// The pieces within one page from the present position on.
  var segmentList: [JSON] {
    var position = iterator
    var items: [JSON] = []
    while let piece = nextSegment(&position) { items.append(piece.json) }
    return items
  }
}
