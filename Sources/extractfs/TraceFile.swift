// A trace that is kept: events as they came, and behind them what else is known of the run.

import ArgumentParser
import Foundation
import Glibc
import Memory

/// What a kept trace says besides its events.
struct TraceFacts: Codable {
  /// The command that ran, as people write it.
  var command = ""
  /// How it ended.
  var exitCode = 0
  /// Names of programs by thread, and of files by inode.
  var programs: [String: String] = [:]
  /// See `programs`.
  var files: [String: String] = [:]
  /// The mount's `config` when the run began.
  var config: [String: String] = [:]
}

/// The file's layout: 16 bytes that say what it is, events of 64 bytes, `TraceFacts` as JSON, their length in 8 bytes,
/// and 8 bytes that end it. Without the end, as after a crash, the events are still there.
enum TraceFile {
  private static let magic = Array("extractfs trace\n".utf8)
  private static let tail = Array("end.\nxfs".utf8)

  /// What stands before the events.
  static var head: [UInt8] { magic }

  /// What stands behind them.
  static func foot(_ facts: TraceFacts) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    let text = Array(try encoder.encode(facts))
    let length = (0..<8).map { UInt8(truncatingIfNeeded: text.count >> ($0 * 8)) }
    return text + length + tail
  }

  /// Reads a file.
  /// - Throws: the error that ends the command, after a line that says why.
  static func read(_ path: SystemPath, _ body: (TraceRecord) -> Void) throws -> TraceFacts {
    let descriptor = path.open(O_RDONLY)
    if descriptor < 0 { throw failure("\(path.shown): \(describe(errno))") }
    defer { close(descriptor) }
    guard let bytes = contents(of: descriptor) else {
      throw failure("\(path.shown): \(describe(errno))")
    }
    guard bytes.starts(with: magic) else {
      throw failure("\(path.shown): is no trace of `extractfs record`")
    }
    var end = bytes.count
    var facts = TraceFacts()
    if bytes.count >= magic.count + 16, bytes.suffix(8).elementsEqual(tail) {
      let length = (0..<8).reduce(0) { $0 | Int(bytes[bytes.count - 16 + $1]) << ($1 * 8) }
      if length >= 0, length <= bytes.count - magic.count - 16 {
        end = bytes.count - 16 - length
        facts = try decode(bytes[end..<(end + length)], of: path)
      }
    }
    TraceBytes.forEach(in: bytes[magic.count..<end], body)
    return facts
  }

  private static func decode(_ bytes: ArraySlice<UInt8>, of path: SystemPath) throws -> TraceFacts {
    do {
      return try JSONDecoder().decode(TraceFacts.self, from: Data(bytes))
    } catch {
      throw failure("\(path.shown): is damaged")
    }
  }
}
