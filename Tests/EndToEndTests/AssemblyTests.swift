// What optimised code looks like where the series says so.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("Optimised code")
  struct AssemblyTests {
    private static let root = URL(filePath: #filePath).appending(path: "../../..").standardized

    /// The optimised executable: the one under test, or that of the release build.
    static let release: String? = {
      let built = root.appending(path: ".build-release/release/extractfs").path
      let path = ProcessInfo.processInfo.environment["EXTRACTFS"] ?? built
      let isThere = FileManager.default.isExecutableFile(atPath: path)
      return isThere && path.contains("release") ? path : nil
    }()

    private func inspect(_ executable: String) throws -> CommandResult {
      let script = Self.root.appending(path: "Tests/Assembly/bio-flagged")
      return try run([script.path, executable])
    }

    @Test(
      "asks a bio for both flags in one instruction",
      .enabled(if: release != nil, "needs a release build"), .needs(.disassembler))
    func flags() throws {
      let result = try inspect(try #require(Self.release)).checked()
      #expect(result.output.hasSuffix("one test of both flags, one branch\n"))
    }

    @Test("is told from code that is not optimised", .needs(.disassembler))
    func canary() throws {
      let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
      let plain = URL(filePath: tests).deletingLastPathComponent().appending(path: "extractfs").path
      if plain.contains("/release/") { return }
      #expect(try inspect(plain).exitCode == 1)
    }
  }
}
