// Random file operations against a shadow: every read must give what a plain file gives.
//
// The idea is fsx's: operations of mixed kind, size and offset go to the file under test and, in the
// plainest way, to a plain file. Everything follows from one seed, which a failure reports.

import Glibc
import Memory

/// A run of random operations on a file, checked against a plain file.
public struct RandomOperations: Sendable {
  /// The ways to read and write that a run mixes.
  public enum Kind: String, CaseIterable, Sendable {
    case bufferedRead, bufferedWrite
    /// At multiples of 512 bytes, past the page cache.
    case directRead, directWrite
    /// At any offset and of any length, past the page cache.
    case unalignedDirectRead, unalignedDirectWrite
    case mappedRead, mappedWrite
    case synchronize
  }

  /// How the file is divided among threads.
  public enum Sharing: Sendable {
    /// Each thread owns a region; regions meet on page boundaries.
    case pages
    /// Each thread owns a region; regions meet anywhere, so that two threads write to one block.
    /// Only for direct I/O: a page cache reads whole pages.
    case bytes
  }

  /// The file under test; its size does not change.
  public var subject: String

  /// The plain file; made, and filled with what the subject holds.
  public var shadow: String

  /// What all choices follow from.
  public var seed: UInt64

  /// How many operations all threads do together.
  public var operations: Int

  /// How many threads work at once.
  public var threads = 1

  /// Where the threads' regions meet.
  public var sharing = Sharing.pages

  /// The kinds of operation to mix.
  public var kinds = Kind.allCases

  /// The longest transfer in bytes.
  public var longestBytes = 256 << 10

  /// Called before each operation with its number; lets a test disturb the run.
  public var beforeOperation: @Sendable (Int) throws -> Void = { _ in }

  /// Describes a run on `subject`, with `shadow` as the path of the plain file.
  public init(subject: String, shadow: String, seed: UInt64, operations: Int) {
    self.subject = subject
    self.shadow = shadow
    self.seed = seed
    self.operations = operations
  }

  /// Does all operations, then compares the whole files.
  /// - Throws: `TestFailure` with the seed, the last operations and the first difference.
  public func run() throws {
    let sizeBytes = try OpenFile(subject).sizeBytes()
    try copySubject(sizeBytes: sizeBytes)
    let grain = sharing == .pages ? 4096 : 1
    let share = sizeBytes / threads / grain * grain - (sharing == .bytes ? 13 : 0)
    try onThreads(threads) { index in
      let region = threads == 1 ? 0..<sizeBytes : index * share..<(index + 1) * share
      var worker = try Worker(run: self, index: index, region: region, sizeBytes: sizeBytes)
      try worker.run(operations / threads)
    }
    try OpenFile(subject, .write).synchronize()
    if let difference = try firstDifference(between: subject, and: shadow) {
      throw TestFailure("seed \(seed): the files differ at \(difference) when all is done")
    }
  }

  private func copySubject(sizeBytes: Int) throws {
    let (source, target) = (
      try OpenFile(subject), try OpenFile(shadow, [.write, .create, .truncate])
    )
    try target.resize(to: sizeBytes)
    let buffer = AlignedBuffer(count: 1 << 20)
    for offset in stride(from: 0, to: sizeBytes, by: buffer.count) {
      let count = try source.read(into: buffer, count: buffer.count, at: offset)
      try target.write(from: buffer, count: count, at: offset)
    }
  }
}

/// One thread's part of a run: its own descriptors, mapping, buffers and random sequence.
private struct Worker {
  private struct Operation {
    var number: Int
    var kind: RandomOperations.Kind
    var offset: Int
    var count: Int
  }

  private let run: RandomOperations
  private let index: Int
  private let region: Range<Int>
  private let sizeBytes: Int
  private let buffered: OpenFile
  private let direct: OpenFile
  private let mapping: FileMapping?
  private let shadow: OpenFile
  private let mine: AlignedBuffer
  private let theirs: AlignedBuffer
  private var generator: SeededGenerator

  /// The last operations, oldest first, for the report of a failure.
  private var recent: [Operation] = []

  init(run: RandomOperations, index: Int, region: Range<Int>, sizeBytes: Int) throws {
    self.run = run
    self.index = index
    self.region = region
    self.sizeBytes = sizeBytes
    buffered = try OpenFile(run.subject, .write)
    direct = try OpenFile(run.subject, [.write, .direct])
    let maps = run.kinds.contains(.mappedRead) || run.kinds.contains(.mappedWrite)
    mapping = maps ? try FileMapping(of: buffered, count: sizeBytes) : nil
    shadow = try OpenFile(run.shadow, .write)
    mine = AlignedBuffer(count: run.longestBytes)
    theirs = AlignedBuffer(count: run.longestBytes)
    generator = SeededGenerator(seed: run.seed &+ UInt64(index) &* 0x1_0000_0001)
  }

  mutating func run(_ count: Int) throws {
    for number in 0..<count {
      try run.beforeOperation(number)
      let operation = choose(number)
      remember(operation)
      do { try perform(operation) } catch {
        throw TestFailure(report("\(error)"))
      }
    }
  }

  /// Draws kind, offset and length. Short transfers are as likely as long ones.
  private mutating func choose(_ number: Int) -> Operation {
    var kind = run.kinds[Int.random(in: 0..<run.kinds.count, using: &generator)]
    // Making things durable is rare in life, and slow on a disk.
    if kind == .synchronize, Int.random(in: 0..<16, using: &generator) != 0 {
      kind = run.kinds.first { $0 != .synchronize } ?? .synchronize
    }
    let grain = grain(of: kind)
    let widest = Int.bitWidth - run.longestBytes.leadingZeroBitCount
    let magnitude = Int.random(in: 0...widest, using: &generator)
    let longest = min(run.longestBytes, 1 << magnitude, region.count)
    var length = Int.random(in: 1...longest, using: &generator)
    var offset = Int.random(in: region.lowerBound..<region.upperBound, using: &generator)
    if grain > 1 {
      offset = offset / grain * grain
      length = max(grain, length / grain * grain)
    }
    length = min(length, region.upperBound - offset, run.longestBytes)
    return Operation(number: number, kind: kind, offset: offset, count: length)
  }

  /// The unit of an operation's offset: fixed for direct I/O, else now whole blocks, now bytes.
  private mutating func grain(of kind: RandomOperations.Kind) -> Int {
    switch kind {
    case .directRead, .directWrite: 512
    case .unalignedDirectRead, .unalignedDirectWrite: 1
    default: [1, 1, 512, 4096][Int.random(in: 0..<4, using: &generator)]
    }
  }

  private mutating func perform(_ operation: Operation) throws {
    switch operation.kind {
    case .bufferedRead: try read(operation, by: buffered)
    case .directRead, .unalignedDirectRead: try read(operation, by: direct)
    case .mappedRead:
      guard let mapping else { return }
      mapping.read(into: mine, count: operation.count, at: operation.offset)
      try compare(operation, found: operation.count)
    case .bufferedWrite: try write(operation, by: buffered)
    case .directWrite, .unalignedDirectWrite: try write(operation, by: direct)
    case .mappedWrite:
      guard let mapping else { return }
      mine.fill(count: operation.count, using: &generator)
      mapping.write(from: mine, count: operation.count, at: operation.offset)
      try shadow.write(from: mine, count: operation.count, at: operation.offset)
      if operation.number % 16 == 0 {
        try mapping.synchronize(count: operation.count, at: operation.offset)
      }
    case .synchronize: try buffered.synchronize()
    }
  }

  /// Reads from both files. A thread alone also asks for more than the file has.
  private func read(_ operation: Operation, by file: OpenFile) throws {
    var wanted = operation
    if operation.offset + operation.count == sizeBytes, run.threads == 1 {
      wanted.count = min(operation.count + 4096, mine.count)
    }
    let found = try file.read(into: mine, count: wanted.count, at: wanted.offset)
    try compare(wanted, found: found)
  }

  private func compare(_ operation: Operation, found: Int) throws {
    let expected = try shadow.read(into: theirs, count: operation.count, at: operation.offset)
    if found != expected {
      throw TestFailure("read \(found) bytes where \(expected) are")
    }
    if let difference = mine.firstDifference(from: theirs, count: found) {
      throw TestFailure(
        """
        byte \(operation.offset + difference) is \(mine[difference]), \
        should be \(theirs[difference])
        """)
    }
  }

  private mutating func write(_ operation: Operation, by file: OpenFile) throws {
    mine.fill(count: operation.count, using: &generator)
    let written = try file.write(from: mine, count: operation.count, at: operation.offset)
    if written != operation.count {
      throw TestFailure("wrote \(written) bytes of \(operation.count)")
    }
    try shadow.write(from: mine, count: operation.count, at: operation.offset)
  }

  private mutating func remember(_ operation: Operation) {
    if recent.count == 12 { recent.removeFirst() }
    recent.append(operation)
  }

  private func report(_ problem: String) -> String {
    let history = recent.map { "  \($0.number): \($0.kind.rawValue) \($0.count) at \($0.offset)" }
    return """
      seed \(run.seed), thread \(index): \(problem)
      region \(region), the last operations were
      \(history.joined(separator: "\n"))
      """
  }
}
