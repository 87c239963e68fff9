// What becomes of offsets, lengths and addresses that do not suit the device.

import DirectIO
import IOVector
import Memory

extension Lab {
  /// A sweep as a matrix.
  static let misaligned = Lab(
    name: "misaligned", title: "offset, length and address against the device's block",
    page: """
      The incident. Direct I/O wants file offset, length and memory address to be multiples of something, and which \
      something depends on device, filesystem and kernel. Where they are not, the kernel says EINVAL; this project \
      moves whole blocks without a copy and bounces the edges, or all of it if the address does not suit.

      Kernel commits: "iomap: add support for dma aligned direct-io" and "block: relax direct io memory alignment" \
      (6.0) let the address be less aligned than the block; statx() tells what is needed since "statx: add direct \
      I/O alignment information" (6.1).

      What to look for: one letter a cell. M: mapped, no copy. S: split, whole blocks mapped and edges bounced. \
      B: all of it bounced. Small letters are what the kernel refuses with EINVAL. The data is right in every cell, \
      and nothing stays held.
      """
  ) { setup, story throws(Errno) in
    story.say("Reads and writes at a device of 512-byte blocks that wants addresses of 512.")
    story.say("M mapped, S split, B bounced; a small letter: EINVAL in the kernel.")
    for cleanup in setup.cleanups {
      var sweep = try Sweep(setup, cleanup)
      let rows = sweep.run()
      if cleanup == setup.cleanups.first {
        story.say("")
        for row in rows { story.say(row) }
      }
      let column = cleanup.rawValue
      story.observe(
        "cells as the rule says", column, expected: "\(sweep.cells)", happened: "\(sweep.asRuled)")
      story.observe(
        "cells with the right data", column, expected: "\(sweep.cells)", happened: "\(sweep.right)")
      story.observe(
        "held at the end", column, expected: "nothing",
        happened: sweep.rig.isBalanced && sweep.rig.leaks == 0 ? "nothing" : "something")
    }
  }
}

/// The sweep under one cleanup.
private struct Sweep {
  static let offsets = [0, 1, 256, 512, 4096, 4097]
  static let lengths = [1, 511, 512, 1024, 1536, 4096, 5000]
  static let addresses = [0, 1, 64, 512]

  let rig: EngineRig
  let shape: RequestShape
  var cells = 0
  var asRuled = 0
  var right = 0
  private var generator: SeededGenerator

  init(_ setup: LabSetup, _ cleanup: CleanupPolicy) throws(Errno) {
    rig = try EngineRig(setup, diskBytes: 16 << 10)
    shape = RequestShape(cleanup: cleanup, era: setup.era ?? .v8)
    generator = SeededGenerator(seed: setup.seed)
  }

  /// One line per offset and address, one letter per length.
  mutating func run() -> [String] {
    var rows = ["address  offset  lengths \(Self.lengths.map(String.init).joined(separator: " "))"]
    for address in Self.addresses {
      for offset in Self.offsets {
        let letters = Self.lengths.map { cell(offset, $0, address) }
        let name = pad("\(address)", 7) + "  " + pad("\(offset)", 6) + "  "
        rows.append(name + letters.joined(separator: " "))
      }
    }
    return rows
  }

  private func pad(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }

  /// A read and a write of the same shape; both must go the same way.
  private mutating func cell(_ offset: Int, _ length: Int, _ address: Int) -> String {
    let before = rig.bouncedBytes
    rig.fillPayload(with: 0)
    rig.run(request(false, offset, length, address))
    let expected = Array(rig.disk.bytes[offset..<offset + length])
    let readIsRight = rig.payload(offset: address, count: length) == expected
    let bounced = rig.bouncedBytes - before
    let writeIsRight = write(offset, length, address)
    cells += 1
    if readIsRight && writeIsRight { right += 1 }
    let letter = bounced == 0 ? "M" : bounced == length ? "B" : "S"
    if letter == ruled(offset, length, address) { asRuled += 1 }
    return (offset | length | address) & 511 == 0 ? letter : letter.lowercased()
  }

  /// Writes one byte value, and looks at the whole disk.
  private mutating func write(_ offset: Int, _ length: Int, _ address: Int) -> Bool {
    let value = UInt8.random(in: 1...255, using: &generator)
    var expected = rig.disk.bytes
    expected.replaceSubrange(
      offset..<offset + length, with: repeatElement(value, count: length))
    rig.fillPayload(with: value)
    rig.run(request(true, offset, length, address))
    return rig.disk.bytes == expected
  }

  /// What the page says, computed anew: whole blocks within the range, at an address that suits.
  private func ruled(_ offset: Int, _ length: Int, _ address: Int) -> String {
    let first = (offset + 511) / 512 * 512
    let last = (offset + length) / 512 * 512
    if last <= first || (address + first - offset) % 512 != 0 { return "B" }
    return last - first == length ? "M" : "S"
  }

  private func request(
    _ isWrite: Bool, _ offset: Int, _ length: Int, _ address: Int
  ) -> DirectRequest {
    DirectRequest(
      isWrite: isWrite, unique: 1, inode: 2, fileOffset: offset, deviceOffset: offset,
      length: length, dataOffset: address, shape: shape)
  }
}
