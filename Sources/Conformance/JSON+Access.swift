// Getting at the parts of a vector: each access says what it wants, and a vector without it is malformed.

extension JSON {
  /// A field that must be there.
  func field(_ name: String) throws(VectorError) -> JSON {
    guard let value = try optional(name) else { throw VectorError(text: "no field \"\(name)\"") }
    return value
  }

  /// A field that may be absent.
  func optional(_ name: String) throws(VectorError) -> JSON? {
    guard case .object(let fields) = self else {
      throw VectorError(text: "an object with \"\(name)\" was expected, not \(text)")
    }
    return fields[name]
  }

  /// A whole number within bounds.
  func int(_ what: String, _ range: ClosedRange<Int> = 0...Int.max >> 1) throws(VectorError) -> Int
  {
    guard case .int(let value) = self, range.contains(value) else {
      throw VectorError(text: "\(what): a whole number in \(range) was expected, not \(text)")
    }
    return value
  }

  /// A field with a whole number within bounds.
  func int(
    field name: String, _ range: ClosedRange<Int> = 0...Int.max >> 1
  ) throws(VectorError) -> Int {
    try field(name).int(name, range)
  }

  /// A field with a whole number within bounds, or what stands for its absence.
  func int(
    field name: String, _ range: ClosedRange<Int> = 0...Int.max >> 1, default value: Int
  ) throws(VectorError) -> Int {
    try optional(name)?.int(name, range) ?? value
  }

  /// A field with a truth value; false if absent.
  func flag(_ name: String) throws(VectorError) -> Bool {
    guard let value = try optional(name) else { return false }
    guard case .bool(let flag) = value else {
      throw VectorError(text: "\(name): true or false was expected, not \(value.text)")
    }
    return flag
  }

  /// A string.
  func string(_ what: String) throws(VectorError) -> String {
    guard case .string(let value) = self else {
      throw VectorError(text: "\(what): a string was expected, not \(text)")
    }
    return value
  }

  /// The elements of an array.
  /// - Parameter count: how many there must be, if that is known.
  func array(
    _ what: String, count: ClosedRange<Int> = 0...Int.max
  ) throws(VectorError) -> [JSON] {
    guard case .array(let values) = self, count.contains(values.count) else {
      throw VectorError(text: "\(what): an array of \(count) elements was expected, not \(text)")
    }
    return values
  }

  /// The elements of an array field; none if it is absent.
  func arrayIfPresent(_ name: String) throws(VectorError) -> [JSON] {
    try optional(name)?.array(name) ?? []
  }

  /// An array of whole numbers.
  static func ints(_ values: [Int]) -> JSON { .array(values.map { .int($0) }) }
}

/// Compares what was expected with what was found.
///
/// - Returns: the first difference with its path, or nil. `warn` is informative and not compared.
func firstDifference(_ expected: JSON, _ found: JSON, path: String) -> String? {
  switch (expected, found) {
  case (.object(let wanted), .object(let got)):
    let names = Set(wanted.keys).union(got.keys).subtracting(["warn"]).sorted()
    for name in names {
      let here = path.isEmpty ? name : "\(path).\(name)"
      guard let want = wanted[name] else {
        return "\(here): expected nothing, found \(got[name]?.text ?? "")"
      }
      guard let have = got[name] else { return "\(here): expected \(want.text), found nothing" }
      if let difference = firstDifference(want, have, path: here) { return difference }
    }
    return nil
  case (.array(let wanted), .array(let got)):
    for (index, pair) in zip(wanted, got).enumerated() {
      if let difference = firstDifference(pair.0, pair.1, path: "\(path)[\(index)]") {
        return difference
      }
    }
    if wanted.count == got.count { return nil }
    return "\(path): expected \(wanted.count) elements, found \(got.count)"
  default:
    if expected == found { return nil }
    return "\(path): expected \(expected.text), found \(found.text)"
  }
}
