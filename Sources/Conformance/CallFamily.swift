// Vectors of whole calls: the fields that a model must reproduce are computed, and set beside the expected ones.

import DirectCall
import IOVector
import Memory

/// Runs vectors of whole direct-I/O calls.
enum CallFamily {
  /// The era whose rules a vector's kernel follows.
  static func era(_ kernel: String) throws(VectorError) -> Era {
    guard let version = KernelVersion(release: kernel), version >= KernelVersion(4, 0) else {
      throw VectorError(text: "unknown kernel \"\(kernel)\"")
    }
    return Era.nearest(to: version)
  }

  /// Runs one vector.
  /// - Returns: what was found and what is expected of it, both cut to the fields that count.
  static func run(
    _ vector: JSON, family: String
  ) throws(VectorError) -> (found: JSON, expected: JSON) {
    let input = try vector.field("input")
    let expect = try vector.field("expect")
    let era = try era(vector.field("kernel").string("kernel"))
    let leaks = try expect.optional("pins_leaked") != nil
    let run = try CallInput(input, era: era, bugs: leaks ? .trimKeepsPin : [])
    let expectedCalls = try expect.field("calls").array("calls")
    let records = run.call.run(in: run.memory)
    let isSecret = try Self.isSecret(input)
    let form = CallForm(
      isServer: run.call.target == .server, onlyBalance: family == "cow" || isSecret,
      foreign: run.foreign)
    var found: [JSON] = []
    for (index, record) in records.enumerated() {
      found.append(form.json(record, isFirst: index == 0))
    }
    var expected: [JSON] = []
    for (index, call) in expectedCalls.enumerated() {
      expected.append(
        try form.expected(
          call, isFirst: index == 0, beside: index < records.count ? records[index] : nil))
    }
    var left: [String: JSON] = ["calls": .array(found)]
    var right: [String: JSON] = ["calls": .array(expected)]
    if let registration = try expect.optional("register") {
      right["registered"] = .bool(try registration.int(field: "ret", Int.min...Int.max) == 0)
      left["registered"] = .bool(run.call.canRegister(in: run.memory))
    }
    if leaks {
      left["pins_leaked"] = .int(records.reduce(0) { $0 + $1.acquired - $1.released })
      right["pins_leaked"] = try expect.field("pins_leaked")
    }
    return (.object(left), .object(right))
  }

  private static func isSecret(_ input: JSON) throws(VectorError) -> Bool {
    for area in try input.arrayIfPresent("map") {
      let parts = try area.array("map", count: 5...5)
      if try parts[0].string("kind") == "secret" { return true }
    }
    return false
  }
}

/// Brings a record and a vector's call into one form.
struct CallForm {
  let isServer: Bool
  let onlyBalance: Bool
  let foreign: Set<Int>
  /// Entries of a table that a vector lists at most.
  static let mostVectors = 288

  // MARK: What was found

  /// - Parameter isFirst: whether position and length are those that were given.
  func json(_ record: CallRecord, isFirst: Bool) -> JSON {
    var fields: [String: JSON] = [
      "ret": .int(record.result),
      "pins": onlyBalance
        ? .bool(record.acquired == record.released) : .ints([record.acquired, record.released]),
      "bios": .array(joinCached(record.bios.map { ($0.isCached, bio($0)) })),
    ]
    if !isFirst {
      fields["off"] = .int(record.offset)
      fields["left"] = .int(record.left)
    }
    fields["gp"] = list(record.fills.map(fill))
    fields["gup"] = list(record.lookups.map(lookup))
    fields["bounce"] = list(record.bounces.map { .int($0) })
    fields["release"] = set(record.releases.map { event($0, flag: true) })
    fields["set_dirty"] = set(record.dirtied.map { event($0) })
    fields["check_dirty"] = set(record.checked.map { event($0) })
    fields["unbounce"] = set(record.unbounced.map { event($0) })
    if isServer {
      fields["fuse_requests"] = list(
        record.serverRequests.map {
          .array([.string($0.isWrite ? "write" : "read"), .int($0.offset), .int($0.byteCount)])
        })
    }
    return .object(fields)
  }

  /// Sums up bios of the page cache that follow each other: how they are cut depends on where the kernel found pages.
  private func joinCached(_ bios: [(isCached: Bool, value: JSON)]) -> [JSON] {
    var joined: [JSON] = []
    var open: (operation: JSON, size: Int)?
    func flush() {
      if let open { joined.append(.object(["op": open.operation, "cached": .int(open.size)])) }
      open = nil
    }
    for bio in bios {
      guard bio.isCached, case .object(let fields) = bio.value,
        case .int(let size) = fields["size"],
        let operation = fields["op"]
      else {
        flush()
        joined.append(bio.value)
        continue
      }
      if let last = open, last.operation == operation {
        open = (operation, last.size + size)
      } else {
        flush()
        open = (operation, size)
      }
    }
    flush()
    return joined
  }

  private func list(_ values: [JSON]) -> JSON? { values.isEmpty ? nil : .array(values) }

  /// A set, in the order of its elements' text.
  private func set(_ values: [JSON]) -> JSON? {
    var seen: [JSON] = []
    for value in values.sorted(by: { $0.text < $1.text }) where seen.last != value {
      seen.append(value)
    }
    return list(seen)
  }

  private func event(_ event: BioEvent, flag: Bool = false) -> JSON {
    let place = event.bio.map { JSON.int($0) } ?? .null
    return flag ? .array([place, .int(event.marksDirty ? 1 : 0)]) : place
  }

  private func lookup(_ lookup: LookupRecord) -> JSON {
    .object([
      "fn": .string(lookup.pins ? "pin" : "get"),
      "at": .int(Int(truncatingIfNeeded: lookup.address &- CallInput.window)),
      "nr": .int(lookup.wanted), "write": .int(lookup.isWrite ? 1 : 0),
      "ret": .int(lookup.result),
    ])
  }

  private func fill(_ fill: FillRecord) -> JSON {
    var fields: [String: JSON] = [
      "iter": .ints(fill.iterator), "max_vecs": .int(fill.maxVectors), "ret": .int(fill.result),
    ]
    fields["gup"] = list(fill.lookups.map(lookup))
    return .object(fields)
  }

  private func bio(_ bio: BioRecord) -> JSON {
    var fields: [String: JSON] = [
      "op": .string(bio.isWrite ? "write" : "read"),
      "flags": .array(bio.flags.sorted().map { .string($0) }), "size": .int(bio.byteCount),
      "vcnt": .int(bio.vectorCount), "max_vecs": .int(bio.maxVectors),
      "bvecs": .array(bio.vectors.prefix(Self.mostVectors).map(segment)),
      "sector": bio.sector.map { .int($0) } ?? .null,
    ]
    if bio.start != [0, 0] { fields["start"] = .ints(bio.start) }
    fields["user_bvecs"] = list(bio.userVectors.map(segment))
    fields["frags"] = list(bio.fragments.map { .ints($0) })
    return .object(fields)
  }

  private func segment(_ vector: BioVec) -> JSON {
    .array([
      vector.page == foreignPage ? .string("foreign") : .int(vector.page.number),
      .int(Int(vector.offset)), .int(Int(vector.length)),
    ])
  }

  // MARK: What is expected

  /// The fields of a call that a model must reproduce.
  /// - Parameters:
  ///   - isFirst: whether position and length are those that were given.
  ///   - record: what was found: it says which bios a cache may have given, and which are of the page cache.
  func expected(
    _ call: JSON, isFirst: Bool, beside record: CallRecord?
  ) throws(VectorError) -> JSON {
    var fields: [String: JSON] = [:]
    for name in (isFirst ? [] : ["off", "left"]) + ["ret", "gup", "bounce"] {
      fields[name] = try call.optional(name)
    }
    let pins = try call.field("pins").array("pins", count: 2...2)
    fields["pins"] = onlyBalance ? .bool(pins[0] == pins[1]) : .array(pins)
    for name in ["release", "set_dirty", "check_dirty", "unbounce"] {
      fields[name] = try set(call.arrayIfPresent(name))
    }
    let cachedCount = record?.bios.filter(\.isCached).count ?? 0
    var bios: [(isCached: Bool, value: JSON)] = []
    for (index, bio) in try call.arrayIfPresent("bios").enumerated() {
      let twin = record.flatMap { index < $0.bios.count ? $0.bios[index] : nil }
      let value = try expectedBio(bio, beside: twin)
      let isOfCache = try isOfCache(bio)
      bios.append((cachedCount > 0 && isOfCache, value))
    }
    fields["bios"] = .array(joinCached(bios))
    var fills: [JSON] = []
    for (index, fill) in try call.arrayIfPresent("gp").enumerated() {
      guard case .object(var parts) = try without(fill, ["type"]) else { continue }
      if parts["gup"] == .array([]) { parts["gup"] = nil }
      if let record, index < record.fills.count, record.fills[index].isPooled {
        parts["max_vecs"] = relaxed(parts["max_vecs"], record.fills[index].maxVectors)
      }
      fills.append(.object(parts))
    }
    fields["gp"] = list(fills)
    if isServer { fields["fuse_requests"] = try list(call.arrayIfPresent("fuse_requests")) }
    return .object(fields)
  }

  private func without(_ value: JSON, _ names: Set<String>) throws(VectorError) -> JSON {
    guard case .object(let fields) = value else { return value }
    return .object(fields.filter { !names.contains($0.key) })
  }

  /// Room for four where the model says that a ring's cache gives exactly what was asked for: whether the cache had
  /// one left is history that no vector tells.
  private func relaxed(_ expected: JSON?, _ found: Int) -> JSON? {
    expected == .int(4) && found < 4 ? .int(found) : expected
  }

  private func isOfCache(_ bio: JSON) throws(VectorError) -> Bool {
    if try bio.optional("user_bvecs") != nil { return false }
    for vector in try bio.arrayIfPresent("bvecs") {
      if !foreign.contains(try vector.array("bvec", count: 3...3)[0].int("page", 0...1 << 40)) {
        return false
      }
    }
    return true
  }

  private func expectedBio(_ bio: JSON, beside twin: BioRecord?) throws(VectorError) -> JSON {
    guard
      case .object(var fields) = try without(bio, ["opf", "refs_first8", "bvecs_cut"])
    else { return bio }
    if fields["sector"] == .null, let twin { fields["sector"] = twin.sector.map { .int($0) } }
    if let twin, twin.isPooled { fields["max_vecs"] = relaxed(fields["max_vecs"], twin.maxVectors) }
    var flags: [String] = []
    for flag in try bio.arrayIfPresent("flags") { flags.append(try flag.string("flag")) }
    fields["flags"] = .array(flags.sorted().map { .string($0) })
    for name in ["bvecs", "user_bvecs"] {
      guard case .array(let vectors) = fields[name] else { continue }
      var named: [JSON] = []
      for vector in vectors {
        let parts = try vector.array("bvec", count: 3...3)
        let isForeign = foreign.contains(try parts[0].int("page", 0...1 << 40))
        named.append(.array([isForeign ? .string("foreign") : parts[0], parts[1], parts[2]]))
      }
      fields[name] = .array(named)
    }
    return .object(fields)
  }
}
