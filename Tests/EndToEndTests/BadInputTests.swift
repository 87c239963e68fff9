// What is refused, and that a refusal changes nothing.

import Foundation
import Memory
import TestSupport
import Testing

/// One way to ask for a mount that cannot be.
struct BadInput: Sendable, CustomTestStringConvertible {
  var testDescription: String

  /// What the one line on stderr must mention.
  var mentions: String
  var options = ""
  var imageSizeBytes = 1 << 20

  /// Paths of image and mountpoint, relative to the test's directory.
  var image = "image"
  var directory = "mnt"

  static let all =
    [
      ("an unknown option", "nonsense=1", "nonsense"),
      ("an unknown flag", "nonsense", "nonsense"),
      ("an unknown iterator kind", "iter=banana", "iter"),
      ("an empty value", "cleanup=", "cleanup"),
      ("an unknown backend", "backend=tape", "backend"),
      ("an era that does not exist", "era=v0", "era"),
      ("a block size that is no power of two", "block_size=1000", "block_size"),
      ("a count that is no number", "workers=many", "workers"),
      ("a count of none", "segs=0", "segs"),
      ("a negative shift", "misalign=-1", "misalign"),
      ("a number too large for any machine", "queue_depth=99999999999999999999", "queue_depth"),
    ].map { BadInput(testDescription: $0, mentions: $2, options: $1) } + [
      BadInput(testDescription: "a missing image", mentions: "absent", image: "absent"),
      BadInput(
        testDescription: "an image smaller than a block", mentions: "image", imageSizeBytes: 100),
      BadInput(testDescription: "an empty image", mentions: "image", imageSizeBytes: 0),
      BadInput(testDescription: "a directory as image", mentions: "folder", image: "folder"),
      BadInput(
        testDescription: "a file as mountpoint", mentions: "plain", directory: "plain"),
      BadInput(testDescription: "a missing mountpoint", mentions: "absent", directory: "absent"),
    ]
}

extension EndToEnd {
  @Suite("A mount that cannot be")
  struct BadInputTests {
    /// Runs `mount` and expects what every refusal owes: one line, the right exit code, no mount.
    private func expectRefusal(
      image: URL, directory: URL, options: String = "", mentions: String
    ) throws {
      let before = try mounts(on: directory)
      let arguments = options.isEmpty ? [] : ["-o", options]
      let result = try run([try extractfs(), "mount", image.path, directory.path] + arguments)
      #expect([1, 64].contains(result.exitCode), "\(result)")
      #expect(result.errors.split(separator: "\n").count == 1, "\(result)")
      #expect(result.errors.contains(mentions), "\(result)")
      #expect(try mounts(on: directory) == before)
    }

    /// The kernel's lines about mounts on a directory.
    private func mounts(on directory: URL) throws -> [Substring] {
      let table = try String(contentsOf: URL(filePath: "/proc/self/mountinfo"), encoding: .utf8)
      let path = directory.path
      return table.split(separator: "\n").filter { $0.contains(" \(path) ") }
    }

    /// A directory with an image of random bytes, a mountpoint, a folder and a plain file.
    private func withFiles(imageSizeBytes: Int = 1 << 20, _ body: (URL) throws -> Void) throws {
      try withTemporaryDirectory { scratch in
        for name in ["mnt", "folder"] {
          try FileManager.default.createDirectory(
            at: scratch.appending(path: name), withIntermediateDirectories: false)
        }
        try Data("text".utf8).write(to: scratch.appending(path: "plain"))
        let bytes = AlignedBuffer(count: imageSizeBytes)
        var generator = SeededGenerator(seed: 1)
        bytes.fill(count: imageSizeBytes, using: &generator)
        for name in ["image", "copy"] {
          try OpenFile(scratch.appending(path: name).path, [.write, .create])
            .write(from: bytes, count: imageSizeBytes, at: 0)
        }
        defer { forceUnmount(scratch.appending(path: "mnt")) }
        try body(scratch)
        let (image, copy) = (scratch.appending(path: "image"), scratch.appending(path: "copy"))
        #expect(try firstDifference(between: image.path, and: copy.path) == nil)
      }
    }

    @Test("is refused in one line and changes nothing", .needs(.fuse), arguments: BadInput.all)
    func isRefused(input: BadInput) throws {
      try withFiles(imageSizeBytes: input.imageSizeBytes) { files in
        try expectRefusal(
          image: files.appending(path: input.image),
          directory: files.appending(path: input.directory), options: input.options,
          mentions: input.mentions)
      }
    }

    @Test("is refused for an image that cannot be written, without ro", .needs(.fuse))
    func unwritable() throws {
      try withFiles { files in
        let image = files.appending(path: "image")
        try run(["chmod", "0444", image.path]).checked()
        // Root may write to anything but this.
        if geteuid() == 0 { try run(["chattr", "+i", image.path]).checked() }
        defer { if geteuid() == 0 { _ = try? run(["chattr", "-i", image.path]) } }
        try expectRefusal(
          image: image, directory: files.appending(path: "mnt"), mentions: "image")
        try withMount(options: "ro", image: image) { mount throws in
          #expect(try firstDifference(between: mount.disk, and: image.path) == nil)
        }
      }
    }

    @Test("is refused for an image that is mounted already", .needs(.fuse))
    func mountedTwice() throws {
      try withFiles { files in
        let image = files.appending(path: "image")
        try withMount(image: image) { mount in
          try expectRefusal(
            image: image, directory: files.appending(path: "mnt"), mentions: "image")
          #expect(try firstDifference(between: mount.disk, and: image.path) == nil)
        }
        // A mount that has gone leaves no lock behind.
        try withMount(image: image) { _ in }
      }
    }

    @Test("is refused on a directory where extractfs is mounted already", .needs(.fuse))
    func busyMountpoint() throws {
      try withFiles { files in
        try withMount(imageSizeBytes: 1 << 20) { mount in
          try expectRefusal(
            image: files.appending(path: "image"), directory: mount.directory,
            mentions: mount.directory.lastPathComponent)
        }
      }
    }

    @Test("is refused without its arguments, with the exit code of usage errors")
    func noArguments() throws {
      #expect(try run([try extractfs(), "mount"]).exitCode == 64)
      #expect(try run([try extractfs(), "nonsense"]).exitCode == 64)
    }
  }
}
