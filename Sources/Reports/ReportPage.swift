// The page of a run, or of two beside each other: one file, nothing from elsewhere, no script.

import Memory
import Trace

/// A run as a page shows it.
public struct ReportedRun {
  /// What people call it.
  public var name: String
  /// Facts about it, names and values.
  public var facts: [(name: String, value: String)]
  /// Its figures.
  public var summary: RunSummary
  /// The name of a program, by a thread's number, and of a file, by its inode.
  public var program: (Int32) -> String
  /// See `program`.
  public var file: (UInt64) -> String

  /// Puts a run together.
  public init(
    name: String, facts: [(name: String, value: String)], summary: RunSummary,
    program: @escaping (Int32) -> String, file: @escaping (UInt64) -> String
  ) {
    self.name = name
    self.facts = facts
    self.summary = summary
    self.program = program
    self.file = file
  }
}

/// The page.
public struct ReportPage {
  private let runs: [ReportedRun]

  /// - Parameter runs: one, or two to compare.
  public init(_ runs: [ReportedRun]) {
    precondition((1...2).contains(runs.count), "a page has one run or two")
    self.runs = runs
  }

  /// The page as HTML.
  public var html: String {
    let title = runs.map(\.name).joined(separator: " and ")
    return """
      <!DOCTYPE html>
      <html lang="en"><head><meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <title>\(escaped(title)) – extractfs report</title>
      <style>\(Self.style)</style></head>
      <body><a class="skip" href="#requests">to the figures</a>
      <header><h1>\(escaped(title))</h1></header>
      <nav aria-label="sections">\(contents)</nav>
      <main>
      \(section("run", "The run", facts + headline))
      \(section("defects", "Defects", defects))
      \(section("requests", "Requests", operations))
      \(section("time", "Over time", overTime))
      \(section("latency", "Latency and hold time", latencies))
      \(section("sizes", "Sizes and alignment", sizes))
      \(section("modes", "Iterator kinds and modes", modes))
      \(section("slowest", "Slowest requests", slowest))
      </main></body></html>

      """
  }

  private static let sections = [
    ("run", "run"), ("defects", "defects"), ("requests", "requests"), ("time", "over time"),
    ("latency", "latency"), ("sizes", "sizes"), ("modes", "modes"), ("slowest", "slowest"),
  ]

  private var contents: String {
    Self.sections.map { "<a href=\"#\($0.0)\">\($0.1)</a>" }.joined(separator: " ")
  }

  private func section(_ name: String, _ title: String, _ body: String) -> String {
    "<section id=\"\(name)\" tabindex=\"-1\"><h2>\(title)</h2>\n\(body)</section>\n"
  }

  /// Values of the runs, and the second over the first.
  private func row(_ name: String, _ value: (RunSummary) -> Double, _ show: (Double) -> String)
    -> [String]
  {
    let values = runs.map { value($0.summary) }
    var row = [name] + values.map(show)
    if values.count == 2 {
      row.append(values[0] > 0 ? Shown.places(values[1] / values[0]) + "×" : "–")
    }
    return row
  }

  private var columns: [String] {
    [""] + (runs.count == 1 ? ["value"] : runs.map(\.name) + ["second / first"])
  }

  // MARK: The run

  private var facts: String {
    var names: [String] = []
    for run in runs {
      for fact in run.facts where !names.contains(fact.name) { names.append(fact.name) }
    }
    return table(
      [""] + runs.map(\.name),
      names.map { name in
        [name] + runs.map { run in run.facts.first { $0.name == name }?.value ?? "–" }
      }, caption: "facts", isText: true)
  }

  private var headline: String {
    let seconds = { (run: RunSummary) in Double(run.durationNanoseconds) / 1e9 }
    let count = { (value: Double) in Shown.count(Int(value.rounded())) }
    let bytes = { (name: String) in
      { (run: RunSummary) in Double(run.operations[name]?.bytes ?? 0) / seconds(run) }
    }
    let quantile = { (name: String, part: Int) in
      { (run: RunSummary) in
        Double(run.operations[name]?.latency.quantile(perThousand: part) ?? 0)
      }
    }
    let speed = { (value: Double) in Shown.bytes(Int(value)) + "/s" }
    let time = { (value: Double) in Shown.time(Int(value)) }
    var rows = [
      row("duration", { Double($0.durationNanoseconds) }, time),
      row("requests", { Double($0.requestCount) }, count),
      row("requests a second", { Double($0.requestCount) / seconds($0) }, count),
      row("read", bytes("read"), speed), row("written", bytes("write"), speed),
    ]
    for name in ["read", "write"] {
      rows.append(row("\(name) latency, median", quantile(name, 500), time))
      rows.append(row("\(name) latency, 99 %", quantile(name, 990), time))
    }
    rows.append(
      row("pages held at once, most", { Double($0.moments.map(\.pages).max() ?? 0) }, count))
    rows.append(row("events", { Double($0.eventCount) }, count))
    rows.append(row("events lost", { Double($0.lostEvents) }, count))
    return table(columns, rows, caption: "headline")
  }

  private var defects: String {
    runs.map { run in
      let name = runs.count > 1 ? "<h3>\(escaped(run.name))</h3>" : ""
      let summary = run.summary
      var text = name
      if summary.lostEvents > 0 {
        text +=
          "<p class=\"bad\">\(Shown.count(summary.lostEvents)) events came too fast and are missing: what follows is a part of the truth.</p>\n"
      }
      if summary.defectCount == 0 {
        return text + "<p>None: every page that was taken was given back, once.</p>\n"
      }
      text += "<p class=\"bad\">\(Shown.count(summary.defectCount)):</p><ul>\n"
      for defect in summary.defects { text += "<li>\(escaped(defect))</li>\n" }
      return text + "</ul>\n"
    }.joined()
  }

  private var operations: String {
    let names = Set(runs.flatMap { $0.summary.operations.keys }).sorted()
    let rows = names.flatMap { name in
      runs.map { run -> [String] in
        let one = run.summary.operations[name] ?? OperationSummary()
        let time = { (part: Int) in Shown.time(one.latency.quantile(perThousand: part)) }
        return [
          runs.count == 1 ? name : "\(name), \(run.name)", Shown.count(one.count),
          Shown.bytes(one.bytes), Shown.count(one.errors), time(500), time(990), time(999),
          Shown.time(one.latency.maximum),
        ]
      }
    }
    return table(
      ["operation", "requests", "bytes", "errors", "median", "99 %", "99.9 %", "longest"], rows,
      caption: "latencies are lower bounds of buckets a quarter of a power of two wide")
  }

  // MARK: Charts

  private var overTime: String {
    runs.map { run in
      let summary = run.summary
      let moments = summary.moments
      let seconds = Double(summary.momentNanoseconds) / 1e9
      let places = moments.indices.map {
        Shown.time($0 * summary.momentNanoseconds)
      }
      let suffix = runs.count > 1 ? ", \(run.name)" : ""
      return Chart(
        title: "throughput\(suffix)", places: places,
        series: [
          Series(name: "read", values: moments.map { Double($0.bytesRead) / seconds }),
          Series(name: "written", values: moments.map { Double($0.bytesWritten) / seconds }),
        ], show: { Shown.bytes(Int($0)) + "/s" }, isLine: true
      ).html
        + Chart(
          title: "pages held, most in each moment\(suffix)", places: places,
          series: [Series(name: "pages", values: moments.map { Double($0.pages) })],
          show: { Shown.places($0) }, isLine: true
        ).html
    }.joined()
  }

  private func histogram(
    _ title: String, _ buckets: (RunSummary) -> ValueBuckets?, _ show: (Int) -> String
  ) -> String {
    Chart(
      title, runs.map { ($0.name, buckets($0.summary) ?? ValueBuckets()) }, show: show
    ).html
  }

  private var latencies: String {
    histogram("latency of reads", { $0.operations["read"]?.latency }, Shown.time)
      + histogram("latency of writes", { $0.operations["write"]?.latency }, Shown.time)
      + histogram("how long pages were held", { $0.holds }, Shown.time)
      + histogram("from arrival to the first bio", { $0.queueing }, Shown.time)
  }

  private var sizes: String {
    histogram("request size", { $0.requestBytes }, Shown.bytes)
      + histogram("bio size", { $0.bioBytes }, Shown.bytes)
      + histogram("alignment of offset and length", { $0.alignmentBytes }, Shown.bytes)
  }

  private var modes: String {
    let names = Set(runs.flatMap { $0.summary.modes.keys }).sorted()
    let headings = runs.flatMap { run in
      runs.count == 1 ? ["requests", "pages"] : ["requests, \(run.name)", "pages, \(run.name)"]
    }
    return table(
      ["kind, mode"] + headings,
      names.map { name in
        [name]
          + runs.flatMap { run -> [String] in
            let one = run.summary.modes[name] ?? (0, 0)
            return [Shown.count(one.requests), Shown.count(one.pages)]
          }
      }, caption: "what iterators were made, and what was taken on their pages")
  }

  // MARK: Slowest

  private var slowest: String {
    runs.map { run in
      (runs.count > 1 ? "<h3>\(escaped(run.name))</h3>" : "")
        + run.summary.slowest.map { Timeline(request: $0, run: run).html }.joined()
    }.joined()
  }

  private static let style = """
    :root{--a:#1f6feb;--b:#c2410c;--ink:#1c2024;--soft:#6b7280;--line:#d5d9df}
    body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);margin:0 auto;max-width:62rem;padding:0 1rem 3rem}
    h1{font-size:1.5rem}h2{border-bottom:1px solid var(--line);margin-top:2.2rem}
    nav a{margin-right:.9em}a:focus,summary:focus{outline:3px solid var(--a)}
    .skip{position:absolute;left:-99em}.skip:focus{left:1rem}
    table{border-collapse:collapse;margin:.6rem 0;font-variant-numeric:tabular-nums}
    caption{text-align:left;color:var(--soft)}th,td{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}
    td{text-align:right}.text td{text-align:left;overflow-wrap:anywhere}thead th{border-bottom:1px solid var(--line)}tbody th{font-weight:500}
    figure{margin:1rem 0}figcaption{font-weight:600}svg{width:100%;height:auto;max-width:46rem}
    svg text{font-size:11px;fill:var(--soft)}.grid{stroke:var(--line)}
    .line{fill:none;stroke-width:1.8}.line.s0{stroke:var(--a)}.line.s1{stroke:var(--b);stroke-dasharray:5 2}
    .bar.s0{fill:var(--a)}.bar.s1{fill:var(--b)}.key{display:inline-block;width:1em;height:.7em;margin:0 .4em 0 1em}
    .key.s0{background:var(--a)}.key.s1{background:var(--b)}.legend{margin:0}
    .bad{color:#9b1c1c;font-weight:600}.wait{fill:#c9ced6}.hold{fill:#9ec5fe}.bio{fill:var(--a)}
    @media print{nav,.skip{display:none}section{break-inside:auto}figure,tr{break-inside:avoid}details{display:none}}
    """
}

/// One request, from its arrival to its answer, as bars under each other.
private struct Timeline {
  let request: TracedRequest
  let run: ReportedRun

  private static let width = 720
  private static let rowHeight = 16
  private static let mostBios = 8

  var html: String {
    let name =
      "\(String(describing: TraceNames.request(request.operation))) of \(run.file(request.inode)) "
      + "\(Shown.count(request.offset)) + \(Shown.bytes(request.length)) by \(run.program(request.thread))"
      + "[\(request.thread)], request \(request.request): \(Shown.time(request.latencyNanoseconds))"
    let bios = Array(request.bios.prefix(Self.mostBios))
    let rows = 1 + (request.hasPages ? 1 : 0) + bios.count
    var text = "<details><summary>\(escaped(name))</summary>\n"
    text +=
      "<svg viewBox=\"0 0 \(Self.width) \(rows * Self.rowHeight + 4)\" role=\"img\" aria-label=\"\(escaped(name))\">"
    text += bar(0, "wait", request.arriveNanoseconds, request.replyNanoseconds, "request")
    var row = 1
    if request.hasPages {
      text += bar(
        row, "hold", request.takenNanoseconds, request.releasedNanoseconds,
        "\(TraceNames.mode(request.mode)) \(request.pages) pages, \(TraceNames.kind(request.kind))")
      row += 1
    }
    for bio in bios {
      text += bar(
        row, "bio", bio.submitNanoseconds, bio.completeNanoseconds,
        "\(TraceNames.bio(bio.operation)) sector \(bio.sector) + \(bio.length)")
      row += 1
    }
    text += "</svg>\n"
    var rest: [String] = []
    if request.parkedNanoseconds > 0 {
      rest.append("\(Shown.time(request.parkedNanoseconds)) at its file's gate")
    }
    if request.heldNanoseconds > 0 {
      rest.append("\(Shown.time(request.heldNanoseconds)) held by a freeze")
    }
    if request.bioCount > bios.count { rest.append("\(request.bioCount) bios in all") }
    if request.error > 0 { rest.append("errno \(request.error)") }
    if !rest.isEmpty { text += "<p>\(escaped(rest.joined(separator: ", ")))</p>" }
    return text + "</details>\n"
  }

  private func bar(_ row: Int, _ style: String, _ start: Int, _ end: Int, _ label: String) -> String
  {
    let span = Double(max(request.replyNanoseconds - request.arriveNanoseconds, 1))
    let place = { (time: Int) in
      Double(time - request.arriveNanoseconds) / span * Double(Self.width)
    }
    let left = max(0, place(start))
    let width = max(place(max(end, start)) - left, 1)
    let top = row * Self.rowHeight + 2
    return
      "<rect class=\"\(style)\" x=\"\(Int(left))\" y=\"\(top)\" width=\"\(Int(width.rounded(.up)))\" height=\"12\"/>"
      + "<text x=\"\(min(Int(left) + 4, Self.width - 260))\" y=\"\(top + 10)\" style=\"fill:#000\">\(escaped(label)), \(Shown.time(max(0, end - start)))</text>\n"
  }
}
