// `extractfs explain`: a direct I/O in, the answer of every era out.

import ArgumentParser
import DirectCall
import Foundation
import Memory

struct ExplainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Say what becomes of a direct I/O on each kernel: result, bios, pins, copies.",
    discussion: """
      A line for each era: its name; bytes or errno; bios, the segments in them, and the requests that the device gets if \
      it had to cut; pins, or references before 6.5; bytes copied; and the rule that decided, with its kernel function. \
      At the end, what to align to so that no era copies, cuts or refuses.
      """,
    subcommands: [
      ExplainReadCommand.self, ExplainWriteCommand.self, ExplainTableCommand.self,
    ])
}

struct ExplainReadCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "read", abstract: "Explain a read.")
  @OptionGroup var options: ExplainOptions
  func run() throws { try options.run(isWrite: false) }
}

struct ExplainWriteCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "write", abstract: "Explain a write.")
  @OptionGroup var options: ExplainOptions
  func run() throws { try options.run(isWrite: true) }
}

struct ExplainOptions: ParsableArguments {
  @Option(help: "Position in bytes.")
  var offset = "0"

  @Option(help: "Bytes.")
  var length = "4096"

  @Option(help: "Where the buffer begins, in bytes after a page boundary.")
  var bufferOffset = "0"

  @Option(help: "Bytes in a logical block; the device's unless given.")
  var block: String?

  @Option(
    help: "The iovec: OFFSET:LENGTH,… from the buffer's start, or a count of equal parts.")
  var segments: String?

  @Option(
    help:
      "A block device, a file on one, or limits: \(ExplainedDevice.keys), as KEY=BYTES,…",
    completion: .file())
  var device: String?

  @Option(help: "How the buffer's pages lie: scattered, contiguous or huge.")
  var pages = "scattered"

  @Option(help: "Only this era: \(Era.names.joined(separator: ", ")).")
  var era: String?

  @Flag(help: "Print JSON.")
  var json = false

  @Flag(
    help: """
      Make the call as well, on a scratch file of this machine or on --device, and set the running kernel's answer \
      beside the model's (root).
      """)
  var live = false

  @Flag(help: "With --live: allow a write to change what is on --device.")
  var overwrite = false

  @Option(
    help: "With --live: make so many random calls instead, and print where kernel and model differ."
  )
  var random: Int?

  @Option(help: "With --random: where the random numbers begin.")
  var seed: UInt64 = 1

  func run(isWrite: Bool) throws {
    let question = try question(isWrite: isWrite)
    let eras = try eras()
    if live || random != nil {
      return try LiveExplanation(
        options: self, question: question.question, device: question.device
      )
      .run(eras)
    }
    print(Explained(question.question, question.device, eras))
  }

  func print(_ explained: Explained) {
    if json { emitJSON(explained.document) } else { emit(explained.text) }
  }

  private func eras() throws -> [Era] {
    guard let era else { return Era.allCases }
    guard let known = Era(rawValue: era) else {
      throw failure(
        "--era: must be one of \(Era.names.joined(separator: ", "))", code: Exit.usage)
    }
    return [known]
  }

  private func question(
    isWrite: Bool
  ) throws -> (question: CallQuestion, device: ExplainedDevice) {
    var explained: ExplainedDevice
    do throws(DeviceError) {
      explained = try device.map(ExplainedDevice.init(_:)) ?? ExplainedDevice()
    } catch { throw failure(error.message) }
    if let block { explained.limits.logicalBlockSize = try size("--block", block) }
    let unit = explained.limits.logicalBlockSize
    guard (512...65536).contains(unit), unit & (unit - 1) == 0 else {
      throw failure("--block: must be a power of two from 512 to 65536", code: Exit.usage)
    }
    guard let placement = BufferPlacement(rawValue: pages) else {
      throw failure("--pages: must be scattered, contiguous or huge", code: Exit.usage)
    }
    let parts = try parts()
    let end = parts.map { $0.offset + $0.byteCount }.max() ?? 0
    guard end <= CallQuestion.mostBytes, parts.count <= 1024 else {
      throw failure("a call of more than 64 MiB or 1024 segments is not modelled", code: Exit.usage)
    }
    var question = CallQuestion(
      target: explained.target, limits: explained.limits, isWrite: isWrite,
      offset: try size("--offset", offset), parts: parts)
    question.placement = placement
    if let bytes = explained.byteCount { question.fileBytes = bytes }
    return (question, explained)
  }

  private func size(_ name: String, _ text: String) throws -> Int {
    guard let bytes = parseSize(text), bytes <= 1 << 60 else {
      throw failure("\(name): \(text) is no size", code: Exit.usage)
    }
    return bytes
  }

  private func parts() throws -> [(offset: Int, byteCount: Int)] {
    let start = try size("--buffer-offset", bufferOffset)
    let total = try size("--length", length)
    guard let segments else { return [(start, total)] }
    if let count = Int(segments), (1...1024).contains(count) {
      let each = (total + count - 1) / count
      return (0..<count).map { index in
        (start + min(index * each, total), min(each, max(total - index * each, 0)))
      }
    }
    return try segments.split(separator: ",").map { part in
      let pair = part.split(separator: ":")
      guard pair.count == 2 else {
        throw failure("--segments: \(part) is not OFFSET:LENGTH", code: Exit.usage)
      }
      return (
        start + (try size("--segments", String(pair[0]))),
        try size("--segments", String(pair[1]))
      )
    }
  }
}

/// The answers to one question, for a terminal or a program.
struct Explained {
  let answers: [CallAnswer]
  let advice: AlignmentAdvice
  let device: ExplainedDevice

  init(_ question: CallQuestion, _ device: ExplainedDevice, _ eras: [Era]) {
    answers = eras.map { question.answer($0) }
    advice = AlignmentAdvice(for: question)
    self.device = device
  }

  var text: String {
    var lines = answers.map(Self.line)
    lines.append(adviceLine)
    return lines.joined(separator: "\n") + "\n"
  }

  /// One era's line: its name first.
  static func line(_ answer: CallAnswer) -> String {
    let name = answer.era.rawValue.padding(toLength: 7, withPad: " ", startingAt: 0)
    let result =
      answer.failure.map { errnoName($0) } ?? "\(answer.record.result) bytes"
    var figures = [
      "bios \(answer.bioCount)", "segments \(answer.segmentCount)",
      answer.era.referencesUserPages
        ? "references \(answer.referenceCount)" : "pins \(answer.pinCount)",
      "copied \(answer.copiedBytes)",
    ]
    if answer.requestCount != answer.bioCount {
      figures.insert("requests \(answer.requestCount)", at: 2)
    }
    return "\(name) \(result), \(figures.joined(separator: ", ")); \(answer.rule)"
  }

  private var adviceLine: String {
    var text =
      advice.memory.map {
        "align  addresses to \($0), positions and lengths to \(advice.offset)"
      } ?? "align  no alignment suits every era"
    text += "; up to \(advice.mostBytes) bytes are never cut"
    if let direct = device.direct {
      text += "; statx says addresses \(direct.memory), positions \(direct.offset)"
    } else {
      let limits = device.limits
      text +=
        "; a kernel with these limits says in statx: addresses \(limits.dmaAlignment + 1), positions \(limits.logicalBlockSize)"
    }
    return text
  }

  /// The names of errors that a direct I/O gives.
  static func errnoName(_ error: Errno) -> String {
    switch error {
    case .badAddress: "EFAULT"
    case .invalidArgument: "EINVAL"
    case .wouldBlock: "EAGAIN"
    case .ioError: "EIO"
    case .noSpace: "ENOSPC"
    default: "errno \(error.rawValue)"
    }
  }

  var document: [String: Any] {
    var advice: [String: Any] = [
      "offset": self.advice.offset, "most_bytes": self.advice.mostBytes,
    ]
    if let memory = self.advice.memory { advice["memory"] = memory }
    if let direct = device.direct {
      advice["statx"] = ["memory": direct.memory, "offset": direct.offset]
    }
    return ["eras": answers.map(Self.document), "advice": advice]
  }

  static func document(_ answer: CallAnswer) -> [String: Any] {
    [
      "era": answer.era.rawValue, "result": answer.record.result,
      "errno": answer.failure.map { errnoName($0) } ?? "", "bios": answer.bioCount,
      "requests": answer.requestCount, "segments": answer.segmentCount, "pins": answer.pinCount,
      "references": answer.referenceCount, "copied": answer.copiedBytes,
      "decision": answer.record.decision.rawValue, "rule": answer.rule,
    ]
  }
}

struct ExplainTableCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "table", abstract: "Print ten common direct I/Os on five kernels, as Markdown.")
  func run() throws { emit(CallTable.markdown) }
}
