// Ten common direct I/Os under five kernels, as a table for people.

import IOVector
import Memory

/// A table of what becomes of common direct I/Os.
public enum CallTable {
  /// The kernels of the table's columns and the eras that stand for them.
  public static let kernels: [(name: String, era: Era)] = [
    ("6.1", .get), ("6.6", .merged), ("6.12", .v6_12), ("6.18", .v6_18), ("7.3", .v7_3),
  ]

  /// The rows: what is done, and the question.
  public static let rows: [(title: String, question: CallQuestion)] = [
    ("read 4 KiB, page-aligned", question(parts: [(0, 4096)])),
    ("read 4 KiB, buffer at +512", question(parts: [(512, 4096)])),
    ("read 4 KiB, buffer at +2", question(parts: [(2, 4096)])),
    ("write 512 bytes, blocks of 4 KiB", question(isWrite: true, block: 4096, parts: [(0, 512)])),
    ("readv of 100 and 412 bytes", question(parts: [(0, 100), (4096, 412)])),
    (
      "readv of 8 × 512 bytes in one page",
      question(parts: (0..<8).map { ($0 * 512, 512) })
    ),
    ("write 1 MiB", question(isWrite: true, parts: [(0, 1 << 20)])),
    ("read 2 MiB into a huge page", question(parts: [(0, 2 << 20)], placement: .huge)),
    (
      "write 64 KiB, XFS on a disk with checksums",
      question(isWrite: true, target: .file(.xfs, .written), stable: true, parts: [(0, 65536)])
    ),
    (
      "write 64 KiB, btrfs",
      question(isWrite: true, target: .file(.btrfs, .written), parts: [(0, 65536)])
    ),
  ]

  private static func question(
    isWrite: Bool = false, block: Int = 512, target: CallTarget = .device, stable: Bool = false,
    parts: [(offset: Int, byteCount: Int)], placement: BufferPlacement = .scattered
  ) -> CallQuestion {
    var limits = CallLimits()
    limits.logicalBlockSize = block
    limits.dmaAlignment = 3
    limits.maxSegments = 127
    limits.maxSegmentSize = 1 << 32
    limits.maxBytes = 512 << 10
    limits.stableWrites = stable
    var question = CallQuestion(
      target: target, limits: limits, isWrite: isWrite, offset: 0, parts: parts)
    question.placement = placement
    return question
  }

  /// The table in Markdown.
  public static var markdown: String {
    var lines = [
      "| direct I/O | " + kernels.map(\.name).joined(separator: " | ") + " |",
      "|---|" + String(repeating: "---|", count: kernels.count),
    ]
    for row in rows {
      let cells = kernels.map { cell(row.question.answer($0.era)) }
      lines.append("| \(row.title) | " + cells.joined(separator: " | ") + " |")
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// An answer in a few words: bios (requests if more), segments, what is held, what is copied; or the error.
  private static func cell(_ answer: CallAnswer) -> String {
    switch answer.failure {
    case .invalidArgument: return "EINVAL"
    case .some(let error): return "errno \(error.rawValue)"
    case nil: break
    }
    if answer.record.decision == .buffered { return "page cache" }
    var text = "\(answer.bioCount) bio" + (answer.bioCount == 1 ? "" : "s")
    if answer.requestCount > answer.bioCount { text += ", \(answer.requestCount) requests" }
    text += ", \(answer.segmentCount) seg"
    let (references, pins) = (answer.referenceCount, answer.pinCount)
    if references > 0 { text += ", \(references) ref" + (references == 1 ? "" : "s") }
    if pins > 0 { text += ", \(pins) pin" + (pins == 1 ? "" : "s") }
    if answer.copiedBytes > 0 { text += ", copied" }
    return text
  }
}
