// What `top` knows of a mount at one moment: read from the texts of the control directory.

import Foundation

/// A request that holds pages, from `pins`.
public struct TopHolder: Sendable, Equatable {
  /// The FUSE request's number.
  public var request: Int
  /// The inode that it is on.
  public var inode: Int
  /// Bytes from the file's start.
  public var offset: Int
  /// Bytes.
  public var length: Int
  /// The iterator's kind.
  public var kind: String
  /// How its pages are held.
  public var mode: String
  /// Pages.
  public var pages: Int
  /// How old it is.
  public var ageMicroseconds: Int
}

/// A file's share of the requests, from `stats.json`.
public struct TopFile: Sendable, Equatable {
  /// The inode.
  public var inode: Int
  /// Requests answered.
  public var requests: Int
  /// Bytes moved.
  public var bytes: Int
}

/// Why a control file's text cannot be understood: one line.
public struct TopSampleError: Error {
  /// The line.
  public let message: String
}

/// All figures at one moment.
public struct TopSample: Sendable {
  /// When it was taken, in seconds of any clock that only goes forward.
  public var time: Double
  /// The figures of `stats`.
  public var counters: [String: Int] = [:]
  /// The distributions of `stats.json`: numbers by the largest value of their bucket.
  public var histograms: [String: [Int: Int]] = [:]
  /// The busiest files.
  public var files: [TopFile] = []
  /// Who holds pages.
  public var holders: [TopHolder] = []
  /// What `pins` tells of wrong accounting.
  public var defects: [String] = []
  /// The settings of `config`.
  public var settings: [String: String] = [:]

  private struct Document: Decodable {
    struct Histogram: Decodable { var buckets: [[Int]] }
    struct File: Decodable { var inode, requests, bytes: Int }
    var counters: [String: Int]
    var histograms: [String: Histogram]
    var files: [File]
  }

  /// Reads the three texts.
  public init(
    time: Double, statistics: String, pins: String, config: String
  ) throws(TopSampleError) {
    self.time = time
    do {
      let document = try JSONDecoder().decode(Document.self, from: Data(statistics.utf8))
      counters = document.counters
      histograms = document.histograms.mapValues { histogram in
        Dictionary(
          histogram.buckets.filter { $0.count == 2 }.map { ($0[0], $0[1]) }, uniquingKeysWith: +)
      }
      files = document.files.map {
        TopFile(inode: $0.inode, requests: $0.requests, bytes: $0.bytes)
      }
    } catch {
      throw TopSampleError(message: "stats.json is not of a version that this top knows")
    }
    readHolders(pins)
    for line in config.split(separator: "\n") {
      let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if parts.count == 2 { settings[String(parts[0])] = String(parts[1]) }
    }
  }

  /// Columns go by the names in the first heading that has them: later versions may have more.
  private mutating func readHolders(_ text: String) {
    var columns: [String: Int] = [:]
    for line in text.split(separator: "\n") {
      if line.hasPrefix("# defect: ") {
        defects.append(String(line.dropFirst(10)))
      } else if line.hasPrefix("#") {
        let names = line.dropFirst().split(separator: " ").map(String.init)
        if columns.isEmpty && names.contains("age_us") {
          columns = Dictionary(
            names.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        } else if !columns.isEmpty {
          // What follows another heading is of another kind.
          return
        }
      } else if let holder = Self.holder(line, columns) {
        holders.append(holder)
      }
    }
  }

  private static func holder(_ line: Substring, _ columns: [String: Int]) -> TopHolder? {
    let words = line.split(separator: " ").map(String.init)
    func word(_ name: String) -> String? {
      guard let column = columns[name], column < words.count else { return nil }
      return words[column]
    }
    func number(_ name: String) -> Int? { word(name).flatMap { Int($0) } }
    guard let request = number("request"), let age = number("age_us") else { return nil }
    return TopHolder(
      request: request, inode: number("inode") ?? 0, offset: number("offset") ?? 0,
      length: number("length") ?? 0, kind: word("kind") ?? "", mode: word("mode") ?? "",
      pages: number("pages") ?? 0, ageMicroseconds: age)
  }
}
