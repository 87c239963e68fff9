// Memory that does not suit the device, found before, during and after extraction.

import DirectCall
import IOVector
import Memory

extension Lab {
  /// Where three kernels find a misaligned segment.
  static let lateMisalignment = Lab(
    name: "late-misalignment", title: "a misaligned segment, refused early, late, or not at all",
    page: """
      The incident. A program reads into two buffers, the second two bytes off what the disk's DMA can address. Until \
      6.17 the kernel looked at every segment first and refused: nothing had happened. It also refused what hardware \
      could do well, such as two segments of 100 and 412 bytes that make one block. 6.18 dropped that test and left it \
      to the block layer, which finds out when all pages are held and the bio has been sent, and does not look at \
      a bio of one segment within a page. Drivers without the block layer's test never found out. 7.3 tests each segment \
      as it is extracted: early again, but after the segments before it.

      Kernel commits: "block: simplify direct io validity check" (6.18), and "block: validate user space vectors during \
      extraction" (7.3), which mends it.

      What to look for: the same EINVAL with no page held, with all held and a bio sent, and with only the first \
      segment's page held; 512 bytes in two odd pieces, refused and then taken; a fault in the first segment, which \
      wins from 6.18 on.
      """
  ) { setup, story in
    story.say(
      "Reads from a disk with 512-byte blocks, whose DMA wants addresses that are multiples of four."
    )
    story.say("What is said: the result, pages that were held meanwhile, and bios that were sent.")
    for era in setup.eras([.v6_12, .v6_18, .v7_3]) {
      let rules = era.rules
      let rig = CallRig(era, bugs: setup.bugs)
      let isEarly = rules.contains(.testsSegmentsFirst)
      let isLate =
        rules.contains(.testsAlignmentAtSplit) && !rules.contains(.testsAlignmentAtExtraction)
      let column = era.rawValue
      story.observe(
        "a page, then one at +2", column,
        expected: isEarly
          ? "EINVAL, 0 held, 0 sent" : isLate ? "EINVAL, 3 held, 1 sent" : "EINVAL, 1 held, 0 sent",
        happened: rig.call([(0, 4096), (8194, 4096)]).labText)
      story.observe(
        "512 bytes at +2, alone", column,
        expected: isLate ? "512 bytes, 1 held, 1 sent" : "EINVAL, 0 held, 0 sent",
        happened: rig.call([(2, 512)]).labText)
      story.observe(
        "100 and 412 bytes", column,
        expected: isEarly ? "EINVAL, 0 held, 0 sent" : "512 bytes, 2 held, 1 sent",
        happened: rig.call([(0, 100), (8192, 412)]).labText)
      story.observe(
        "nothing there, then one at +2", column,
        expected: isEarly ? "EINVAL, 0 held, 0 sent" : "EFAULT, 0 held, 0 sent",
        happened: rig.call([(CallRig.missing, 4096), (8194, 4096)]).labText)
      story.observe(
        "held at the end", column, expected: "0", happened: "\(rig.memory.heldPages)")
    }
  }
}
