// `extractfs mount`: checks everything that can be checked, then mounts in the background or in front.

import ArgumentParser
import Glibc

struct MountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mount", abstract: "Mount a backing image.",
    discussion: MountOptions.help)

  @Argument(help: "The backing image: a file or a block device.", completion: .file())
  var image: SystemPath

  @Argument(help: "The directory to mount on.", completion: .directory)
  var mountpoint: SystemPath

  @Option(
    name: .customShort("o", allowingJoined: true),
    help: ArgumentHelp("Mount options, comma-separated; may be repeated.", valueName: "options"))
  var options: [String] = []

  @Flag(name: .customShort("f"), help: "Stay in the foreground.")
  var foreground = false

  @Flag(name: .customShort("d"), help: "Stay in the foreground and log every request.")
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

  /// The image's path, made absolute before anybody leaves the directory. What would wait when opened is refused.
  private func resolvedImage() throws -> SystemPath {
    let image = image
    let found = attempt(until: Deadline(seconds: Patience.path)) { output in
      guard let path = image.resolved else { return errno }
      var status = stat()
      guard unsafe path.withCString({ unsafe stat($0, &status) }) == 0 else { return errno }
      let type = status.st_mode & S_IFMT
      if type == S_IFDIR { return EISDIR }
      if type != S_IFREG && type != S_IFBLK { return EINVAL }
      return unsafe path.bytes.withUnsafeBytes { unsafe write(output, $0.baseAddress, $0.count) }
        == path.bytes.count ? 0 : EIO
    }
    switch found?.error {
    case 0: return SystemPath(found?.output ?? [])
    case nil:
      throw failure("\(image.shown): does not answer; the filesystem where it lies hangs")
    case ENOENT: throw failure("\(image.shown): does not exist; `extractfs mkimage` makes one")
    case EISDIR: throw failure("\(image.shown): is a directory, not an image")
    case EINVAL: throw failure("\(image.shown): is neither a file nor a block device")
    case let error?: throw failure("\(image.shown): \(describe(error))")
    }
  }

  private func resolvedMountpoint() throws -> SystemPath {
    switch MountTable.place(of: mountpoint) {
    case .silent:
      throw failure("\(mountpoint.shown): does not answer; what is mounted there hangs")
    case .error(ENOTCONN):
      throw failure(
        "\(mountpoint.shown): a dead mount is there; `extractfs umount \(mountpoint.quoted)` removes it"
      )
    case .error(let error): throw failure("\(mountpoint.shown): \(describe(error))")
    case .path(let path, let entry):
      if let entry, entry.isExtractFS {
        throw failure("\(mountpoint.shown): \(try trouble(with: path))")
      }
      switch attempt(until: Deadline(seconds: Patience.path), { _ in Self.directoryError(path) })?
        .error
      {
      case 0: return path
      case nil: throw failure("\(mountpoint.shown): does not answer; what is mounted there hangs")
      case ENOTCONN: throw failure("\(mountpoint.shown): a dead mount is there; umount it first")
      case ENOTDIR: throw failure("\(mountpoint.shown): is not a directory")
      case let error?: throw failure("\(mountpoint.shown): \(describe(error))")
      }
    }
  }

  /// What is to be said of a mount of ours that is there already. It is not asked for longer than a moment.
  private func trouble(with path: SystemPath) throws -> String {
    let answer = attempt(until: Deadline(seconds: 2)) { _ in Self.directoryError(path) }
    switch answer?.error {
    case nil:
      return "an extractfs is mounted there already, and does not answer"
    case ENOTCONN:
      return "a dead mount is there; `extractfs umount \(mountpoint.quoted)` removes it"
    default: return "an extractfs is mounted there already"
    }
  }

  private static func directoryError(_ path: SystemPath) -> Int32 {
    var status = stat()
    guard unsafe path.withCString({ unsafe stat($0, &status) }) == 0 else { return errno }
    return status.st_mode & S_IFMT == S_IFDIR ? 0 : ENOTDIR
  }
}

/// What is to be mounted where; paths are absolute.
struct MountPlan {
  let image: SystemPath
  let mountpoint: SystemPath
  let options: MountOptions
  let isDebugging: Bool

  /// With `-d` every request is logged, whatever the options say of levels.
  var logOptions: LogOptions {
    var log = options.log
    if isDebugging { log.level = .debug }
    return log
  }
}
