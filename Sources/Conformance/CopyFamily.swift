// The family `copy`: bytes moved by the processor, and what the pages hold afterwards.

import IOVector
import Memory

/// Runs copies in, copies out and zeroing.
enum CopyFamily {
  /// The most bytes that one operation may move.
  private static let maxBytes = 1 << 26

  /// Runs a vector.
  static func run(_ input: JSON) throws(VectorError) -> JSON {
    let world = try World(input, hasMemory: true)
    let pages = world.map.table
    for page in 0..<pages.count {
      world.write(at: page, (0..<pageSize).map { pattern(page: page, $0) })
    }
    let before = (0..<pages.count).map { world.checksum(ofPage: $0) }
    let tables = try IterInput(try input.field("iter"))
    var machine = IterMachine(tables.iterator)
    var results: [JSON] = []
    for operation in try input.field("ops").array("ops") {
      results.append(try run(operation, &machine, world))
    }
    var changed: [String: JSON] = [:]
    for page in 0..<pages.count {
      let checksum = world.checksum(ofPage: page)
      if checksum != before[page] { changed[String(page)] = .int(checksum) }
    }
    return .object(["ops": .array(results), "pages": .object(changed)])
  }

  private static func pattern(page: Int, _ byte: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: 37 * page + 11 * byte + 5 * (byte >> 8) + 1)
  }

  private static func run(
    _ operation: JSON, _ machine: inout IterMachine, _ world: World
  ) throws(VectorError) -> JSON {
    let parts = try operation.array("op", count: 2...3)
    let name = try parts[0].string("op")
    let wanted = try parts[1].int(name)
    var fields: [String: JSON] = [:]
    // Bytes beyond the iterator's are never looked at.
    let byteCount = min(wanted, machine.iterator.count)
    if name != "revert" && name != "zero" && byteCount > maxBytes {
      throw VectorError(text: "too many bytes to copy")
    }
    switch name {
    case "copy_to":
      guard parts.count == 3 else { throw VectorError(text: "copy_to wants a seed") }
      let seed = try parts[2].int("seed")
      let source = (0..<byteCount).map { index in
        UInt8(truncatingIfNeeded: seed &+ 7 * index &+ 3 * (index >> 8))
      }
      fields["ret"] = unsafe .int(machine.iterator.copyTo(source.span.bytes, in: world.context))
    case "copy_from":
      let bytes = world.copyOut(byteCount, &machine.iterator)
      fields["ret"] = .int(bytes.count)
      fields["crc"] = .int(CRC32.of(bytes))
    case "zero": fields["ret"] = .int(machine.iterator.zero(wanted, in: world.context))
    default: _ = try machine.apply(operation)
    }
    fields["iter"] = machine.iterator.triple
    return .object(fields)
  }
}

extension World {
  /// Sets a page's bytes.
  func write(at page: Int, _ bytes: [UInt8]) {
    let memory = unsafe map.table.memory(at: Page(page), offset: 0, length: bytes.count)
    unsafe memory.copyBytes(from: bytes)
  }

  /// The bytes of some pages.
  func bytes(at page: Int, count: Int) -> [UInt8] {
    unsafe Array(map.table.memory(at: Page(page), offset: 0, length: count))
  }

  /// The CRC-32 of a page.
  func checksum(ofPage page: Int) -> Int { CRC32.of(bytes(at: page, count: pageSize)) }

  /// Copies bytes out of an iterator.
  /// - Returns: as many as could be copied.
  func copyOut(_ byteCount: Int, _ iterator: inout IOVIter) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    let copied = iterator.copyFrom(&raw, in: context)
    return Array(bytes.prefix(copied))
  }
}
