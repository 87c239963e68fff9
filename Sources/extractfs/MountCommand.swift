// `extractfs mount`: checks everything that can be checked, then mounts in the background or in front.

import ArgumentParser
import Foundation
import Glibc

struct MountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mount", abstract: "Mount a backing image.",
    discussion: MountOptions.help)

  @Argument(help: "The backing image: a file or a block device.", completion: .file())
  var image: String

  @Argument(help: "The directory to mount on.", completion: .directory)
  var mountpoint: String

  @Option(
    name: .customShort("o", allowingJoined: true),
    help: ArgumentHelp("Mount options, comma-separated; may be repeated.", valueName: "options"))
  var options: [String] = []

  @Flag(name: .customShort("f"), help: "Stay in the foreground.")
  var foreground = false

  @Flag(name: .customShort("d"), help: "Stay in the foreground and trace every request.")
  var debug = false

  @Option(name: .customLong("ready-fd"), help: .private)
  var readyDescriptor: Int32?

  func run() throws {
    var parsed = MountOptions()
    do throws(OptionError) {
      for text in options { try parsed.apply(text) }
    } catch {
      throw failure(error.message, code: Exit.usage)
    }
    let plan = MountPlan(
      image: try resolvedImage(), mountpoint: try resolvedMountpoint(), options: parsed,
      isDebugging: debug)
    if foreground || debug {
      try Daemon(plan: plan, readyDescriptor: nil).run()
    } else if let readyDescriptor {
      try Daemon(plan: plan, readyDescriptor: readyDescriptor).run()
    } else {
      try BackgroundStart(plan: plan, options: options).run()
    }
  }

  private func resolvedImage() throws -> String {
    guard let path = absolutePath(image) else {
      throw failure("\(image): does not exist; `extractfs mkimage` makes one")
    }
    return path
  }

  private func resolvedMountpoint() throws -> String {
    guard let path = absolutePath(mountpoint) else {
      if errno == ENOTCONN {
        throw failure("\(mountpoint): a dead mount is there; `extractfs umount` removes it")
      }
      throw failure(unsafe "\(mountpoint): \(String(cString: strerror(errno)))")
    }
    var status = stat()
    guard unsafe stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
      throw failure("\(mountpoint): is not a directory")
    }
    if MountTable.entry(at: path)?.type == MountTable.fileSystemType {
      throw failure("\(mountpoint): an extractfs is mounted there already")
    }
    return path
  }
}

/// What is to be mounted where; paths are absolute.
struct MountPlan {
  let image: String
  let mountpoint: String
  let options: MountOptions
  let isDebugging: Bool
}

/// An absolute path without links, or nil with errno set.
func absolutePath(_ path: String) -> String? {
  guard let resolved = unsafe realpath(path, nil) else { return nil }
  defer { unsafe free(resolved) }
  return unsafe String(cString: resolved)
}
