// `extractfs passthrough`: reads or writes whole blocks of a mounted image, past its file.

import ArgumentParser
import CPassThrough
import FUSEServer
import Glibc
import Volumes

struct PassThroughCommand: ParsableCommand {
  enum Operation: String, ExpressibleByArgument, CaseIterable { case read, write }

  static let configuration = CommandConfiguration(
    commandName: "passthrough",
    abstract: "Read or write blocks of a mounted image by pass-through requests.",
    discussion: """
      The daemon maps the buffer of each request under the hardware's limits and copies what cannot be mapped; the \
      report tells how much went which way. Data goes to or comes from --file, or standard output and input.
      """)

  @Argument(help: "read or write.")
  var operation: Operation

  @Argument(help: "The image's file in the mount: DIR/disk.", completion: .file())
  var disk: SystemPath

  @Option(help: ArgumentHelp("The first block.", valueName: "n"))
  var lba: UInt64

  @Option(help: ArgumentHelp("How many blocks.", valueName: "n"))
  var blocks: Int

  @Option(
    help: ArgumentHelp(
      "Where data starts in each request's buffer. What is no multiple of 512 is copied.",
      valueName: "bytes"))
  var offsetInBuffer = 0

  @Option(help: "Where data goes to or comes from.", completion: .file())
  var file: SystemPath?

  @Flag(help: "Print the report as JSON.")
  var json = false

  func validate() throws {
    if blocks < 1 { throw ValidationError("--blocks must be at least 1") }
    if offsetInBuffer < 0 || offsetInBuffer > Int(EXTRACTFS_PASSTHROUGH_BUFFER) - 512 {
      throw ValidationError(
        "--offset-in-buffer must be from 0 to \(Int(EXTRACTFS_PASSTHROUGH_BUFFER) - 512)")
    }
  }

  func run() throws {
    let descriptor = disk.open(operation == .write ? O_RDWR : O_RDONLY)
    if descriptor < 0 { throw failure("\(disk.shown): \(describe(errno))") }
    defer { close(descriptor) }
    var message = PassThroughMessage()
    message.header.operation = UInt32(EXTRACTFS_PASSTHROUGH_QUERY)
    try send(&message, to: descriptor)
    let blockBytes = Int(message.header.block_size)
    let blocksPerCall = (PassThroughMessage.bufferBytes - offsetInBuffer) / blockBytes
    if blocksPerCall == 0 {
      throw failure(
        "--offset-in-buffer \(offsetInBuffer): leaves no room for a block of \(blockBytes) bytes",
        code: Exit.usage)
    }
    let data = try DataFile(path: file, isWrite: operation == .read)
    var report = (requests: 0, mapped: 0, copied: 0)
    var done = 0
    while done < blocks {
      let count = min(blocksPerCall, blocks - done)
      try transfer(&message, count, at: done, count * blockBytes, descriptor, data)
      report.requests += 1
      report.mapped += Int(message.header.mapped_bytes)
      report.copied += Int(message.header.copied_bytes)
      done += count
    }
    show(report, blockBytes: blockBytes)
  }

  private func transfer(
    _ message: inout PassThroughMessage, _ count: Int, at done: Int, _ byteCount: Int,
    _ descriptor: Int32, _ data: borrowing DataFile
  ) throws {
    let (first, overflow) = lba.addingReportingOverflow(UInt64(done))
    if overflow { throw failure("--lba \(lba): out of range") }
    let range = offsetInBuffer..<offsetInBuffer + byteCount
    message.header.operation = UInt32(
      operation == .read ? EXTRACTFS_PASSTHROUGH_READ : EXTRACTFS_PASSTHROUGH_WRITE)
    message.header.lba = first
    message.header.blocks = UInt32(count)
    message.header.offset = UInt32(offsetInBuffer)
    if operation == .write { message[range] = try data.read(byteCount) }
    try send(&message, to: descriptor)
    if operation == .read { try data.write(message[range]) }
  }

  private func send(_ message: inout PassThroughMessage, to descriptor: Int32) throws {
    let number = message.send(to: descriptor)
    switch number {
    case 0: return
    case ENOTTY:
      throw failure(
        "\(disk.shown): takes no pass-through requests; give the file disk of a raw volume")
    case ENOMEM:
      throw failure("\(disk.shown): the mount's max_io is too small; it needs 16384 or more")
    case ENOSPC, EINVAL:
      throw failure(
        "\(disk.shown): \(describe(number)); its blocks are 0 to \(message.header.device_blocks &- 1)"
      )
    default: throw failure("\(disk.shown): \(describe(number))")
    }
  }

  private func show(_ report: (requests: Int, mapped: Int, copied: Int), blockBytes: Int) {
    let text: String
    if json {
      text = JSONText.make([
        "operation": operation.rawValue, "lba": lba, "blocks": blocks, "block_size": blockBytes,
        "requests": report.requests, "mapped_bytes": report.mapped, "copied_bytes": report.copied,
      ])
    } else {
      text =
        "\(operation.rawValue) \(blocks) blocks of \(blockBytes) bytes in \(report.requests) requests: "
        + "\(report.mapped) bytes mapped, \(report.copied) copied\n"
    }
    // Standard output may be taken by the data.
    if operation == .read && file == nil {
      _ = StreamWriter.write(Array(text.utf8), to: STDERR_FILENO)
    } else {
      emit(text)
    }
  }
}

/// The message of one request: a header and a buffer, in one piece.
private struct PassThroughMessage {
  static let headerBytes = MemoryLayout<extractfs_passthrough_header>.size
  static let bufferBytes = Int(EXTRACTFS_PASSTHROUGH_BUFFER)

  var header = extractfs_passthrough_header()
  private var bytes = [UInt8](repeating: 0, count: headerBytes + bufferBytes)

  init() { header.version = UInt32(EXTRACTFS_PASSTHROUGH_VERSION) }

  /// A part of the buffer.
  subscript(range: Range<Int>) -> [UInt8] {
    get { Array(bytes[range.lowerBound + Self.headerBytes..<range.upperBound + Self.headerBytes]) }
    set {
      bytes.replaceSubrange(
        range.lowerBound + Self.headerBytes..<range.upperBound + Self.headerBytes, with: newValue)
    }
  }

  /// Sends the request and takes in the answer.
  /// - Returns: 0 or an errno.
  mutating func send(to descriptor: Int32) -> Int32 {
    let sent = header
    let result = unsafe bytes.withUnsafeMutableBytes { bytes in
      unsafe bytes.storeBytes(of: sent, as: extractfs_passthrough_header.self)
      var result: Int32
      repeat {
        result = unsafe extractfs_passthrough_call(descriptor, bytes.baseAddress)
      } while result < 0 && errno == EINTR
      return result < 0 ? errno : 0
    }
    if result == 0 {
      unsafe bytes.withUnsafeBytes { bytes in
        unsafe header = bytes.loadUnaligned(as: extractfs_passthrough_header.self)
      }
    }
    return result
  }
}

/// Where the data of a transfer comes from or goes to.
@safe private struct DataFile: ~Copyable {
  private let descriptor: Int32
  private let name: String

  init(path: SystemPath?, isWrite: Bool) throws {
    guard let path else {
      descriptor = isWrite ? STDOUT_FILENO : STDIN_FILENO
      name = isWrite ? "standard output" : "standard input"
      return
    }
    descriptor = path.open(isWrite ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, mode: 0o644)
    name = path.shown
    if descriptor < 0 { throw failure("\(name): \(describe(errno))") }
  }

  deinit { if descriptor > STDERR_FILENO { close(descriptor) } }

  /// Exactly so many bytes.
  func read(_ byteCount: Int) throws -> [UInt8] {
    var result = [UInt8](repeating: 0, count: byteCount)
    var done = 0
    while done < byteCount {
      let count = unsafe result.withUnsafeMutableBytes { bytes in
        let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[done...])
        return unsafe Glibc.read(descriptor, rest.baseAddress, rest.count)
      }
      if count > 0 { done += count }
      if count == 0 { throw failure("\(name): ends before all blocks are written") }
      if count < 0 && errno != EINTR { throw failure("\(name): \(describe(errno))") }
    }
    return result
  }

  func write(_ bytes: [UInt8]) throws {
    if descriptor == STDOUT_FILENO {
      Results.write(bytes)
    } else if let error = StreamWriter.write(bytes, to: descriptor) {
      throw failure("\(name): \(describe(error.rawValue))")
    }
  }
}
