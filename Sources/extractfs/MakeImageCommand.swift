// `extractfs mkimage`: makes a backing image.

import ArgumentParser
import Glibc

struct MakeImageCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mkimage", abstract: "Make a backing image.",
    discussion:
      "The file is sparse: it takes room as it is written. A file that is there is left alone.")

  @Argument(help: "The file to make.", completion: .file())
  var image: SystemPath

  @Option(help: ArgumentHelp("Its size, as 512M or 1G.", valueName: "size"))
  var size: String

  @Option(help: ArgumentHelp("What is in it: raw.", valueName: "type"))
  var type = "raw"

  func run() throws {
    guard let bytes = parseSize(size), bytes > 0 else {
      throw failure("--size \(size): must be a number of bytes, as 512M or 1G", code: Exit.usage)
    }
    if type == "ext4" {
      throw failure("--type ext4: not in this version; use raw", code: Exit.usage)
    }
    if type != "raw" { throw failure("--type \(type): use raw", code: Exit.usage) }
    if bytes < 512 {
      throw failure(
        "--size \(size): an image holds at least one block of 512 bytes", code: Exit.usage)
    }
    let descriptor = image.open(O_WRONLY | O_CREAT | O_EXCL, mode: 0o644)
    if descriptor < 0 { throw failure("\(image.shown): \(describe(errno))") }
    defer { close(descriptor) }
    if ftruncate(descriptor, bytes) != 0 {
      let reason = describe(errno)
      _ = unsafe image.withCString { unsafe unlink($0) }
      throw failure("\(image.shown): \(reason)")
    }
    emit("made \(image.shown), \(bytes) bytes, raw\n")
  }
}
