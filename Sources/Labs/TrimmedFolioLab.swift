// A bio that is cut back to whole blocks, and the pins of what was cut off.

import DirectCall
import IOVector
import Memory

extension Lab {
  /// One pin too few is given back.
  static let trimmedFolio = Lab(
    name: "trimmed-folio", title: "a bio cut to whole blocks keeps a pin on a large folio",
    page: """
      The incident. A program reads into a huge page, with a buffer whose next piece is not there: 4,196 bytes, then a \
      fault. From 6.18 on the bio is cut to whole blocks once, at its end: 4,096 bytes go, 100 are given back. They \
      reached into a second page of the same folio, so their segment is made shorter, but the pin of that page stays: \
      the end of the bio counts pages from the shorter length. A segment that is cut off whole gives back one pin, \
      however many pages it touches. Nobody notices until huge pages run out. Debian's 7.3 did this in 36 of 2,041 \
      recorded calls, with ordinary files as well.

      Kernel commit: "block: align the bio after building it" (6.18) moved the cut to the end of the bio.

      What to look for: with the rules right, nothing is held afterwards under any era. With trim-keeps-pin \
      (injected) one pin stays, and the ledger names the call that left it. Until 6.17 the first call is refused before it can \
      happen; there the defect shows with less than a block before a fault, all of which is cut off.
      """
  ) { setup, story in
    story.say(
      "Two reads into a huge page. The first: 4,196 bytes and then nothing mapped, in blocks of 512."
    )
    story.say("The second: 512 bytes before a page that is missing, in blocks of 4,096.")
    for era in setup.eras([.get, .merged, .v6_12, .v6_18, .v7_3]) {
      let column = era.rawValue
      let cutsEach = era.rules.contains(.trimsEachExtraction)
      let right = reads(era, setup.bugs)
      story.observe(
        "result", column, expected: cutsEach ? "EINVAL, EFAULT" : "4096 bytes, EFAULT",
        happened: right.results)
      story.observe("held afterwards", column, expected: "nothing", happened: right.ledger)
      let defect = reads(era, setup.bugs.union(.trimKeepsPin))
      story.observe(
        "with trim-keeps-pin", column,
        expected: cutsEach
          ? "second read, 4096 bytes at 4096: 1 page"
          : "first read, 4608 bytes at 0: 1 page", happened: defect.ledger)
    }
  }

  /// Makes both reads; the ledger names what each has left.
  private static func reads(_ era: Era, _ bugs: ModelBugs) -> (results: String, ledger: String) {
    var entries: [String] = []
    var first = CallRig(era, bugs: bugs, hugePage: true)
    first.limits.logicalBlockSize = 512
    let one = first.call([(0, 4196), (CallRig.missing, 412)])
    // A block device finishes through the page cache; what went direct is looked at.
    let direct = one.result > 0 ? one.result - one.copiedBytes : one.result
    if first.memory.heldPages > 0 {
      entries.append("first read, 4608 bytes at 0: \(first.memory.heldPages) page")
    }
    var second = CallRig(era, bugs: bugs, hugePage: true)
    second.limits.logicalBlockSize = 4096
    second.limits.dmaAlignment = 511
    let two = second.call(at: 4096, [(512 * 4096 - 512, 4096)])
    if second.memory.heldPages > 0 {
      entries.append("second read, 4096 bytes at 4096: \(second.memory.heldPages) page")
    }
    return (
      "\(resultText(direct)), \(resultText(two.result))",
      entries.isEmpty ? "nothing" : entries.joined(separator: "; ")
    )
  }
}
