// `extractfs explain … --live`: the model's answer and the running kernel's side by side.

import ArgumentParser
import CSystem
import DirectCall
import Glibc
import Memory

struct LiveExplanation {
  let options: ExplainOptions
  let question: CallQuestion
  let device: ExplainedDevice

  /// How often a call is made at most until the pins agree: others at work on the machine pin as well.
  private static let tries = 200
  /// Bytes of a scratch file.
  private static let scratchBytes = 8 << 20

  func run(_ eras: [Era]) throws {
    let scratch = options.device == nil ? try ScratchFile(byteCount: Self.scratchBytes) : nil
    let path = scratch?.path ?? options.device ?? ""
    do throws(DeviceError) {
      var device = device
      var question = question
      if scratch != nil {
        device = try ExplainedDevice(path)
        question.target = device.target
        question.limits = device.limits
      }
      question.fileBytes = device.byteCount ?? question.fileBytes
      guard let number = device.number else {
        throw DeviceError("\(path): has no block device whose bios could be traced")
      }
      let mayWrite = scratch != nil || options.overwrite
      let target = try LiveTarget(path: path, device: number)
      if let count = options.random {
        try compare(count, target, question, device, mayWrite: mayWrite)
      } else {
        guard mayWrite || !question.isWrite else {
          throw DeviceError("\(path): --overwrite is needed to write there")
        }
        try one(target, question, device, eras)
      }
    } catch { throw failure(error.message) }
  }

  /// The question's own call.
  private func one(
    _ target: LiveTarget, _ question: CallQuestion, _ device: ExplainedDevice, _ eras: [Era]
  ) throws(DeviceError) {
    let end = question.parts.map { $0.offset + $0.byteCount }.max() ?? 0
    guard end <= LiveTarget.firstHole * pageSize else {
      throw DeviceError("--live: a buffer of more than 300 pages is not made")
    }
    let era = Era.auto
    let answer = target.model(
      question, question.parts, at: question.offset, isWrite: question.isWrite, era)
    let live = agreeing(target, answer, question.parts, question.offset, question.isWrite)
    let differences = live.differences(from: answer, isFile: device.isFile)
    let explained = Explained(question, device, eras)
    if options.json {
      var document = explained.document
      document["live"] =
        [
          "era": era.rawValue, "result": live.result, "pins_acquired": live.acquired,
          "pins_released": live.released, "bios": live.bios.map { [$0.sector, $0.sectors] },
          "differences": differences,
        ] as [String: Any]
      emitJSON(document)
    } else {
      emit(explained.text)
      let result =
        live.result < 0
        ? Explained.errnoName(Errno(rawValue: Int32(-live.result))) : "\(live.result) bytes"
      let bios = live.bios.map { "\($0.sector)+\($0.sectors)" }.joined(separator: " ")
      emit(
        "live    \(result), bios \(live.bios.count)\(bios.isEmpty ? "" : " (\(bios))"), "
          + "pins \(live.acquired) taken \(live.released) given back; "
          + (differences.isEmpty
            ? "as era \(era) says\n"
            : "era \(era) differs: \(differences.joined(separator: "; "))\n"))
    }
  }

  /// Makes a call until the kernel's pins are the model's, or often enough.
  private func agreeing(
    _ target: LiveTarget, _ answer: CallAnswer, _ parts: [(offset: Int, byteCount: Int)],
    _ offset: Int, _ isWrite: Bool
  ) -> LiveAnswer {
    var live = target.make(parts, at: offset, isWrite: isWrite)
    for _ in 1..<Self.tries
    where live.acquired != answer.record.acquired || live.released != answer.record.released {
      live = target.make(parts, at: offset, isWrite: isWrite)
    }
    return live
  }

  /// Random calls, and where kernel and model differ.
  private func compare(
    _ count: Int, _ target: LiveTarget, _ question: CallQuestion, _ device: ExplainedDevice,
    mayWrite: Bool
  ) throws(DeviceError) {
    var generator = SeededGenerator(seed: options.seed)
    let era = Era.auto
    var differing = 0
    let size = min(device.byteCount ?? Self.scratchBytes, 1 << 30)
    for number in 0..<count {
      let call = RandomCall(&generator, size: size, block: question.limits.logicalBlockSize)
      let isWrite = call.isWrite && mayWrite
      let answer = target.model(question, call.parts, at: call.offset, isWrite: isWrite, era)
      let live = agreeing(target, answer, call.parts, call.offset, isWrite)
      let differences = live.differences(from: answer, isFile: device.isFile)
      if differences.isEmpty { continue }
      differing += 1
      emit(
        "\(number): \(isWrite ? "write" : "read") at \(call.offset) of "
          + call.parts.map { "\($0.offset):\($0.byteCount)" }.joined(separator: ",")
          + ": \(differences.joined(separator: "; ")); \(answer.rule)\n")
    }
    emit("\(count) calls under era \(era), \(differing) differ\n")
  }
}

/// A call with random position and buffer, mostly well aligned.
private struct RandomCall {
  let isWrite: Bool
  let offset: Int
  let parts: [(offset: Int, byteCount: Int)]

  init(_ generator: inout SeededGenerator, size: Int, block: Int) {
    isWrite = Bool.random(using: &generator)
    let unit = [1, 4, block, block, 4096, 4096, 4096].randomElement(using: &generator) ?? block
    offset =
      (Int.random(in: 0..<20, using: &generator) == 0 ? 4 : block)
      * Int.random(in: 0..<(size / 2 / block), using: &generator)
    let count = [1, 1, 1, 2, 3, 8].randomElement(using: &generator) ?? 1
    parts = (0..<count).map { _ in
      let longest = min(160, 640 / count) * pageSize
      let length = unit * Int.random(in: 0...longest / unit, using: &generator)
      let start = unit * Int.random(in: 0...(640 * pageSize - length) / unit, using: &generator)
      return (start, Int.random(in: 0..<3, using: &generator) == 0 ? length : length / 4096 * 4096)
    }
  }
}

/// A file of our own that goes when we do.
private final class ScratchFile {
  let path: String

  init(byteCount: Int) throws {
    let folder = unsafe getenv("TMPDIR").map { unsafe String(cString: $0) } ?? "/var/tmp"
    path = "\(folder)/extractfs-explain-\(getpid())"
    let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failure("\(path): \(describe(errno))") }
    defer { close(descriptor) }
    let bytes = [UInt8](repeating: 0x33, count: byteCount)
    guard unsafe write(descriptor, bytes, byteCount) == byteCount, fsync(descriptor) == 0 else {
      let error = errno
      unsafe unlink(path)
      throw failure("\(path): \(describe(error))")
    }
  }

  deinit { unsafe unlink(path) }
}
