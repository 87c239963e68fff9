// Numbers in few characters.

/// How numbers are written on the screen.
enum Figures {
  /// A count or a rate: `0`, `7.5`, `9999`, `304k`, `12.5M`.
  static func count(_ value: Double) -> String {
    scaled(value, by: 1000, ["", "k", "M", "G", "T"])
  }

  /// Bytes: `512`, `4.0K`, `1.2G`.
  static func bytes(_ value: Double) -> String {
    scaled(value, by: 1024, ["", "K", "M", "G", "T", "P"])
  }

  /// A time given in nanoseconds: `0`, `820ns`, `104us`, `1.5ms`, `2.0s`; a dash for none.
  static func time(_ nanoseconds: Int?) -> String {
    guard let nanoseconds else { return "-" }
    // The lowest bucket of a distribution has 0 and 1.
    if nanoseconds <= 1 { return "0" }
    if nanoseconds < 1000 { return "\(nanoseconds)ns" }
    var value = Double(nanoseconds)
    for unit in ["us", "ms"] {
      value /= 1000
      if value < 999.5 { return short(value) + unit }
    }
    return short(value / 1000) + "s"
  }

  private static func scaled(_ value: Double, by step: Double, _ units: [String]) -> String {
    if value < 0 { return "-" + scaled(-value, by: step, units) }
    if value < 9999.5 && step == 1000 {
      return value < 9.95 && value != value.rounded() ? tenths(value) : "\(Int(value.rounded()))"
    }
    var rest = value
    for unit in units {
      if rest < step - 0.5 { return (unit.isEmpty ? "\(Int(rest.rounded()))" : short(rest)) + unit }
      rest /= step
    }
    return short(rest * step) + (units.last ?? "")
  }

  private static func short(_ value: Double) -> String {
    value < 99.95 ? tenths(value) : "\(Int(value.rounded()))"
  }

  private static func tenths(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }
}

/// Values over time, the newest last; as many as a wide terminal can show.
struct History: Sendable {
  private(set) var values: [Double] = []
  static let limit = 512

  mutating func append(_ value: Double) {
    values.append(value)
    if values.count > Self.limit { values.removeFirst(values.count - Self.limit) }
  }

  /// The newest values as bars, each as high as it is beside the greatest that is shown.
  func sparkline(width: Int, isUnicode: Bool) -> String {
    let shown = values.suffix(max(width, 0))
    let greatest = shown.max() ?? 0
    let steps = Array(isUnicode ? "▁▂▃▄▅▆▇█" : "_.,:;=*#")
    let bars = shown.map { value in
      greatest <= 0 || value <= 0
        ? steps[0]
        : steps[min(steps.count - 1, Int(value / greatest * Double(steps.count - 1) + 0.5))]
    }
    return String(repeating: " ", count: max(0, width - shown.count)) + String(bars)
  }
}

/// Text in columns of a terminal.
enum Columns {
  /// How many columns a character takes, about: none, one, or two for the wide ones of East Asia and emoji.
  static func width(_ character: Character) -> Int {
    guard let scalar = character.unicodeScalars.first else { return 0 }
    switch scalar.value {
    case 0x1100...0x115f, 0x2e80...0xa4cf, 0xac00...0xd7a3, 0xf900...0xfaff, 0xfe30...0xfe6f,
      0xff00...0xff60, 0xffe0...0xffe6, 0x1f300...0x1faff, 0x20000...0x3fffd:
      return 2
    default: return 1
    }
  }

  /// At most so many columns of a text, filled up with blanks.
  static func fit(_ text: String, _ width: Int) -> String {
    var result = ""
    var used = 0
    for character in text {
      let columns = Self.width(character)
      if used + columns > width { break }
      result.append(character)
      used += columns
    }
    return result + String(repeating: " ", count: max(0, width - used))
  }

  /// A text at the right of so many columns; if it is longer, all of it.
  static func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }

  /// The end of a text that is too long, behind an ellipsis: of a path, that tells most.
  static func tail(_ text: String, _ width: Int) -> String {
    if text.reduce(0, { $0 + Self.width($1) }) <= width { return text }
    var result: [Character] = []
    var used = 3
    for character in text.reversed() {
      used += Self.width(character)
      if used > width { break }
      result.append(character)
    }
    return "..." + String(result.reversed())
  }
}
