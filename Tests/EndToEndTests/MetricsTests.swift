// The figures for other tools: OpenMetrics read by its reference parser, served over HTTP, and fast to read.

import Foundation
import TestSupport
import Testing

/// What the reference parser of OpenMetrics makes of a text: every sample, by name and labels.
private struct ParsedMetrics {
  /// Values by `name{label=value,…}`, labels in alphabetical order; those of `mount_info` by name only.
  let samples: [String: Double]
  /// The names of all samples.
  var names: Set<String> { Set(samples.keys.map { String($0.prefix { $0 != "{" }) }) }

  /// - Throws: `TestFailure` with what the parser says of a text that is not OpenMetrics.
  init(_ text: String) throws {
    let script = """
      import sys
      from prometheus_client.openmetrics.parser import text_string_to_metric_families as families
      for family in families(open(sys.argv[1]).read()):
        for sample in family.samples:
          labels = {} if family.type == "info" else sample.labels
          label = ",".join(f"{name}={labels[name]}" for name in sorted(labels))
          print(sample.name + "{" + label + "}", float(sample.value))
      """
    samples = try withTemporaryDirectory { scratch in
      let file = scratch.appending(path: "metrics")
      try Data(text.utf8).write(to: file)
      let output = try run(["/usr/bin/python3", "-c", script, file.path]).checked().output
      return try Dictionary(
        output.split(separator: "\n").map { line in
          let end = try #require(line.lastIndex(of: " "))
          let value = try #require(Double(line[line.index(after: end)...]))
          return (String(line[..<end]), value)
        }, uniquingKeysWith: { _, _ in throw TestFailure("a sample comes twice") })
    }
  }

  func value(_ key: String) throws -> Double { try #require(samples[key], "no sample \(key)") }
}

extension EndToEnd {
  @Suite("The figures for other tools")
  struct MetricsTests {
    private func writeAndRead(_ mount: Mount) throws {
      let file = try OpenFile(mount.disk, [.write, .direct])
      for _ in 0..<5 { try file.fill(1, count: 1 << 20) }
      let buffer = AlignedBuffer(count: 4096)
      for index in 0..<20 { try file.read(into: buffer, count: 4096, at: index * 4096) }
      try file.synchronize()
    }

    @Test(
      "are OpenMetrics to its reference parser, and true",
      .needs(.fuse, .directIO, .metricsParser), arguments: Transport.present)
    func parse(transport: String) throws {
      try withMount(options: "transport=\(transport)", imageSizeBytes: 4 << 20) { mount in
        try writeAndRead(mount)
        let metrics = try ParsedMetrics(try mount.read("metrics"))
        let expected: [String: Double] = [
          "requests_total{op=read}": 20, "requests_total{op=write}": 5,
          "transferred_bytes_total{op=read}": 20 * 4096,
          "transferred_bytes_total{op=write}": 5 * 1024 * 1024,
          "sim_pages_acquired_total{mode=pin}": 5 * 256 + 20,
          "sim_pages_released_total{mode=pin}": 5 * 256 + 20,
          "sim_kind_pages_total{kind=ubuf,mode=pin}": 5 * 256 + 20,
          "sim_pages_held{mode=pin}": 0, "sim_pages_pinned_max{}": 256,
          "request_size_bytes_count{}": 25, "request_size_bytes_sum{}": 5 * 1048576 + 20 * 4096,
          "request_size_bytes_bucket{le=2048.0}": 0, "request_size_bytes_bucket{le=4096.0}": 20,
          "request_size_bytes_bucket{le=524288.0}": 20,
          "request_size_bytes_bucket{le=1048576.0}": 25, "request_size_bytes_bucket{le=+Inf}": 25,
          "memory_alignment_bytes_bucket{le=2048.0}": 0,
          "memory_alignment_bytes_bucket{le=4096.0}": 25,
          "file_alignment_bytes_bucket{le=2048.0}": 0,
          "file_alignment_bytes_bucket{le=4096.0}": 25,
          "request_duration_seconds_count{op=read}": 20,
          "request_duration_seconds_count{op=write}": 5, "queue_seconds_count{}": 25,
          "pin_hold_seconds_count{}": 25, "mount_info{}": 1,
        ]
        for (key, value) in expected {
          #expect(try metrics.value("extractfs_" + key) == value, "\(key)")
        }
        #expect(try metrics.value("extractfs_request_duration_seconds_count{op=flush}") >= 1)
        // A second for 25 requests of this size would be a machine that does not work.
        let sum = try metrics.value("extractfs_request_duration_seconds_sum{op=read}")
        #expect(sum > 0 && sum < 60)
        // Whatever `stats` counts is there.
        let unlike = try mount.statistics().values.keys.filter { name in
          !["requests_", "bytes_", "sim_", "kernel_", "device_", "passthrough_"].contains {
            name.hasPrefix($0)
          } && !metrics.names.contains("extractfs_\(name)")
            && !metrics.names.contains("extractfs_\(name)_total")
        }
        #expect(unlike == [])
      }
    }

    @Test(
      "tell alignment of memory and file apart", .needs(.fuse, .directIO, .metricsParser),
      arguments: [("misalign=512", 512.0), ("misalign=1024", 1024.0)])
    func alignment(option: String, memory: Double) throws {
      try withMount(options: option, imageSizeBytes: 4 << 20) { mount in
        try OpenFile(mount.disk, [.write, .direct]).fill(1, count: 4096)
        let metrics = try ParsedMetrics(try mount.read("metrics"))
        let name = "extractfs_memory_alignment_bytes_bucket"
        #expect(try metrics.value("\(name){le=\(memory)}") == 1)
        #expect(try metrics.value("\(name){le=\(memory / 2)}") == 0)
        #expect(try metrics.value("extractfs_file_alignment_bytes_bucket{le=2048.0}") == 0)
        #expect(try metrics.value("extractfs_file_alignment_bytes_bucket{le=4096.0}") == 1)
      }
    }

    @Test(
      "are served over HTTP, before, while and after there is a mount",
      .needs(.fuse, .metricsParser))
    func served() throws {
      try withMountPlace { place in
        let script = """
          $X metrics --listen 127.0.0.1:0 mnt >address 2>complaints & server=$!
          trap 'kill $server; wait $server' EXIT
          until [ -s address ]; do kill -0 $server || exit 9; done
          url=$(sed -n 's|serving ||p' address)
          ask() { /usr/bin/python3 - "$url$1" <<'END'
          import sys, urllib.request, urllib.error
          try:
            answer = urllib.request.urlopen(sys.argv[1], timeout=20)
          except urllib.error.HTTPError as error:
            answer = error
          print(answer.status, answer.headers["Content-Type"])
          sys.stdout.write(answer.read().decode())
          END
          }
          ask '' >before; $X mount image mnt && ask '' >while; ask x >other; ask '?a=b' >query
          $X umount mnt >&2; ask '' >after
          """
        try place.shell(script).checked()
        func text(_ name: String) throws -> String {
          try String(contentsOf: place.scratch.appending(path: name), encoding: .utf8)
        }
        #expect(try text("before").hasPrefix("503 text/plain"))
        #expect(try text("after").hasPrefix("503 text/plain"))
        #expect(try text("other").hasPrefix("404 "))
        for name in ["while", "query"] {
          let answer = try text(name)
          let head = "200 application/openmetrics-text; version=1.0.0; charset=utf-8\n"
          try #require(answer.hasPrefix(head), "\(answer.prefix(200))")
          let metrics = try ParsedMetrics(String(answer.dropFirst(head.count)))
          #expect(try metrics.value("extractfs_mount_info{}") == 1)
        }
      }
    }

    @Test(
      "are served at an address or not at all",
      arguments: ["", "9464", "localhost:9464", "127.0.0.1:", "127.0.0.1:99999", "a b:1"])
    func badAddress(address: String) throws {
      let result = try run([try extractfs(), "metrics", "--listen", address, "/"])
      #expect(result.exitCode == 64, "\(result)")
    }

    @Test("suit the dashboard and the scrape example", .needs(.fuse, .metricsParser))
    func examples() throws {
      let examples = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../../mount-scripts/examples")
      let board = try Data(contentsOf: examples.appending(path: "grafana-dashboard.json"))
      let parsed = try JSONSerialization.jsonObject(with: board) as? [String: Any]
      let panels = try #require(parsed?["panels"] as? [[String: Any]])
      let queries = panels.flatMap { $0["targets"] as? [[String: Any]] ?? [] }
        .compactMap { $0["expr"] as? String }
      #expect(panels.count >= 8 && queries.count >= panels.count)
      let scrape = try String(
        contentsOf: examples.appending(path: "prometheus.yml"), encoding: .utf8)
      #expect(scrape.contains("127.0.0.1:9464"))
      try withMount(imageSizeBytes: 1 << 20) { mount in
        let names = try ParsedMetrics(try mount.read("metrics")).names
        for query in queries {
          let used = query.matches(of: /extractfs_\w+/).map { String($0.output) }
          #expect(!used.isEmpty, "\(query)")
          for name in used { #expect(names.contains(name), "\(name) of \(query)") }
        }
      }
    }

    /// The least of many: others are busy on this machine.
    @Test(
      "are read within a millisecond after a million requests, with histograms within two",
      .needs(.fuse, .fio),
      arguments: [("stats", 1), ("stats.json", 2), ("metrics", 2)])
    func speed(file: String, limitMilliseconds: Int) throws {
      try withMount(options: "backend=null", imageSizeBytes: 64 << 20) { mount in
        try run(
          [
            "fio", "--name=million", "--filename=\(mount.disk)", "--rw=randread", "--bs=4k",
            "--size=64m", "--io_size=4000m", "--ioengine=\(Feature.asynchronousEngine)",
            "--iodepth=32", "--direct=1", "--norandommap",
          ], limitSeconds: 100
        ).checked()
        #expect(try #require(try mount.statistics()["requests_read"]) >= 1_000_000)
        let clock = ContinuousClock()
        let path = mount.controlFile(file)
        let buffer = AlignedBuffer(count: 1 << 16)
        var least = Duration.seconds(60)
        for _ in 0..<200 {
          let time = try clock.measure {
            let opened = try OpenFile(path)
            try #require(try opened.read(into: buffer, count: buffer.count, at: 0) > 0)
          }
          least = min(least, time)
        }
        #expect(least < .milliseconds(limitMilliseconds))
      }
    }
  }
}
