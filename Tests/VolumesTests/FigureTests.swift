// What the figures are made of: busy files, distributions, text for other tools.

import Memory
import Testing
import Volumes

@Suite("A table of busy files")
struct FileActivityTests {
  private func shares(_ table: FileActivity) -> [UInt64: [Int]] {
    Dictionary(
      uniqueKeysWithValues: table.shares().map { ($0.inode, [$0.requestCount, $0.byteCount]) })
  }

  @Test("counts each file for itself")
  func counts() {
    let table = FileActivity()
    for inode in UInt64(1)...3 {
      for _ in 0..<inode { table.count(inode, byteCount: 512) }
    }
    #expect(shares(table) == [1: [1, 512], 2: [2, 1024], 3: [3, 1536]])
  }

  @Test("keeps the file with most requests, however many others come by")
  func majority() {
    let table = FileActivity()
    // Ten thousand files with one request each, and two requests on the busy one for each of them.
    for other in UInt64(1000)..<11_000 {
      table.count(7, byteCount: 4096)
      table.count(other, byteCount: 1)
      table.count(7, byteCount: 4096)
    }
    #expect(shares(table)[7] == [20_000, 20_000 * 4096])
    #expect(table.shares().count <= FileActivity.placeCount)
  }

  @Test("gives a place to whoever is busy now")
  func replacement() {
    let table = FileActivity()
    for inode in UInt64(1)...640 { table.count(inode, byteCount: 1) }
    for _ in 0..<1000 { table.count(100_000, byteCount: 4096) }
    let last = shares(table)[100_000]?[0] ?? 0
    #expect(last >= 980 && last <= 1000)
  }
}

@Suite("The figures of a mount")
struct SnapshotTests {
  private let counters = CounterSet(count: 2)

  @Test("tell the busiest files of all workers, and begin anew after a reset")
  func files() {
    let tables = [FileActivity(), FileActivity()]
    let statistics = Statistics(counters: counters, activity: tables)
    for inode in UInt64(1)...50 { tables[0].count(inode, byteCount: Int(inode)) }
    tables[1].count(2, byteCount: 1 << 20)
    let files = statistics.snapshot().files
    #expect(files.count <= 32 && files[0].inode == 2)
    #expect(files[0] == FileShare(inode: 2, requestCount: 2, byteCount: (1 << 20) + 2))
    statistics.reset()
    #expect(statistics.snapshot().files.allSatisfy { $0.byteCount == 0 })
    tables[0].count(2, byteCount: 5)
    #expect(
      statistics.snapshot().files.first == FileShare(inode: 2, requestCount: 1, byteCount: 5))
  }

  @Test("have distributions with number and sum, from zero after a reset")
  func distributions() {
    let statistics = Statistics(counters: counters)
    for value in [4096, 4096, 512, 100_000] {
      counters.blocks[value % 2].record(value, in: .requestBytes)
    }
    var figures = statistics.snapshot()[.requestBytes]
    #expect(figures.count == 4 && figures.sum == 108_704)
    statistics.reset()
    figures = statistics.snapshot()[.requestBytes]
    #expect(figures.count == 0 && figures.sum == 0)
    #expect(statistics.snapshot()[.bioBytes].count == 0)
  }

  @Test("are OpenMetrics text that keeps its quoting whatever a path is called")
  func escapes() {
    let statistics = Statistics(counters: counters)
    counters.blocks[0].add(.requestsRead, 3)
    let text = OpenMetricsText.make(
      statistics.snapshot(), about: [("image", "a\"b\\c\nd"), ("volume", "raw")])
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(
      lines.contains("extractfs_mount_info{image=\"a\\\"b\\\\c\\nd\",volume=\"raw\"} 1"))
    #expect(lines.contains("extractfs_requests_total{op=\"read\"} 3"))
    #expect(lines.suffix(2) == ["# EOF", ""])
    #expect(lines.allSatisfy { $0.hasPrefix("#") || $0.hasPrefix("extractfs_") || $0.isEmpty })
  }

  @Test("have histograms whose buckets only grow")
  func cumulative() {
    let statistics = Statistics(counters: counters)
    for value in [100, 256, 257, 1000, 1 << 33, 1 << 40] {
      counters.blocks[1].record(value, in: .readNanoseconds)
    }
    let text = OpenMetricsText.make(statistics.snapshot(), about: [])
    let buckets = text.matches(
      of: /request_duration_seconds_bucket\{op="read",le="([^"]+)"\} (\d+)/
    ).map { (String($0.output.1), Int($0.output.2) ?? -1) }
    #expect(buckets.map(\.1) == buckets.map(\.1).sorted())
    #expect(buckets.first?.0 == "2.56e-07" && buckets.first?.1 == 2)
    #expect(buckets.dropFirst().first?.1 == 3 && buckets.last?.0 == "+Inf")
    #expect(buckets.last?.1 == 6 && buckets.dropLast().last?.1 == 5)
  }
}
