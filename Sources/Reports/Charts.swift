// Charts as SVG: bars and lines, each with its figures as a table beneath, which opens by keyboard as by mouse.

/// One line or set of bars.
struct Series {
  let name: String
  /// One value for each place of the chart.
  let values: [Double]
}

/// A chart.
struct Chart {
  let title: String
  /// What places are called, along the horizontal axis.
  let places: [String]
  let series: [Series]
  /// How a value is shown.
  let show: (Double) -> String
  /// Whether values are joined by a line, or stand as bars.
  let isLine: Bool

  private static let width = 720.0
  private static let height = 220.0
  private static let left = 84.0
  private static let bottom = 30.0
  private static let top = 8.0

  private var maximum: Double { max(series.flatMap(\.values).max() ?? 0, 1e-9) }
  private var inner: Double { Self.height - Self.top - Self.bottom }

  /// The chart and its figures.
  var html: String {
    if places.isEmpty { return "" }
    var text = "<figure><figcaption>\(escaped(title))</figcaption>\n"
    text +=
      "<svg viewBox=\"0 0 \(Int(Self.width)) \(Int(Self.height))\" role=\"img\" aria-label=\"\(escaped(title))\">\n"
    text += axes
    for (index, one) in series.enumerated() { text += isLine ? line(one, index) : bars(one, index) }
    text += "</svg>\n" + legend
    return text + "<details><summary>figures</summary>\(figures)</details></figure>\n"
  }

  private func x(_ place: Double) -> Double {
    Self.left + (Self.width - Self.left - 4) * place / Double(max(places.count, 1))
  }

  private func y(_ value: Double) -> Double { Self.top + inner * (1 - value / maximum) }

  private func number(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }

  private var axes: String {
    var text = ""
    for part in 0...2 {
      let value = maximum * Double(part) / 2
      let height = number(y(value))
      text +=
        "<line class=\"grid\" x1=\"\(Int(Self.left))\" x2=\"\(Int(Self.width))\" y1=\"\(height)\" y2=\"\(height)\"/>"
      text +=
        "<text x=\"\(Int(Self.left) - 6)\" y=\"\(number(y(value) + 4))\" text-anchor=\"end\">\(escaped(show(value)))</text>\n"
    }
    let step = max(1, (places.count + 7) / 8)
    for place in stride(from: 0, to: places.count, by: step) {
      text +=
        "<text x=\"\(number(x(Double(place) + (isLine ? 0 : 0.5))))\" y=\"\(Int(Self.height) - 10)\" text-anchor=\"middle\">\(escaped(places[place]))</text>\n"
    }
    return text
  }

  private func line(_ one: Series, _ index: Int) -> String {
    let points = one.values.enumerated().map { place, value in
      "\(number(x(Double(place) + 0.5))),\(number(y(value)))"
    }
    return "<polyline class=\"line s\(index)\" points=\"\(points.joined(separator: " "))\"/>\n"
  }

  private func bars(_ one: Series, _ index: Int) -> String {
    let room = x(1) - x(0)
    let width = room * 0.84 / Double(series.count)
    var text = ""
    for (place, value) in one.values.enumerated() where value > 0 {
      let start = x(Double(place)) + room * 0.08 + width * Double(index)
      text +=
        "<rect class=\"bar s\(index)\" x=\"\(number(start))\" y=\"\(number(y(value)))\" width=\"\(number(max(width, 0.5)))\" height=\"\(number(max(Self.top + inner - y(value), 0.5)))\"><title>\(escaped("\(places[place]): \(show(value))"))</title></rect>\n"
    }
    return text
  }

  private var legend: String {
    if series.count < 2 { return "" }
    let items = series.enumerated().map { index, one in
      "<span class=\"key s\(index)\"></span>\(escaped(one.name))"
    }
    return "<p class=\"legend\">\(items.joined(separator: " "))</p>\n"
  }

  private var figures: String {
    table(
      [""] + series.map(\.name),
      places.indices.map { place in
        [places[place]]
          + series.map { one in place < one.values.count ? show(one.values[place]) : "" }
      }, caption: title)
  }
}

extension Chart {
  /// A histogram of one or two runs, by powers of two.
  init(_ title: String, _ runs: [(name: String, buckets: ValueBuckets)], show: (Int) -> String) {
    let parts = runs.map { Dictionary($0.buckets.byPowerOfTwo.map { ($0.lower, $0.count) }) { $1 } }
    let all = Set(parts.flatMap(\.keys))
    var bounds: [Int] = []
    if let first = all.min(), let last = all.max() {
      var bound = first
      while bound <= last {
        bounds.append(bound)
        bound = bound == 0 ? 1 : bound * 2
      }
    }
    self.init(
      title: title, places: bounds.map(show),
      series: zip(runs, parts).map { run, counts in
        Series(name: run.name, values: bounds.map { Double(counts[$0] ?? 0) })
      }, show: { Shown.count(Int($0.rounded())) }, isLine: false)
  }
}
