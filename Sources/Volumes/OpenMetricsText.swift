// The figures as OpenMetrics text, which Prometheus and what is like it read.

import Memory

/// Writes a snapshot as OpenMetrics 1.0.
///
/// Reference: OpenMetrics, "Text format" (https://prometheus.io/docs/specs/om/open_metrics_spec/).
public enum OpenMetricsText {
  /// The type by which HTTP hands it on.
  public static let contentType =
    "application/openmetrics-text; version=1.0.0; charset=utf-8"

  /// The text of a snapshot.
  /// - Parameter about: labels of `extractfs_mount_info`, which tell mounts apart.
  public static func make(
    _ snapshot: StatisticsSnapshot, about: [(name: String, value: String)]
  ) -> String {
    var writer = Writer()
    writer.family("mount", type: "info", help: "What is mounted where.")
    writer.sample("mount_info", labels: about, value: "1")
    var rest = Dictionary(snapshot.values.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
    for family in MetricFamily.all {
      let members = family.members.compactMap { member in
        rest.removeValue(forKey: member.figure).map { (member.labels, $0) }
      }
      if members.isEmpty { continue }
      writer.family(family.name, type: family.type, unit: family.unit, help: family.help)
      for (labels, value) in members {
        writer.sample(family.name + family.suffix, labels: labels, value: "\(value)")
      }
    }
    // A figure that nobody has put into a family is shown all the same, by the name it has in `stats`.
    for figure in snapshot.values where rest[figure.name] != nil {
      writer.family(figure.name, type: "gauge", help: "\(figure.name), as in stats.")
      writer.sample(figure.name, labels: [], value: "\(figure.value)")
    }
    for histogram in MetricHistogram.all { writer.histogram(histogram, of: snapshot) }
    return writer.text + "# EOF\n"
  }

  /// Collects lines.
  private struct Writer {
    var text = ""

    init() { text.reserveCapacity(32 << 10) }

    mutating func family(_ name: String, type: String, unit: String = "", help: String) {
      text += "# TYPE extractfs_\(name) \(type)\n"
      if !unit.isEmpty { text += "# UNIT extractfs_\(name) \(unit)\n" }
      text += "# HELP extractfs_\(name) \(help)\n"
    }

    mutating func sample(_ name: String, labels: [(name: String, value: String)], value: String) {
      text += "extractfs_"
      text += name
      var separator = "{"
      for label in labels {
        text += separator
        text += label.name
        text += "=\""
        appendEscaped(label.value)
        text += "\""
        separator = ","
      }
      if !labels.isEmpty { text += "}" }
      text += " "
      text += value
      text += "\n"
    }

    mutating func histogram(_ histogram: MetricHistogram, of snapshot: StatisticsSnapshot) {
      family(histogram.name, type: "histogram", unit: histogram.unit, help: histogram.help)
      for (labels, distribution) in histogram.members {
        let figures = snapshot[distribution]
        let counts = figures.cumulative(upTo: histogram.exponents)
        for (exponent, count) in zip(histogram.exponents, counts) {
          let bound = "\(Double(1 << exponent) * histogram.scale)"
          sample(
            histogram.name + "_bucket", labels: labels + [("le", bound)], value: "\(count)")
        }
        sample(
          histogram.name + "_bucket", labels: labels + [("le", "+Inf")], value: "\(figures.count)")
        sample(histogram.name + "_count", labels: labels, value: "\(figures.count)")
        sample(
          histogram.name + "_sum", labels: labels,
          value: "\(Double(figures.sum) * histogram.scale)")
      }
    }

    private mutating func appendEscaped(_ value: String) {
      if !value.utf8.contains(where: { $0 == 0x5c || $0 == 0x22 || $0 == 0x0a }) {
        text += value
        return
      }
      for character in value.unicodeScalars {
        switch character {
        case "\\": text += "\\\\"
        case "\"": text += "\\\""
        case "\n": text += "\\n"
        default: text.unicodeScalars.append(character)
        }
      }
    }
  }
}

/// Figures of `stats` that are one thing under several labels.
struct MetricFamily: Sendable {
  typealias Labels = [(name: String, value: String)]
  /// Without `extractfs_` before it and, for a counter, `_total` behind it.
  let name: String
  let type: String
  let unit: String
  let help: String
  let members: [(labels: Labels, figure: String)]

  var suffix: String { type == "counter" ? "_total" : "" }

  private static func counter(
    _ name: String, unit: String = "", _ help: String, _ members: [(Labels, String)]
  ) -> MetricFamily {
    MetricFamily(name: name, type: "counter", unit: unit, help: help, members: members)
  }

  private static func gauge(
    _ name: String, _ help: String, _ members: [(Labels, String)]
  ) -> MetricFamily {
    MetricFamily(name: name, type: "gauge", unit: "", help: help, members: members)
  }

  private static func single(_ name: String, _ help: String) -> MetricFamily {
    counter(name, help, [([], name)])
  }

  private static let kindMembers: [(Labels, String)] = countedKindNames.flatMap { kind in
    [
      ([("kind", kind), ("mode", "pin")], "sim_\(kind)_nr_foll_pin_acquired"),
      ([("kind", kind), ("mode", "get")], "sim_\(kind)_nr_foll_get_acquired"),
      ([("kind", kind), ("mode", "none")], "sim_\(kind)_pages_listed"),
    ]
  }

  static let all: [MetricFamily] = [
    counter(
      "requests", "Requests that were answered.",
      [
        ([("op", "read")], "requests_read"), ([("op", "write")], "requests_write"),
        ([("op", "other")], "requests_other"),
      ]),
    counter(
      "transferred_bytes", unit: "bytes", "Bytes that programs read and wrote.",
      [([("op", "read")], "bytes_read"), ([("op", "write")], "bytes_written")]),
    gauge("requests_inflight", "Reads and writes under way.", [([], "requests_inflight")]),
    counter(
      "io_errors", "Reads and writes that were answered with an error.", [([], "io_errors")]),
    counter(
      "sim_pages_acquired", "Pages that the model took, by how it holds them.",
      [
        ([("mode", "pin")], "sim_nr_foll_pin_acquired"),
        ([("mode", "get")], "sim_nr_foll_get_acquired"), ([("mode", "none")], "sim_pages_listed"),
      ]),
    counter(
      "sim_pages_released", "Pages that the model gave back.",
      [
        ([("mode", "pin")], "sim_nr_foll_pin_released"),
        ([("mode", "get")], "sim_nr_foll_get_released"),
      ]),
    counter("sim_kind_pages", "Pages that the model took, by iterator kind.", kindMembers),
    gauge(
      "sim_pages_held", "Pages that the model holds now.",
      [([("mode", "pin")], "sim_pages_pinned"), ([("mode", "get")], "sim_pages_reffed")]),
    gauge(
      "sim_pages_pinned_max", "The most pages pinned at one moment.",
      [([], "sim_pages_pinned_max")]),
    single("sim_zero_page_uses", "Uses of the zero page."),
    single("sim_leaks", "Pages that a request left held."),
    single("sim_double_releases", "Pages that were given back twice."),
    counter(
      "kernel_pins", "The host kernel's pins since the mount, of all processes.",
      [
        ([("event", "acquired")], "kernel_nr_foll_pin_acquired"),
        ([("event", "released")], "kernel_nr_foll_pin_released"),
      ]),
    gauge(
      "kernel_pins_exact", "Whether each CPU's own figures are in the kernel's pins.",
      [([], "kernel_pins_exact")]),
    single("bios", "Bios submitted."),
    single("bvecs", "Segments of bios."),
    single("bio_splits", "Bios split."),
    single("bvec_merges", "Pages that joined the segment before."),
    single("same_page_merges", "Parts that joined a segment within their page."),
    counter(
      "bounced_bytes", unit: "bytes", "Bytes that went through the bounce buffer.",
      [([], "bounced_bytes")]),
    single("flushes", "Flushes of the image."),
    single("fua_writes", "Writes that made themselves durable."),
    counter(
      "device_transfers", "Transfers of the image's file.",
      [([("op", "read")], "device_reads"), ([("op", "write")], "device_writes")]),
    counter(
      "device_bytes", unit: "bytes", "Bytes of the image's file.",
      [([("op", "read")], "device_bytes_read"), ([("op", "write")], "device_bytes_written")]),
    single("passthrough_requests", "Block pass-through requests."),
    counter(
      "passthrough_bytes", unit: "bytes", "Bytes of pass-through requests.",
      [
        ([("way", "mapped")], "passthrough_mapped_bytes"),
        ([("way", "copied")], "passthrough_copied_bytes"),
      ]),
    single("fixed_buffer_pages", "Pages transferred by registered buffers."),
  ]
}

/// A distribution, or several under labels.
struct MetricHistogram: Sendable {
  let name: String
  let unit: String
  let help: String
  /// Bounds of the buckets, as powers of two of what is counted.
  let exponents: ClosedRange<Int>
  let members: [(labels: MetricFamily.Labels, distribution: Distribution)]

  /// What one of what is counted is in the unit.
  var scale: Double { unit == "seconds" ? 1e-9 : 1 }

  // From 256 ns to 17 s; from a sector to 256 MiB; up to a page.
  private static let times = 8...34
  private static let sizes = 9...28
  private static let alignments = 0...12

  private static func single(
    _ name: String, _ unit: String, _ exponents: ClosedRange<Int>, _ distribution: Distribution,
    _ help: String
  ) -> MetricHistogram {
    MetricHistogram(
      name: name, unit: unit, help: help, exponents: exponents, members: [([], distribution)])
  }

  static let all: [MetricHistogram] = [
    MetricHistogram(
      name: "request_duration_seconds", unit: "seconds",
      help: "From a request's arrival to the end of its I/O.", exponents: times,
      members: [
        ([("op", "read")], .readNanoseconds), ([("op", "write")], .writeNanoseconds),
        ([("op", "flush")], .flushNanoseconds),
      ]),
    single(
      "queue_seconds", "seconds", times, .queueNanoseconds,
      "For how long a request waited for the volume, its file's gate or bios."),
    single(
      "pin_hold_seconds", "seconds", times, .pinHoldNanoseconds,
      "For how long a request's pages were held."),
    single(
      "request_size_bytes", "bytes", sizes, .requestBytes, "What a request asked for."),
    single("bio_size_bytes", "bytes", sizes, .bioBytes, "What a bio carried."),
    single(
      "memory_alignment_bytes", "bytes", alignments, .memoryAlignmentBytes,
      "The power of two that a request's place in memory is a multiple of."),
    single(
      "file_alignment_bytes", "bytes", alignments, .fileAlignmentBytes,
      "The power of two that a request's offset and length are multiples of."),
  ]
}
