// The family `iter_ops`: importing, moving and measuring iterators.

import IOVector
import Memory

/// Runs operations on an iterator that is described or imported.
enum IterOpsFamily {
  /// Runs a vector.
  static func run(_ input: JSON) throws(VectorError) -> JSON {
    if let imported = try input.optional("import") { return try runImport(imported, input) }
    let tables = try IterInput(try input.field("iter"))
    let result = try operations(tables.iterator, input)
    return .object(["ops": result])
  }

  private static func operations(
    _ iterator: IOVIter, _ input: JSON
  ) throws(VectorError) -> JSON {
    var machine = IterMachine(iterator)
    var results: [JSON] = []
    for operation in try input.field("ops").array("ops") {
      var fields: [String: JSON] = [:]
      if let result = try machine.apply(operation) { fields["ret"] = result }
      fields["iter"] = machine.iterator.triple
      results.append(.object(fields))
    }
    return .array(results)
  }

  private static func runImport(_ imported: JSON, _ input: JSON) throws(VectorError) -> JSON {
    let direction = try IterInput.direction(imported)
    let function = try imported.field("fn").string("fn")
    switch function {
    case "import_ubuf":
      let base = try imported.int(field: "base", 0...Int.max)
      let length = try imported.int(field: "len", Int.min...Int.max)
      return try describe(input, returnsTotal: false) { () throws(Errno) in
        try IOVIter.importUserBuffer(UInt64(base), length: length, direction: direction)
      }
    case "import_iovec":
      let segments = try IterInput.vectors(
        try imported.field("segs"), lengths: Int.min...Int.max)
      let table = UnsafeMutableBufferPointer<IOVec>.allocate(capacity: segments.count)
      defer { unsafe table.deallocate() }
      _ = unsafe table.initialize(from: segments)
      return try describe(input, returnsTotal: true) { () throws(Errno) in
        try unsafe IOVIter.importUserVectors(table, direction: direction)
      }
    default: throw VectorError(text: "unknown function \"\(function)\"")
    }
  }

  private static func describe(
    _ input: JSON, returnsTotal: Bool, _ make: () throws(Errno) -> IOVIter
  ) throws(VectorError) -> JSON {
    let iterator: IOVIter
    do throws(Errno) {
      iterator = try make()
    } catch {
      return .object(["import_ret": .int(-Int(error.rawValue))])
    }
    let state: [String: JSON] = [
      "type": .string(iterator.typeName),
      "dir": .string(iterator.direction == .source ? "source" : "dest"),
      "user": .bool(iterator.isUserBacked), "iter": iterator.triple,
    ]
    return .object([
      "import_ret": .int(returnsTotal ? iterator.count : 0), "imported": .object(state),
      "ops": try operations(iterator, input),
    ])
  }
}
