// JSON values, as far as vectors need them: whole numbers stay whole, and nothing is ever guessed.

/// Why a vector cannot be run.
struct VectorError: Error {
  let text: String
}

/// A JSON value.
enum JSON: Equatable, Sendable {
  case null
  case bool(Bool)
  case int(Int)
  /// A number that is not a whole one of 64 bits, as it was written.
  case otherNumber(String)
  case string(String)
  case array([JSON])
  case object([String: JSON])

  /// Reads one value that fills the text.
  /// - Throws: for anything that is not JSON, and for nesting beyond 64 levels.
  init(parsing text: [UInt8]) throws(VectorError) {
    var parser = JSONParser(text)
    self = try parser.document()
  }

  /// The value as text, shortened: for differences.
  var text: String {
    switch self {
    case .null: return "null"
    case .bool(let value): return value ? "true" : "false"
    case .int(let value): return String(value)
    case .otherNumber(let value): return value
    case .string(let value): return "\"\(value)\""
    case .array(let values):
      let shown = values.prefix(24).map(\.text).joined(separator: ",")
      return values.count > 24 ? "[\(shown),… \(values.count) elements]" : "[\(shown)]"
    case .object(let fields):
      let shown = fields.sorted { $0.key < $1.key }.prefix(24).map {
        "\"\($0.key)\":\($0.value.text)"
      }
      return "{\(shown.joined(separator: ","))}"
    }
  }
}

/// Reads JSON by recursive descent.
private struct JSONParser {
  private let text: [UInt8]
  private var place = 0
  private var depth = 0

  init(_ text: [UInt8]) { self.text = text }

  mutating func document() throws(VectorError) -> JSON {
    let value = try value()
    skipSpace()
    if place != text.count { throw error("text after the value") }
    return value
  }

  private func error(_ what: String) -> VectorError {
    VectorError(text: "not JSON: \(what) at byte \(place)")
  }

  private mutating func skipSpace() {
    while place < text.count, [0x20, 0x09, 0x0a, 0x0d].contains(text[place]) { place += 1 }
  }

  /// The next byte that is not white space; 0 at the end.
  private mutating func peek() -> UInt8 {
    skipSpace()
    return place < text.count ? text[place] : 0
  }

  private mutating func take(_ byte: Character) throws(VectorError) {
    if peek() != byte.asciiValue { throw error("no '\(byte)'") }
    place += 1
  }

  private mutating func value() throws(VectorError) -> JSON {
    depth += 1
    defer { depth -= 1 }
    if depth > 64 { throw error("nested too deeply") }
    switch peek() {
    case UInt8(ascii: "{"): return try object()
    case UInt8(ascii: "["): return try array()
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    default: return try number()
    }
  }

  private mutating func word(_ word: String, _ value: JSON) throws(VectorError) -> JSON {
    let bytes = Array(word.utf8)
    guard text[place...].starts(with: bytes) else { throw error("an unknown word") }
    place += bytes.count
    return value
  }

  private mutating func object() throws(VectorError) -> JSON {
    try take("{")
    var fields: [String: JSON] = [:]
    if peek() == UInt8(ascii: "}") {
      place += 1
      return .object(fields)
    }
    while true {
      if peek() != UInt8(ascii: "\"") { throw error("no field name") }
      let name = try string()
      try take(":")
      if fields.updateValue(try value(), forKey: name) != nil { throw error("a field twice") }
      if peek() == UInt8(ascii: ",") {
        place += 1
        continue
      }
      try take("}")
      return .object(fields)
    }
  }

  private mutating func array() throws(VectorError) -> JSON {
    try take("[")
    var values: [JSON] = []
    if peek() == UInt8(ascii: "]") {
      place += 1
      return .array(values)
    }
    while true {
      values.append(try value())
      if peek() == UInt8(ascii: ",") {
        place += 1
        continue
      }
      try take("]")
      return .array(values)
    }
  }

  private mutating func string() throws(VectorError) -> String {
    place += 1
    var bytes: [UInt8] = []
    while place < text.count {
      let byte = text[place]
      place += 1
      if byte == UInt8(ascii: "\"") {
        guard let string = String(validating: bytes, as: UTF8.self) else {
          throw error("a string that is not UTF-8")
        }
        return string
      }
      if byte < 0x20 { throw error("a control character") }
      if byte == UInt8(ascii: "\\") { bytes += try escape() } else { bytes.append(byte) }
    }
    throw error("an unfinished string")
  }

  private mutating func escape() throws(VectorError) -> [UInt8] {
    guard place < text.count else { throw error("an unfinished string") }
    let byte = text[place]
    place += 1
    switch byte {
    case UInt8(ascii: "n"): return [0x0a]
    case UInt8(ascii: "t"): return [0x09]
    case UInt8(ascii: "r"): return [0x0d]
    case UInt8(ascii: "b"): return [0x08]
    case UInt8(ascii: "f"): return [0x0c]
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
    case UInt8(ascii: "u"):
      let digits = text[place...].prefix(4)
      guard digits.count == 4, let code = UInt32(String(decoding: digits, as: UTF8.self), radix: 16)
      else { throw error("a bad escape") }
      place += 4
      // Pairs of surrogates do not occur in vectors; each half reads as a replacement character.
      return Array(String(Unicode.Scalar(code) ?? "\u{fffd}").utf8)
    default: throw error("a bad escape")
    }
  }

  private mutating func number() throws(VectorError) -> JSON {
    let start = place
    let allowed = Array("+-.0123456789eE".utf8)
    while place < text.count, allowed.contains(text[place]) { place += 1 }
    let written = String(decoding: text[start..<place], as: UTF8.self)
    if written.hasPrefix("+") { throw error("no value") }
    if let whole = Int(written) { return .int(whole) }
    if Double(written) == nil { throw error("no value") }
    return .otherNumber(written)
  }
}
