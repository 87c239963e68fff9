// What one direct I/O does under each era, in the few figures that its caller cares about.

import IOVector
import Memory

/// How a buffer's pages lie in the machine.
public enum BufferPlacement: String, CaseIterable, Sendable {
  /// Small pages, no two of them next to one another: as memory mostly lies.
  case scattered
  /// Small pages, one after the other.
  case contiguous
  /// Huge pages.
  case huge
}

/// A direct I/O of which somebody wants to know what becomes of it.
public struct CallQuestion: Sendable {
  /// What it is made on.
  public var target: CallTarget
  /// The device's limits.
  public var limits: CallLimits
  /// Whether data goes to the target.
  public var isWrite: Bool
  /// Position in bytes.
  public var offset: Int
  /// Parts of the buffer: bytes from its page-aligned start, and length.
  public var parts: [(offset: Int, byteCount: Int)]
  /// How its pages lie.
  public var placement = BufferPlacement.scattered
  /// Bytes in the file, for a file.
  public var fileBytes = 1 << 40

  /// The most bytes that a question may be about; a model of more would take long.
  public static let mostBytes = 64 << 20
  /// Where the buffer begins: at the start of a huge page.
  static let base: UInt64 = 1 << 32

  /// Asks.
  public init(
    target: CallTarget, limits: CallLimits, isWrite: Bool, offset: Int,
    parts: [(offset: Int, byteCount: Int)]
  ) {
    self.target = target
    self.limits = limits
    self.isWrite = isWrite
    self.offset = offset
    self.parts = parts
  }

  /// What becomes of it under an era's rules.
  public func answer(_ era: Era) -> CallAnswer {
    let end = parts.map { $0.offset + $0.byteCount }.max() ?? 0
    let pages = max(1, pageCount(covering: end))
    let step = placement == .scattered ? 2 : 1
    var mapped: [UInt64: MappedPage] = [:]
    mapped.reserveCapacity(pages)
    for index in 0..<pages {
      mapped[Self.base >> 12 + UInt64(index)] = MappedPage(
        page: Page(index * step), access: .readWrite)
    }
    let huge = placement == .huge ? (pages + 511) / 512 : 0
    let memory = CallMemory(
      pageCount: max(pages * step, huge * 512),
      folios: (0..<huge).map { (head: Page($0 * 512), order: 9) }, mapped: mapped, era: era)
    var call = DirectCall(
      target: target, limits: limits, isWrite: isWrite, offset: offset,
      segments: parts.map { IOVec(base: Self.base + UInt64($0.offset), length: $0.byteCount) },
      era: era)
    call.fileBytes = fileBytes
    call.serverFileBytes = max(fileBytes, offset + end)
    let records = call.run(in: memory, followUps: 0)
    return CallAnswer(era: era, record: records[0], target: target)
  }
}

/// What one direct I/O does under one era.
public struct CallAnswer: Sendable {
  /// Whose rules.
  public let era: Era
  /// What happened in full.
  public let record: CallRecord

  /// Whether the call was on a file.
  private let isFile: Bool

  /// Puts an answer together.
  public init(era: Era, record: CallRecord, target: CallTarget = .device) {
    self.era = era
    self.record = record
    isFile = target != .device
  }

  /// Bytes, or nil if it failed.
  public var byteCount: Int? { record.result >= 0 ? record.result : nil }
  /// Why it failed.
  public var failure: Errno? {
    record.result < 0 ? Errno(rawValue: Int32(-record.result)) : nil
  }
  /// Bios that were sent.
  public var bioCount: Int { record.bios.count }
  /// Requests that the device got: bios, or their parts.
  public var requestCount: Int { record.bios.reduce(0) { $0 + max($1.fragments.count, 1) } }
  /// Segments in all bios.
  public var segmentCount: Int { record.bios.reduce(0) { $0 + $1.vectors.count } }
  /// Pins that were taken.
  public var pinCount: Int { record.acquired }
  /// References that were taken in place of pins.
  public var referenceCount: Int {
    (record.lookups + record.fills.flatMap(\.lookups)).reduce(0) {
      $0 + ($1.pins ? 0 : max($1.result, 0))
    }
  }
  /// Bytes that the processor copied.
  public var copiedBytes: Int { record.copiedBytes }
  /// The rule that decided, as text with kernel function and version.
  public var rule: String {
    "\(record.decision.summary): \(record.decision.source(era, isFile: isFile)), \(era.sourceVersion)"
  }
  /// Whether it went as well as it can: not refused, not copied, not cut.
  public var isPlain: Bool {
    record.decision == .transferred && record.result == record.left && bioCount <= 1
      && requestCount <= 1
  }

  /// What differs between two answers, in the order in which a caller would mind.
  public func differences(from other: CallAnswer) -> [String] {
    var names: [String] = []
    if record.result != other.record.result { names.append("result") }
    if copiedBytes != other.copiedBytes { names.append("copies") }
    if requestCount != other.requestCount { names.append("requests") }
    if segmentCount != other.segmentCount { names.append("segments") }
    if pinCount != other.pinCount { names.append("pins") }
    return names
  }
}

/// What to align to, so that no era copies, splits or refuses.
public struct AlignmentAdvice: Sendable {
  /// Bytes that the buffer's address must be a multiple of; nil if no alignment helps.
  public let memory: Int?
  /// Bytes that position and length must be multiples of.
  public let offset: Int
  /// The most bytes that no era cuts, from a page on.
  public let mostBytes: Int

  /// Finds it by asking the model: the smallest alignment with which one block goes well everywhere, and the longest call.
  public init(for question: CallQuestion) {
    var block = question
    block.placement = .scattered
    offset = question.limits.logicalBlockSize
    let unit = offset
    let start = question.offset / unit * unit
    func isPlain(at place: Int, _ byteCount: Int) -> Bool {
      block.offset = start
      block.parts = [(place, byteCount)]
      return Era.allCases.allSatisfy { block.answer($0).isPlain }
    }
    let steps = (0...12).map { 1 << $0 }
    memory = steps.first { step in
      // Every larger multiple must do as well: a page's start may be one.
      [step, step * 3, pageSize - step, pageSize].allSatisfy { isPlain(at: $0, unit) }
    }
    var low = 0
    var high = CallQuestion.mostBytes / 16 / unit
    while low < high {
      let middle = (low + high + 1) / 2
      if isPlain(at: 0, middle * unit) { low = middle } else { high = middle - 1 }
    }
    mostBytes = low * unit
  }
}

extension Era {
  /// The version whose sources are cited for the era.
  public var sourceVersion: String {
    switch rawValue {
    case "get": "v6.1"
    case "v8": "v8 series"
    case "merged": "v6.6"
    default: "v" + rawValue
    }
  }
}
