// Runs conformance vectors against the model: files of one JSON object a line.

import Foundation
import Memory

/// Runs conformance vectors.
public enum ConformanceRunner {
  /// Runs every `*.jsonl` file of a directory, in the order of names.
  ///
  /// - Parameter directory: path.
  /// - Returns: counts and differences; malformed lines are failures.
  /// - Throws: `.noSuchFile` if the directory cannot be read or has no such file; `.ioError` if a file cannot be read.
  public static func run(directory: String) throws(Errno) -> ConformanceReport {
    var report = ConformanceReport()
    for name in try files(directory) {
      try run(file: directory + "/" + name, into: &report)
    }
    return report
  }

  /// Runs one file.
  /// - Parameter file: path.
  /// - Throws: `.ioError` if the file cannot be read.
  public static func run(file: String) throws(Errno) -> ConformanceReport {
    var report = ConformanceReport()
    try run(file: file, into: &report)
    return report
  }

  /// Runs one vector.
  /// - Parameters:
  ///   - line: a JSON object.
  ///   - name: what stands for the id if the line has none.
  ///   - report: the result is added here.
  public static func run(line: [UInt8], named name: String, into report: inout ConformanceReport) {
    var id = name
    var family = ""
    var kernel: String?
    do throws(VectorError) {
      let vector = try JSON(parsing: line)
      id = try vector.field("id").string("id")
      family = try vector.field("family").string("family")
      kernel = try vector.optional("kernel")?.string("kernel")
      if let difference = try difference(vector, family: family) {
        report.noteFailure(id, difference, family: family, kernel: kernel)
      } else {
        report.notePass(family: family, kernel: kernel)
      }
    } catch {
      let place = id == name ? id : "\(id) (\(name))"
      report.noteFailure(place, "malformed vector: \(error.text)", family: family, kernel: kernel)
    }
  }

  private static func files(_ directory: String) throws(Errno) -> [String] {
    let names: [String]
    do { names = try FileManager.default.contentsOfDirectory(atPath: directory) } catch {
      throw .noSuchFile
    }
    let vectors = names.filter { $0.hasSuffix(".jsonl") }.sorted()
    if vectors.isEmpty { throw .noSuchFile }
    return vectors
  }

  private static func run(file: String, into report: inout ConformanceReport) throws(Errno) {
    guard let data = FileManager.default.contents(atPath: file) else { throw .ioError }
    let name = file.split(separator: "/").last.map(String.init) ?? file
    let lines = [UInt8](data).split(separator: 0x0a, omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() {
      if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }) { continue }
      run(line: Array(line), named: "\(name):\(index + 1)", into: &report)
    }
  }

  private static func difference(_ vector: JSON, family: String) throws(VectorError) -> String? {
    let input = try vector.field("input")
    let expect = try vector.field("expect")
    let tag = try vector.optional("tag")?.string("tag") ?? ""
    var expected = expect
    let found: JSON
    if try vector.optional("kernel") != nil {
      (found, expected) = try CallFamily.run(vector, family: family)
      return firstDifference(expected, found, path: "")
    }
    switch family {
    case "extract", "getpages":
      (found, expected) = try ExtractFamily.run(
        input, expect: expect, isLegacy: family == "getpages",
        isQuirk: tag == "quirk_xarray_hole_unaligned")
    case "iter_ops": found = try IterOpsFamily.run(input)
    case "bio_build": found = try BioBuildFamily.run(input)
    case "bio_iter": found = try BioIterFamily.run(input)
    case "copy": found = try CopyFamily.run(input)
    case "kunit": found = try KUnitFamily.run(input, tag: tag)
    default: throw VectorError(text: "unknown family \"\(family)\"")
    }
    return firstDifference(expected, found, path: "")
  }
}
