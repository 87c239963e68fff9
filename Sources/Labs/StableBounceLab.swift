// A page that changes while it is written, with and without a copy of it.

import DirectCall
import IOVector
import Memory

extension Lab {
  /// Whether the device sees the change.
  static let stableBounce = Lab(
    name: "stable-bounce", title: "a page changed in flight, and what a copy costs",
    page: """
      The incident. A program writes with O_DIRECT and changes the buffer before the write is through. A disk that keeps \
      a checksum with each block, or a RAID that computes parity, reads the page twice: the two do not fit, and the block \
      cannot be read again. Pages of the page cache are kept stable for such devices; a direct write's were not, since \
      they are the program's. From 7.0 on XFS copies them: a write into kernel folios, with no page held at all; a \
      read into one folio, from which the data is copied at its end into pages that are held beside it.

      Kernel commit: "iomap: add a flag to bounce buffer direct I/O" (7.0).

      What to look for: whose page the device reads, and so whether it sees the change; pages held, bytes copied. ext4 and \
      block devices do not bounce in any era. What the copy costs: here 4 KiB take about 0.4 and 64 KiB about 5 microseconds \
      of the processor when neither end is in its cache. With the kernel's series these latencies were published, one call \
      at a time on an Optane disk: writes 8.91 and 9.09 microseconds for 4 KiB without and with bounce, 35.98 and 39.9 for \
      64 KiB; reads 7.18 and 14.28, 36.4 and 95.61.
      """
  ) { setup, story in
    story.say(
      "Writes and reads of 4 KiB and 64 KiB on a file of XFS, on a disk that wants stable pages.")
    story.say("Injected: the program changes the first page once the bio has been sent.")
    for era in setup.eras([.v6_12, .v6_18, .v7_3]) {
      let bounces = era.rules.contains(.bouncesStablePages)
      for kibibytes in [4, 64] {
        let size = kibibytes << 10
        let pages = kibibytes / 4
        let column = era.rawValue
        let write = transfer(era, setup, .file(.xfs, .written), size, isWrite: true)
        story.observe(
          "write of \(kibibytes) KiB", column,
          expected: bounces
            ? "does not see it, 0 held, \(size) copied"
            : "sees the change, \(pages) held, 0 copied",
          happened: write)
        let read = transfer(era, setup, .file(.xfs, .written), size, isWrite: false)
        story.observe(
          "read of \(kibibytes) KiB", column,
          expected: bounces
            ? "does not see it, \(pages) held, \(size) copied"
            : "sees the change, \(pages) held, 0 copied", happened: read)
      }
      story.observe(
        "write of 4 KiB, on ext4", era.rawValue, expected: "sees the change, 1 held, 0 copied",
        happened: transfer(era, setup, .file(.ext4, .written), 4096, isWrite: true))
    }
  }

  /// Whether the device's table names the page that the program changes.
  private static func transfer(
    _ era: Era, _ setup: LabSetup, _ target: CallTarget, _ size: Int, isWrite: Bool
  ) -> String {
    var rig = CallRig(era, bugs: setup.bugs)
    rig.limits.stableWrites = true
    let record = rig.call(isWrite: isWrite, on: target, [(0, size)])
    let changed = Page(0)
    let sees = record.bios.contains { $0.vectors.contains { $0.page == changed } }
    let held = (record.fills.flatMap(\.lookups) + record.lookups).reduce(0) {
      $0 + max($1.result, 0)
    }
    return
      "\(sees ? "sees the change" : "does not see it"), \(held) held, \(record.copiedBytes) copied"
  }
}
