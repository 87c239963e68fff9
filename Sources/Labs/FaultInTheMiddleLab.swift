// A buffer with a hole in it.

import Block
import IOVector
import Memory

extension Lab {
  /// Extraction stops at a page that cannot be had, and gives back what it cannot use.
  static let faultInTheMiddle = Lab(
    name: "fault-in-the-middle", title: "an unmapped or read-only page within the buffer",
    page: """
      The incident. The third page of a buffer is not mapped, or a read is to fill a page that may not be written. \
      Extraction finds the first two, and must say how far it came; the bio is cut to whole blocks, what is beyond \
      the cut goes back to the iterator, and pages that are then not needed are released at once. The short transfer \
      is a success; the error comes with the next call, which finds nothing. A bug here shows as a page that stays \
      pinned for good, on a path that no ordinary test takes.

      Kernel commits: "block: fix leaking page ref on truncated direct io" and "block: ensure iov_iter advances for \
      added pages" (6.0), both in __bio_iov_iter_get_pages().

      What to look for: with blocks of 4,096 and a buffer that starts 512 bytes into its page, 7,680 bytes are found \
      in two pages and 4,096 are used, which touch both pages, so both stay held. A buffer of 4,196 bytes takes two \
      pages, and the second goes back at once; the 100 bytes left are tried once more, in vain. The counts are exact in all columns, and 0 at the end. \
      The fault is injected by unmapping the page, or by mapping it read-only.
      """
  ) { setup, story throws(Errno) in
    story.say(
      "A direct read of 16 KiB in blocks of 4,096 bytes; the third page of the buffer is bad.")
    story.say(
      "Injected: the page is unmapped, or read-only. The buffer starts 512 bytes after a page")
    story.say("boundary (two pages, 7,680 bytes, cut to one block), or on one (two blocks).")
    for cleanup in setup.cleanups {
      for (offset, used) in [(512, 4096), (0, 8192)] {
        for isReadOnly in [false, true] {
          try breakBuffer(setup, cleanup, offset: offset, used: used, isReadOnly, &story)
        }
      }
      try cutBuffer(setup, cleanup, &story)
    }
  }

  /// A buffer that ends in the middle of a block: the page that only the rest needs is given back.
  private static func cutBuffer(
    _ setup: LabSetup, _ cleanup: CleanupPolicy, _ story: inout LabStory
  ) throws(Errno) {
    let rig = LabRig(setup, blockSize: 4096)
    let process = try rig.memory.spawn()
    rig.memory.mapAnonymous(process, pages: 0..<2)
    let read = try rig.start(.read, process, at: rig.memory.base, count: 4196, cleanup)
    let taken =
      rig.counters.value(of: .simPinAcquired) + rig.counters.value(of: .simGetAcquired)
    let held = rig.countsOnPages
    rig.finish(read)
    let holds = cleanup == .none ? 0 : 1
    story.observe(
      "4,196 bytes", cleanup.rawValue,
      expected: "4096 bytes, \(3 * holds) taken, \(holds) held, 0 at the end",
      happened: "\(read.byteCount) bytes, \(taken) taken, \(held) held, "
        + "\(rig.countsOnPages) at the end")
  }

  private static func breakBuffer(
    _ setup: LabSetup, _ cleanup: CleanupPolicy, offset: Int, used: Int, _ isReadOnly: Bool,
    _ story: inout LabStory
  ) throws(Errno) {
    let subject = "\(isReadOnly ? "read-only" : "unmapped"), offset \(offset)"
    let rig = LabRig(setup, blockSize: 4096)
    let memory = rig.memory
    let process = try memory.spawn()
    memory.mapAnonymous(process, pages: 0..<8)
    if isReadOnly {
      memory.mapAnonymous(process, pages: 2..<3, isReadOnly: true)
    } else {
      memory.unmap(process, pages: 2..<3)
    }
    var iterator = IOVIter(
      userBuffer: memory.base + UInt64(offset), count: 16384, direction: .destination)
    let transfer = try rig.start(.read, process, &iterator, cleanup)
    let held = rig.countsOnPages
    let left = iterator.count
    var next = "0"
    do throws(Errno) {
      // The rest of the block before the hole, if any, is less than a block: nothing can be had.
      rig.finish(try rig.start(.read, process, &iterator, cleanup))
    } catch {
      next = error == .badAddress ? "EFAULT" : "\(error.rawValue)"
    }
    let stillHeld = rig.countsOnPages
    rig.finish(transfer)
    let wrong = try rig.wrongBytes(
      process, at: memory.base + UInt64(offset), count: transfer.byteCount)
    let holds = cleanup == .none ? 0 : 2
    story.observe(
      subject, cleanup.rawValue,
      expected: "\(used) bytes, \(holds) held, then EFAULT, \(holds) held, right, 0 at the end",
      happened: "\(transfer.byteCount) bytes, \(held) held, then \(next), \(stillHeld) held, "
        + "\(rightOrWrong(wrong)), \(rig.countsOnPages) at the end")
    story.observe(
      "left in the iterator, offset \(offset)", cleanup.rawValue, expected: "\(16384 - used)",
      happened: "\(left)")
  }
}
