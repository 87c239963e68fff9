// The table in README.md is what `extractfs explain table` prints.

import DirectCall
import Foundation
import Testing

@Suite("The table of common direct I/Os")
struct CallTableTests {
  @Test("stands in README.md as the command prints it")
  func readme() throws {
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("README.md")
    let text = try String(contentsOf: path, encoding: .utf8)
    #expect(CallTable.rows.count == 10 && CallTable.kernels.count == 5)
    #expect(text.contains(CallTable.markdown), "copy what `extractfs explain table` prints")
  }

  @Test("says of each kernel what is known of it")
  func facts() {
    let cells = CallTable.markdown.split(separator: "\n").map {
      $0.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
    }
    let row = { (title: String) in cells.first { $0[0] == title } ?? [] }
    #expect(row("readv of 100 and 412 bytes")[1..<4].allSatisfy { $0 == "EINVAL" })
    #expect(row("write 512 bytes, blocks of 4 KiB").dropFirst().allSatisfy { $0 == "EINVAL" })
    #expect(row("write 64 KiB, btrfs")[3] == "page cache")
    #expect(row("write 64 KiB, XFS on a disk with checksums")[5] == "1 bio, 1 seg, copied")
  }
}
