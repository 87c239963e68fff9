// The families `extract` and `getpages`: page lists, counters, positions.

import IOVector
import Memory

/// Runs calls of extraction, or of the legacy path, and operations between them.
struct ExtractFamily {
  private let world: World
  private let input: IterInput
  private var machine: IterMachine
  private let isLegacy: Bool
  private var held: [PageRun] = []
  /// The position before the last call.
  private var before: IOVIter

  /// Runs a vector.
  /// - Parameters:
  ///   - expect: consulted only to see which calls show the kernel's quirk.
  ///   - isQuirk: whether the vector is tagged as the one case in which the kernel's result is a defect.
  /// - Returns: what was found, and what is to be expected, which differs from `expect` by the quirk only.
  static func run(
    _ input: JSON, expect: JSON, isLegacy: Bool, isQuirk: Bool
  ) throws(VectorError) -> (found: JSON, expected: JSON) {
    var family = try ExtractFamily(input, isLegacy: isLegacy)
    for operation in try input.arrayIfPresent("pre") { _ = try family.machine.apply(operation) }
    var calls: [JSON] = []
    var expected = expect
    for call in try input.field("calls").array("calls") {
      calls.append(try family.call(call))
      if isQuirk, let treated = try family.treatQuirk(expected, at: calls.count - 1) {
        expected = treated
        break
      }
    }
    var found: [String: JSON] = ["calls": .array(calls)]
    if !isLegacy { found["will_pin"] = .bool(family.machine.iterator.willPin) }
    family.releaseAll()
    found["leaked"] = family.world.leaked
    return (.object(found), expected)
  }

  private init(_ input: JSON, isLegacy: Bool) throws(VectorError) {
    world = try World(input)
    self.input = try IterInput(try input.field("iter"))
    machine = IterMachine(self.input.iterator)
    before = self.input.iterator
    self.isLegacy = isLegacy
  }

  private mutating func call(_ call: JSON) throws(VectorError) -> JSON {
    before = machine.iterator
    if let operation = try call.optional("op") {
      _ = try machine.apply(operation)
      return .object(["iter": machine.iterator.triple])
    }
    let maxBytes = try call.int(field: "maxsize")
    let isUnlimited = isLegacy ? try call.flag("alloc") : false
    let maxPages =
      isUnlimited
      ? try call.int(field: "maxpages", default: .max) : try call.int(field: "maxpages")
    let flags = ExtractionFlags(rawValue: UInt32(try call.int(field: "flags", 0...1, default: 0)))
    var list = PageList(runCapacity: world.scatteredPages + input.cachedPages + 8)
    var fields: [String: JSON] = [:]
    do throws(Errno) {
      let result =
        isLegacy
        ? try machine.iterator.getPages(
          into: &list, maxBytes: maxBytes, maxPages: maxPages, in: world.context)
        : try machine.iterator.extractPages(
          into: &list, maxBytes: maxBytes, maxPages: maxPages, flags: flags, in: world.context)
      fields["ret"] = .int(result.byteCount)
      if result.byteCount > 0 {
        fields["off"] = .int(result.offsetInFirstPage)
        fields[list.pageCount > 64 ? "pages_rle" : "pages"] = list.pagesOrRuns
      }
    } catch {
      fields["ret"] = .int(-Int(error.rawValue))
    }
    for index in 0..<list.runCount { held.append(list.run(at: index)) }
    fields["iter"] = machine.iterator.triple
    fields["refs"] = world.changes()
    return .object(fields)
  }

  /// Replaces what the kernel's wrapped arithmetic returns by what the aligned case gives.
  ///
  /// With a hole at the first index and a position within a page the kernel claims the whole size and leaves its
  /// page list unwritten, which the vectors show as pages -1. The model treats it like the aligned case:
  /// 0 bytes, nothing moved. Calls after it start from another position, so they are not compared.
  /// - Returns: nil if the call does not show the quirk.
  private func treatQuirk(_ expected: JSON, at place: Int) throws(VectorError) -> JSON? {
    guard case .object(var fields) = expected else { return nil }
    var calls = try expected.field("calls").array("calls")
    guard place < calls.count, let pages = try calls[place].optional("pages"),
      try pages.array("pages").contains(.int(-1))
    else { return nil }
    calls[place] = .object(["ret": .int(0), "iter": before.triple, "refs": .object([:])])
    calls.removeSubrange((place + 1)...)
    fields["calls"] = .array(calls)
    return .object(fields)
  }

  private mutating func releaseAll() {
    let mode: FollFlags = isLegacy ? .get : machine.iterator.extractMode
    for run in held { world.context.release(run, mode: mode) }
    held = []
  }
}

extension PageList {
  /// The pages one by one, or, if they are many, as runs.
  var pagesOrRuns: JSON {
    pageCount > 64 ? runs : .ints((0..<pageCount).map { page(at: $0).number })
  }

  /// The pages as runs of consecutive ones.
  var runs: JSON {
    .array(
      (0..<runCount).map { index in
        let run = run(at: index)
        return .ints([run.first.number, run.count])
      })
  }
}
