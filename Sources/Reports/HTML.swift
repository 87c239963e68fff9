// HTML and SVG as text: a few elements, everything from outside escaped.

/// Text that stands for itself in HTML.
func escaped(_ text: String) -> String {
  var result = ""
  for character in text {
    switch character {
    case "&": result += "&amp;"
    case "<": result += "&lt;"
    case ">": result += "&gt;"
    case "\"": result += "&quot;"
    default: result.append(character)
    }
  }
  return result
}

/// Numbers for people.
enum Shown {
  /// Nanoseconds, with the unit that suits.
  static func time(_ nanoseconds: Int) -> String {
    let value = Double(nanoseconds)
    if value < 1e3 { return "\(nanoseconds) ns" }
    if value < 1e6 { return places(value / 1e3) + " µs" }
    if value < 1e9 { return places(value / 1e6) + " ms" }
    return places(value / 1e9) + " s"
  }

  /// Bytes, with the unit that suits.
  static func bytes(_ count: Int) -> String {
    let value = Double(count)
    if value < 1024 { return "\(count) B" }
    if value < 1024 * 1024 { return places(value / 1024) + " KiB" }
    if value < 1024 * 1024 * 1024 { return places(value / 1024 / 1024) + " MiB" }
    return places(value / 1024 / 1024 / 1024) + " GiB"
  }

  /// A number with its thousands apart.
  static func count(_ number: Int) -> String {
    var digits = String(number.magnitude)
    var groups: [String] = []
    while digits.count > 3 {
      groups.insert(String(digits.suffix(3)), at: 0)
      digits.removeLast(3)
    }
    groups.insert(digits, at: 0)
    return (number < 0 ? "-" : "") + groups.joined(separator: " ")
  }

  /// Three significant digits.
  static func places(_ value: Double) -> String {
    if value >= 100 || value == value.rounded() { return count(Int(value.rounded())) }
    let factor: Double = value >= 10 ? 10 : 100
    return "\((value * factor).rounded() / factor)"
  }
}

/// A table; the first column names its row.
func table(
  _ headings: [String], _ rows: [[String]], caption: String, isText: Bool = false
) -> String {
  var text =
    "<table\(isText ? " class=\"text\"" : "")><caption>\(escaped(caption))</caption><thead><tr>"
  for heading in headings { text += "<th scope=\"col\">\(escaped(heading))</th>" }
  text += "</tr></thead><tbody>\n"
  for row in rows {
    text += "<tr><th scope=\"row\">\(escaped(row.first ?? ""))</th>"
    for cell in row.dropFirst() { text += "<td>\(escaped(cell))</td>" }
    text += "</tr>\n"
  }
  return text + "</tbody></table>\n"
}
