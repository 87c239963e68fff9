// What `top` makes of two samples: rates, percentiles, and a screen of exactly the size that it has.

import Testing

@testable import Top

/// Samples as a mount would give them.
private enum Fixture {
  static func statistics(
    reads: Int = 0, latency: [(Int, Int)] = [], pinned: Int = 0, files: [(Int, Int, Int)] = [],
    leaks: Int = 0
  ) -> String {
    let buckets = latency.map { "[\($0.0), \($0.1)]" }.joined(separator: ", ")
    let list = files.map { "{\"inode\": \($0.0), \"requests\": \($0.1), \"bytes\": \($0.2)}" }
    return """
      {"schema": 2, "counters": {"requests_read": \(reads), "bytes_read": \(reads * 4096),
      "bios": \(reads * 2), "sim_pages_pinned": \(pinned), "sim_ubuf_nr_foll_pin_acquired": \(reads),
      "sim_leaks": \(leaks)},
      "histograms": {"read_latency_ns": {"count": 0, "buckets": [\(buckets)]}},
      "files": [\(list.joined(separator: ", "))], "checkpoints": []}
      """
  }

  static let heading = "# request inode offset length kind mode pages age_us\n"

  static func sample(_ time: Double, _ statistics: String, pins: String = heading) throws
    -> TopSample
  {
    try TopSample(
      time: time, statistics: statistics, pins: pins, config: "iter=ubuf\nvolume=raw\nimage=/a=b\n")
  }
}

@Suite("A sample of a mount")
struct TopSampleTests {
  @Test("has holders, by the heading's names, defects and settings")
  func read() throws {
    let pins = """
      # request inode offset length kind mode pages age_us more
      12 2 4096 8192 bvec none 2 1500 x
      # defect: request 7 left 1 pages held
      # longest holds: request age_us
      99 1
      """
    let sample = try Fixture.sample(1, Fixture.statistics(), pins: pins)
    #expect(
      sample.holders == [
        TopHolder(
          request: 12, inode: 2, offset: 4096, length: 8192, kind: "bvec", mode: "none", pages: 2,
          ageMicroseconds: 1500)
      ])
    #expect(sample.defects == ["request 7 left 1 pages held"])
    #expect(sample.settings["iter"] == "ubuf" && sample.settings["image"] == "/a=b")
  }

  @Test("is refused where the text is of another kind", arguments: ["", "{}", "[1]", "x"])
  func refuse(text: String) {
    #expect(throws: TopSampleError.self) { try Fixture.sample(1, text) }
  }
}

@Suite("An interval between two samples")
struct TopIntervalTests {
  @Test("has the rates of its own time")
  func rates() throws {
    let interval = TopInterval(
      from: try Fixture.sample(10, Fixture.statistics(reads: 100, files: [(2, 100, 1000)])),
      to: try Fixture.sample(
        12, Fixture.statistics(reads: 500, pinned: 7, files: [(2, 300, 3000), (3, 2, 20)])))
    #expect(interval.rate("requests_read") == 200)
    #expect(interval.level("sim_pages_pinned") == 7)
    #expect(
      interval.fileRates == [
        .init(inode: 2, requests: 100, bytes: 1000), .init(inode: 3, requests: 1, bytes: 10),
      ])
  }

  @Test("counts from the reset, if there was one")
  func reset() throws {
    let interval = TopInterval(
      from: try Fixture.sample(
        1, Fixture.statistics(reads: 1000, latency: [(100, 900), (200, 100)], files: [(2, 9, 9)])),
      to: try Fixture.sample(
        2, Fixture.statistics(reads: 30, latency: [(100, 30)], files: [(2, 3, 3)])))
    #expect(interval.rate("requests_read") == 30)
    #expect(interval.percentile(50, of: "read_latency_ns") == 100)
    #expect(interval.frequency(of: "read_latency_ns") == 30)
    #expect(interval.fileRates == [.init(inode: 2, requests: 3, bytes: 3)])
  }

  @Test("has percentiles of its own requests, not of those before")
  func percentiles() throws {
    let interval = TopInterval(
      from: try Fixture.sample(1, Fixture.statistics(latency: [(1000, 1_000_000)])),
      to: try Fixture.sample(
        2, Fixture.statistics(latency: [(1000, 1_000_000), (2000, 98), (4000, 1), (8000, 1)])))
    #expect(interval.percentile(50, of: "read_latency_ns") == 2000)
    #expect(interval.percentile(98, of: "read_latency_ns") == 2000)
    #expect(interval.percentile(99, of: "read_latency_ns") == 4000)
    #expect(interval.percentile(100, of: "read_latency_ns") == 8000)
    #expect(interval.percentile(50, of: "write_latency_ns") == nil)
  }
}

@Suite("Numbers on the screen")
struct TopFiguresTests {
  @Test(
    "are short",
    arguments: [
      (0.0, "0"), (7.5, "7.5"), (9.0, "9"), (123.4, "123"), (9999, "9999"), (10_000, "10.0k"),
      (304_384, "304k"), (999_600, "1.0M"), (12_500_000, "12.5M"), (-2500, "-2500"),
    ])
  func counts(value: Double, text: String) { #expect(Figures.count(value) == text) }

  @Test(
    "are short for bytes",
    arguments: [
      (0.0, "0"), (512, "512"), (1023, "1023"), (1024, "1.0K"), (1_048_576, "1.0M"),
      (1_246_756_864, "1.2G"),
    ])
  func bytes(value: Double, text: String) { #expect(Figures.bytes(value) == text) }

  @Test(
    "are short for times",
    arguments: [
      (0, "0"), (999, "999ns"), (1000, "1.0us"), (104_000, "104us"), (999_700, "1.0ms"),
      (1_500_000, "1.5ms"), (2_000_000_000, "2.0s"), (3_600_000_000_000, "3600s"),
    ])
  func times(value: Int, text: String) { #expect(Figures.time(value) == text) }

  @Test("are bars whose height is their share of the greatest")
  func sparkline() {
    var history = History()
    for value in [0.0, 1, 2, 3, 4, 5, 6, 7] { history.append(value) }
    #expect(history.sparkline(width: 8, isUnicode: true) == "▁▂▃▄▅▆▇█")
    #expect(history.sparkline(width: 10, isUnicode: true) == "  ▁▂▃▄▅▆▇█")
    #expect(history.sparkline(width: 3, isUnicode: false) == "=*#")
    for _ in 0..<2000 { history.append(1) }
    #expect(history.values.count == History.limit)
  }

  @Test("stay within their columns, whatever a file is called")
  func columns() {
    #expect(Columns.fit("日本語", 4) == "日本")
    #expect(Columns.fit("日本語", 5) == "日本 ")
    #expect(Columns.tail("a/very/long/path", 8) == ".../path".suffix(8))
    #expect(Columns.tail("short", 8) == "short")
  }
}

@Suite("The screen of top")
struct TopViewTests {
  private func view(holders: Int, files: Int, leaks: Int = 0) throws -> TopView {
    var view = TopView(name: "/mnt/lab", interval: 1)
    let pins =
      Fixture.heading
      + (0..<holders).map { "\($0 + 1) 2 \($0 * 4096) 4096 ubuf pin \($0 + 1) \($0 * 100)\n" }
      .joined()
    let list = (0..<files).map { ($0 + 2, 100 - $0, ($0 + 1) * 4096) }
    view.take(try Fixture.sample(1, Fixture.statistics()))
    view.take(
      try Fixture.sample(
        2,
        Fixture.statistics(
          reads: 304_384, latency: [(98_304, 9), (196_608, 1)], pinned: 32, files: list,
          leaks: leaks),
        pins: pins))
    return view
  }

  @Test(
    "fills the terminal exactly",
    arguments: [(80, 24), (200, 60), (40, 10), (20, 5), (132, 43)], [0, 3, 500])
  func size(size: (Int, Int), entries: Int) throws {
    let view = try view(holders: entries, files: min(entries, 32))
    let screen = TopScreen(width: size.0, height: size.1, isUnicode: true)
    let lines = view.lines(on: screen, clock: "12:00:00")
    #expect(lines.count == size.1)
    #expect(lines.allSatisfy { $0.text.count == size.0 })
    #expect(lines.first?.style == .title)
  }

  @Test("shows rates, latency, bios a request, holders and files at 80 by 24")
  func content() throws {
    var view = try view(holders: 4, files: 3)
    view.paths = [2: "disk"]
    let screen = TopScreen(width: 80, height: 24, isUnicode: true)
    let text = view.lines(on: screen, clock: "12:00:00").map(\.text).joined(separator: "\n")
    for part in [
      "304k", "1.2G", "98.3us", "197us", "2.00 a request", "ubuf 304k/s", "HOLDERS (4", "FILES (3",
      "disk", "inode 3", "█",
    ] {
      #expect(text.contains(part), "\(part) in\n\(text)")
    }
  }

  @Test("sorts by what the keys say")
  func sorting() throws {
    var view = try view(holders: 3, files: 3)
    func order(_ marker: String) -> [String] {
      let lines = view.lines(
        on: TopScreen(width: 100, height: 40, isUnicode: true), clock: "")
      let start = lines.firstIndex { $0.text.contains(marker) } ?? 0
      return lines[(start + 1)...].prefix(3).map {
        String($0.text.split(separator: " ").first ?? "")
      }
    }
    #expect(order("FILES") == ["98", "99", "100"])
    view.press(.sortFiles)
    #expect(view.fileOrder == .requests && order("FILES") == ["100", "99", "98"])
    view.press(.sortFiles)
    view.press(.sortFiles)
    #expect(view.fileOrder == .bytes)
    #expect(order("HOLDERS") == ["200us", "100us", "0"])
    view.press(.sortHolders)
    #expect(view.holderOrder == .pages && order("HOLDERS") == ["200us", "100us", "0"])
  }

  @Test("stands still while paused, and takes no pause for an interval")
  func pause() throws {
    var view = try view(holders: 0, files: 0)
    let screen = TopScreen(width: 80, height: 24, isUnicode: true)
    view.press(.pause)
    let before = view.lines(on: screen, clock: "").map(\.text)
    #expect(before[0].contains("PAUSED"))
    view.take(try Fixture.sample(100, Fixture.statistics(reads: 1)))
    #expect(view.lines(on: screen, clock: "").map(\.text) == before)
    view.press(.pause)
    view.take(try Fixture.sample(200, Fixture.statistics(reads: 400_000)))
    view.take(try Fixture.sample(201, Fixture.statistics(reads: 400_300)))
    #expect(view.shown?.rate("requests_read") == 300)
  }

  @Test("forgets its history on r, and shows defects in alarm")
  func reset() throws {
    var view = try view(holders: 0, files: 0, leaks: 3)
    #expect(view.histories["read"]?.values == [304_384])
    let lines = view.lines(on: TopScreen(width: 80, height: 24, isUnicode: true), clock: "")
    #expect(lines.contains { $0.style == .alarm && $0.text.contains("defects 3") })
    view.press(.reset)
    #expect(view.histories.isEmpty)
  }

  @Test("keeps its pace within bounds")
  func pace() {
    var view = TopView(name: "x", interval: 1)
    for _ in 0..<20 { view.press(.faster) }
    #expect(view.interval == 0.1)
    for _ in 0..<20 { view.press(.slower) }
    #expect(view.interval == 60)
  }
}
