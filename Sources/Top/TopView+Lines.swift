// The screen of `top`, line by line.

extension TopView {
  /// The lines, each as wide as the screen, and no more than it has.
  /// - Parameter clock: the time of day, for the title.
  public func lines(on screen: TopScreen, clock: String) -> [TopLine] {
    var lines = [TopLine(text: title(clock), style: .title)]
    guard let shown else {
      lines.append(TopLine(text: "waiting for the first \(interval) s", style: .plain))
      return finish(lines, on: screen)
    }
    lines += settings(shown)
    lines += operations(shown, screen) + pages(shown, screen) + totals(shown, screen)
    for defect in shown.now.defects.prefix(2) {
      lines.append(TopLine(text: "defect: \(defect)", style: .alarm))
    }
    let room = screen.height.map { max(2, $0 - lines.count - 1) } ?? 24
    lines += files(shown, screen, lineCount: (room + 1) / 2)
    lines += holders(shown, screen, lineCount: room / 2)
    return finish(lines, on: screen)
  }

  /// Cuts and fills every line, and puts the keys below.
  private func finish(_ lines: [TopLine], on screen: TopScreen) -> [TopLine] {
    var lines = lines
    if let height = screen.height {
      lines = Array(lines.prefix(height - 1))
      while lines.count < height - 1 { lines.append(TopLine(text: "", style: .plain)) }
      lines.append(TopLine(text: note.isEmpty ? Self.keys : note, style: .heading))
    }
    return lines.map {
      TopLine(text: Columns.fit($0.text, screen.width), style: $0.style)
    }
  }

  private static let keys =
    "q quit  p pause  s sort files  h sort holders  r reset  R reset mount  +/- speed"

  private func title(_ clock: String) -> String {
    let pause = isPaused ? "PAUSED" : "every \(Figures.count(interval)) s"
    return "extractfs top - \(clock)  \(pause)  \(Columns.tail(name, 40))"
  }

  private func settings(_ shown: TopInterval) -> [TopLine] {
    func setting(_ name: String) -> String { "\(name)=\(shown.now.settings[name] ?? "?")" }
    let names = ["volume", "transport", "backend", "iter", "cleanup", "era", "workers"]
    let frozen = shown.now.settings["frozen"] == "1" ? "  FROZEN" : ""
    return [TopLine(text: names.map(setting).joined(separator: "  ") + frozen, style: .plain)]
  }

  /// One line for each operation.
  private func operations(_ shown: TopInterval, _ screen: TopScreen) -> [TopLine] {
    func row(_ cells: [String], _ history: String) -> String {
      Columns.fit(cells[0], 6) + cells.dropFirst().map { Columns.right($0, 9) }.joined()
        + "  " + history
    }
    let heading = row(["OP", "IOPS", "BYTES/S", "P50", "P99", "MAX"], "HISTORY OF IOPS")
    let rows = [
      ("read", shown.rate("requests_read"), Figures.bytes(shown.rate("bytes_read"))),
      ("write", shown.rate("requests_write"), Figures.bytes(shown.rate("bytes_written"))),
      ("flush", shown.frequency(of: "flush_latency_ns"), "-"),
    ].map { name, rate, bytes in
      let latency = "\(name)_latency_ns"
      return TopLine(
        text: row(
          [
            name, Figures.count(rate), bytes, Figures.time(shown.percentile(50, of: latency)),
            Figures.time(shown.percentile(99, of: latency)),
            Figures.time(shown.percentile(100, of: latency)),
          ], history(name, screen, before: 53)), style: .plain)
    }
    return [TopLine(text: heading, style: .heading)] + rows
  }

  /// One line for each way to hold a page.
  private func pages(_ shown: TopInterval, _ screen: TopScreen) -> [TopLine] {
    func row(_ cells: [String], _ history: String) -> String {
      Columns.fit(cells[0], 6) + cells.dropFirst().map { Columns.right($0, 9) }.joined()
        + "  " + history
    }
    let heading = row(["PAGES", "TAKEN/S", "GIVEN/S", "NOW", "MOST", "HOLD P99"], "HISTORY")
    let hold = Figures.time(shown.percentile(99, of: "pin_hold_ns"))
    func line(_ mode: String, _ taken: String, _ given: String?, _ now: String?, _ rest: [String])
      -> TopLine
    {
      TopLine(
        text: row(
          [
            mode, Figures.count(shown.rate(taken)),
            given.map { Figures.count(shown.rate($0)) } ?? "-",
            now.map { Figures.count(Double(shown.level($0))) } ?? "-",
          ] + rest, history(mode, screen, before: 53)), style: .plain)
    }
    let most = Figures.count(Double(shown.level("sim_pages_pinned_max")))
    return [
      TopLine(text: heading, style: .heading),
      line(
        "pin", "sim_nr_foll_pin_acquired", "sim_nr_foll_pin_released", "sim_pages_pinned",
        [most, hold]),
      line(
        "get", "sim_nr_foll_get_acquired", "sim_nr_foll_get_released", "sim_pages_reffed",
        ["-", "-"]),
      line("none", "sim_pages_listed", nil, nil, ["-", "-"]),
    ]
  }

  /// What has a line's part each: kinds, bios, bounces, errors, the queue.
  private func totals(_ shown: TopInterval, _ screen: TopScreen) -> [TopLine] {
    func rate(_ name: String) -> String { Figures.count(shown.rate(name)) }
    let requests = shown.rate("requests_read") + shown.rate("requests_write")
    let bios = shown.rate("bios")
    let each = requests > 0 ? hundredths(bios / requests) : "-"
    let kinds = ["ubuf", "iovec", "kvec", "bvec", "xarray", "pipe"].compactMap { kind in
      let pages = ["nr_foll_pin_acquired", "nr_foll_get_acquired", "pages_listed"]
        .reduce(0) { $0 + shown.rate("sim_\(kind)_\($1)") }
      return pages > 0 ? "\(kind) \(Figures.count(pages))/s" : nil
    }
    let defects = shown.level("sim_leaks") + shown.level("sim_double_releases")
    let errors = shown.level("io_errors")
    return [
      TopLine(
        text: "kinds  " + (kinds.isEmpty ? "no pages taken" : kinds.joined(separator: "  ")),
        style: .plain),
      TopLine(
        text: "bios   \(rate("bios"))/s  \(each) a request  splits \(rate("bio_splits"))/s  "
          + "merges \(rate("bvec_merges"))/s  same page \(rate("same_page_merges"))/s",
        style: .plain),
      TopLine(
        text: "bounce \(Figures.bytes(shown.rate("bounced_bytes")))/s  "
          + "zero page \(rate("sim_zero_page_uses"))/s  errors \(errors) (\(rate("io_errors"))/s)  "
          + "defects \(defects)", style: defects > 0 ? .alarm : .plain),
      TopLine(
        text: Columns.fit(
          "queue  depth \(shown.level("requests_inflight"))  waited p50 "
            + "\(Figures.time(shown.percentile(50, of: "queue_ns")))  p99 "
            + Figures.time(shown.percentile(99, of: "queue_ns")), 51) + "  "
          + history("depth", screen, before: 53), style: .plain),
    ]
  }

  private func hundredths(_ value: Double) -> String {
    let number = Int((value * 100).rounded())
    return "\(number / 100).\(number % 100 < 10 ? "0" : "")\(number % 100)"
  }

  private func history(_ name: String, _ screen: TopScreen, before: Int) -> String {
    histories[name]?.sparkline(
      width: max(0, min(120, screen.width - before)), isUnicode: screen.isUnicode) ?? ""
  }

  private func path(_ inode: Int, _ width: Int) -> String {
    Columns.tail(paths[inode] ?? "inode \(inode)", max(10, width))
  }

  private func files(_ shown: TopInterval, _ screen: TopScreen, lineCount: Int) -> [TopLine] {
    let rates = shown.fileRates.sorted { first, second in
      switch fileOrder {
      case .bytes: (first.bytes, second.inode) > (second.bytes, first.inode)
      case .requests: (first.requests, second.inode) > (second.requests, first.inode)
      case .inode: first.inode < second.inode
      }
    }
    let heading = "FILES (\(rates.count), by \(fileOrder))"
    let rows = rates.prefix(max(0, lineCount - 1)).map { file in
      TopLine(
        text: Columns.right(Figures.count(file.requests), 9)
          + Columns.right(Figures.bytes(file.bytes), 9) + "  "
          + path(file.inode, screen.width - 20), style: .plain)
    }
    let names = Columns.right("IOPS", 9) + Columns.right("BYTES/S", 9) + "  " + heading
    return [TopLine(text: names, style: .heading)] + rows
  }

  private func holders(_ shown: TopInterval, _ screen: TopScreen, lineCount: Int) -> [TopLine] {
    let holders = shown.now.holders.sorted { first, second in
      switch holderOrder {
      case .age: first.ageMicroseconds > second.ageMicroseconds
      case .pages: first.pages > second.pages
      case .length: first.length > second.length
      }
    }
    func row(_ cells: [String], _ rest: String) -> String {
      Columns.right(cells[0], 9) + Columns.right(cells[1], 9) + "  " + Columns.fit(cells[2], 7)
        + Columns.fit(cells[3], 5) + Columns.right(cells[4], 13) + Columns.right(cells[5], 9)
        + "  " + rest
    }
    let heading = row(
      ["AGE", "PAGES", "KIND", "MODE", "OFFSET", "LENGTH"],
      "HOLDERS (\(holders.count), by \(holderOrder))")
    let rows = holders.prefix(max(0, lineCount - 1)).map { holder in
      TopLine(
        text: row(
          [
            Figures.time(holder.ageMicroseconds * 1000), "\(holder.pages)", holder.kind,
            holder.mode, "\(holder.offset)", Figures.bytes(Double(holder.length)),
          ], path(holder.inode, screen.width - 56)), style: .plain)
    }
    return [TopLine(text: heading, style: .heading)] + rows
  }
}
