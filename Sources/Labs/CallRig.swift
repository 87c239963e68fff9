// What labs about whole calls have in common: a buffer, a device, and eras beside one another.

import DirectCall
import IOVector
import Memory

/// Makes calls on a buffer of 1,024 pages: the first 512 are small or one huge page, as the lab wants, of the others none is
/// there but the last 8.
struct CallRig {
  static let base: UInt64 = 1 << 32
  /// Where nothing is mapped.
  static let missing = 600 * 4096

  let era: Era
  let memory: CallMemory
  var limits = CallLimits()
  let bugs: ModelBugs

  init(_ era: Era, bugs: ModelBugs, hugePage: Bool = false) {
    self.era = era
    self.bugs = bugs
    limits.dmaAlignment = 3
    var mapped: [UInt64: MappedPage] = [:]
    for index in Array(0..<512) + Array(1016..<1024) {
      let page = Page(hugePage ? index : 2 * index)
      mapped[Self.base >> 12 + UInt64(index)] = MappedPage(page: page, access: .readWrite)
    }
    memory = CallMemory(
      pageCount: 2048, folios: hugePage ? [(Page(0), 9)] : [], mapped: mapped, era: era)
  }

  /// Makes one call on parts of the buffer, given by bytes from its start and length.
  func call(
    isWrite: Bool = false, on target: CallTarget = .device, at offset: Int = 0,
    _ parts: [(offset: Int, byteCount: Int)]
  ) -> CallRecord {
    var call = DirectCall(
      target: target, limits: limits, isWrite: isWrite, offset: offset,
      segments: parts.map { IOVec(base: Self.base + UInt64($0.offset), length: $0.byteCount) },
      era: era)
    call.bugs = bugs
    return call.run(in: memory, followUps: 0)[0]
  }
}

extension LabSetup {
  /// The eras that a lab sets beside one another: the one that was asked for, or those it is about.
  func eras(_ subject: [Era]) -> [Era] { era.map { [$0] } ?? subject }
}

/// A result as programs see it.
func resultText(_ result: Int) -> String {
  switch result {
  case -14: "EFAULT"
  case -22: "EINVAL"
  case ..<0: "errno \(-result)"
  default: "\(result) bytes"
  }
}

extension CallRecord {
  /// Result, bios and pins in a few words; references count as pins do.
  var labText: String {
    let held = (fills.flatMap(\.lookups) + lookups).reduce(0) { $0 + max($1.result, 0) }
    return "\(resultText(result)), \(held) held, \(bios.count) sent"
  }
}
