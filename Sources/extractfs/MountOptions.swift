// The mount options: read from `-o a,b=c`, checked, with defaults from the machine.

import Block
import DirectIO
import FUSEServer
import IOVector
import Logging
import Memory
import Volumes

/// Lists of options as their readers cut them.
enum OptionList {
  /// The options, without their escapes.
  ///
  /// As `process_real_option_group()`, lib/fuse_opt.c, libfuse 3.14.
  static func split(_ text: [UInt8]) -> [[UInt8]] {
    var options: [[UInt8]] = [[]]
    var rest = text[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: ",") {
        options.append([])
      } else if byte == UInt8(ascii: "\\"), let next = rest.first {
        let digits = rest.prefix(3)
        if digits.count == 3, digits.allSatisfy({ (48...55).contains($0) }), next <= 51,
          let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
        {
          options[options.count - 1].append(value)
          rest = rest.dropFirst(3)
        } else {
          options[options.count - 1].append(next)
          rest = rest.dropFirst()
        }
      } else {
        options[options.count - 1].append(byte)
      }
    }
    return options
  }
}

/// A wrong option: one line that says which and what would do.
struct OptionError: Error {
  let message: String
}

/// Everything that `-o` can say.
struct MountOptions {
  enum VolumeKind: String, CaseIterable { case auto, raw, scatter }
  enum Backend: String, CaseIterable { case uring, sync, memory, null }

  var shape = RequestShape()
  var volume = VolumeKind.auto
  var backend = Backend.uring
  var direct = true
  var transport = TransportChoice.auto
  var workers: Int?
  var queueDepth: Int?
  var maxIO: Int?
  var spinMicroseconds: Int?
  var blockSize: Int?
  var zeroing = true
  /// What pass-through keeps to; nil for the usual limits.
  var maxSegments: Int?
  var maxSegmentBytes: Int?
  var virtBoundaryBytes = 0
  var seed: UInt64 = 1
  var isReadOnly = false
  /// Whether clients' buffers are looked at again before direct writes are answered, and for how many milliseconds longer
  /// these are kept in flight.
  var watchesBuffers = false
  var holdMilliseconds = 0
  var control = ControlDirectory.Visibility.hidden
  var log = LogOptions()
  /// Options for libfuse, as it reads them.
  var fuse: [String] = []
  /// What the mount is to be called in the kernel's table, if not by the image's path.
  var fileSystemName: [UInt8]?

  /// FUSE's own options without a value.
  private static let fuseFlags: Set<String> = [
    "allow_other", "allow_root", "default_permissions", "auto_unmount", "nosuid", "suid", "nodev",
    "dev", "noexec", "exec", "noatime", "atime", "sync", "async", "dirsync",
  ]
  /// Names in PRODUCT's contract that this version does not have yet.
  private static let later = ["faults"]

  /// Reads comma-separated options; a later one wins.
  ///
  /// A backslash takes away what the character behind it means, or stands before three octal digits, as libfuse has it.
  mutating func apply(_ text: String) throws(OptionError) {
    for bytes in OptionList.split(ArgumentText.bytes(text)) where !bytes.isEmpty {
      let option = ArgumentText.text(bytes)
      // For other readers of the option list, as mount(8) says: `x-systemd.automount` and the like.
      if option.lowercased().hasPrefix("x-") { continue }
      let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      try apply(name: String(parts[0]), value: parts.count > 1 ? String(parts[1]) : nil, option)
    }
  }

  private mutating func apply(
    name: String, value: String?, _ option: String
  ) throws(OptionError) {
    if Self.fuseFlags.contains(name) {
      if value != nil { throw OptionError(message: "option \(name) takes no value") }
      fuse.append(name)
      return
    }
    switch name {
    case "ro", "rw":
      if value != nil { throw OptionError(message: "option \(name) takes no value") }
      isReadOnly = name == "ro"
    case "fsname": fileSystemName = ArgumentText.bytes(value ?? "")
    case "subtype", "max_read":
      fuse.append("\(name)=" + LibfuseOption.escaped(ArgumentText.bytes(value ?? "")))
    default:
      if Self.later.contains(name) {
        throw OptionError(message: "option \(name): not in this version")
      }
      guard Self.known.contains(name) else {
        throw OptionError(
          message: "unknown option \(name); `extractfs mount --help` lists the options")
      }
      guard let value, !value.isEmpty else {
        throw OptionError(message: "option \(name) needs a value, as \(name)=…")
      }
      try apply(name: name, value: value)
    }
  }

  private static let known: Set<String> = [
    "iter", "cleanup", "era", "segs", "misalign", "volume", "backend", "direct", "transport",
    "workers", "queue_depth", "max_io", "spin", "block_size", "zeroing", "seed", "control",
    "max_segments", "max_segment_size", "virt_boundary", "alignment", "stable", "watch", "hold",
    "log", "log_level", "log_format",
  ]

  private mutating func apply(name: String, value: String) throws(OptionError) {
    switch name {
    case "iter", "cleanup", "era", "segs", "misalign", "alignment", "stable", "watch", "hold":
      try applyShape(name, value)
    case "volume":
      let all = VolumeKind.allCases.map(\.rawValue)
      volume = VolumeKind(rawValue: try choice(name, value, all, later: ["ext4"])) ?? .auto
    case "backend":
      let all = Backend.allCases.map(\.rawValue)
      backend = Backend(rawValue: try choice(name, value, all, later: ["nbd"])) ?? .uring
    case "direct": direct = try choice(name, value, ["on", "off"]) == "on"
    case "transport":
      transport =
        TransportChoice(rawValue: try choice(name, value, ["auto", "dev", "uring"])) ?? .auto
    case "workers": workers = try number(name, value, 1...64)
    case "queue_depth": queueDepth = try number(name, value, 2...1024)
    case "max_io":
      let bytes = try number(name, value, 4096...(1 << 28))
      if bytes > Machine.maxFuseRequestBytes {
        throw OptionError(
          message:
            "max_io=\(value): the kernel takes at most \(Machine.maxFuseRequestBytes) bytes a request; "
            + "as root, raise /proc/sys/fs/fuse/max_pages_limit (Linux 6.13)")
      }
      if bytes % 4096 != 0 {
        throw OptionError(message: "max_io=\(value): must be a multiple of 4096")
      }
      maxIO = bytes
    case "spin": spinMicroseconds = try number(name, value, 0...10_000)
    case "block_size":
      blockSize = Int(try choice(name, value, ["512", "4096"]))
    case "max_segments": maxSegments = try number(name, value, 1...256)
    case "max_segment_size": maxSegmentBytes = try number(name, value, 4096...(1 << 20))
    case "virt_boundary":
      virtBoundaryBytes = Int(try choice(name, value, ["0", "512", "4096"])) ?? 0
    case "zeroing": zeroing = try choice(name, value, ["on", "off"]) == "on"
    case "seed":
      guard let seed = UInt64(value) else {
        throw OptionError(message: "seed=\(value): must be a number from 0 to \(UInt64.max)")
      }
      self.seed = seed
    case "control":
      control =
        ControlDirectory.Visibility(
          rawValue: try choice(name, value, ["hidden", "visible", "off"])) ?? .hidden
    case "log": log.target = try LogOptions.target(value)
    case "log_level":
      let names = LogOptions.levels.map(\.rawValue)
      log.level = Logger.Level(rawValue: try choice(name, value, names)) ?? .info
    case "log_format":
      let names = LogOptions.Format.allCases.map(\.rawValue)
      log.format = LogOptions.Format(rawValue: try choice(name, value, names)) ?? .text
    default: preconditionFailure("option \(name) is known but not applied")
    }
  }

  private mutating func applyShape(_ name: String, _ value: String) throws(OptionError) {
    do throws(ShapeOptionError) {
      switch name {
      case "iter": shape.kind = try ShapeOption.kind(value)
      case "cleanup": shape.cleanup = try ShapeOption.cleanup(value)
      case "era": shape.era = try ShapeOption.era(value)
      case "alignment": shape.alignment = try ShapeOption.alignment(value)
      case "stable": shape.needsStablePages = try ShapeOption.stable(value)
      case "watch": watchesBuffers = try ShapeOption.watch(value)
      case "hold": holdMilliseconds = try ShapeOption.hold(value)
      default: break
      }
    } catch {
      throw OptionError(message: error.message)
    }
    if name == "segs" { shape.segments = try number(name, value, 1...RequestShape.maxSegments) }
    if name == "misalign" { shape.misalignment = try number(name, value, 0...4095) }
  }

  private func number(
    _ name: String, _ value: String, _ range: ClosedRange<Int>
  ) throws(OptionError) -> Int {
    guard let number = parseSize(value), range.contains(number) else {
      throw OptionError(
        message:
          "\(name)=\(value): must be a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  private func choice(
    _ name: String, _ value: String, _ choices: [String], later: [String] = []
  ) throws(OptionError) -> String {
    if choices.contains(value) { return value }
    let list = choices.joined(separator: ", ")
    if later.contains(value) {
      throw OptionError(message: "\(name)=\(value): not in this version; use \(list)")
    }
    throw OptionError(message: "\(name)=\(value): use \(list)")
  }

  static let help = """
    Mount options (-o name=value,…; defaults first):

      iter=ubuf|iovec|kvec|bvec|xarray|pipe|folioq   iterator made of each
                             request (pipe: reads only; folioq: era=6.12 on)
      cleanup=auto|pin|get|none   how pages are held; auto asks the iterator
      era=v8|get|merged|6.12|6.18|7.3|auto   whose rules: the series, before
                             it, Linux 6.5, later kernels, the running one
      alignment=accept|kernel   kernel: EINVAL where the era's kernel refuses
      stable=off|on          pages must not change in flight: 7.3 then copies
      segs=N misalign=BYTES  cut each buffer, shift it (1, 0)
      watch=off|buffers hold=MS   look whether a program changes its buffer
                             while a direct write from it is under way; keep
                             such writes in flight so much longer (0)
      volume=auto|raw|scatter   raw: the image is one file, DIR/disk
                             scatter: a tree with names in memory and data in
                             scattered extents of a new image; gone at unmount
      backend=uring|sync|memory|null   how bios reach the image
      direct=on|off          O_DIRECT on the image
      block_size=512|4096    logical block size (from the image)
      zeroing=on|off         small writes into holes pad with the zero page
      max_segments=N max_segment_size=BYTES virt_boundary=0|512|4096
                             limits of pass-through (128, 65536, 0)
      transport=auto|dev|uring   /dev/fuse, or FUSE over io_uring
      workers=N queue_depth=N max_io=BYTES spin=MICROSECONDS
                             sized from the machine
      control=hidden|visible|off   how DIR/.extractfs is met
      log=auto|stderr|journal|syslog|PATH   where the daemon's lines go; auto:
                             stderr with -f, else the journal or syslog
      log_level=info|debug|notice|warning|error   log_format=text|json
      seed=N                 seed of every random choice (1)
      ro, allow_other, allow_root, default_permissions, nosuid, nodev,
      auto_unmount, fsname=…, subtype=…   as in every FUSE filesystem
    """
}

extension MountOptions {
  /// A device's limits as pass-through requests are to see them.
  func passThroughLimits(of device: QueueLimits) -> QueueLimits {
    var limits = device
    if let maxSegments { limits.maxSegments = maxSegments }
    if let maxSegmentBytes { limits.maxSegmentSize = UInt32(maxSegmentBytes) }
    limits.virtBoundaryMask = virtBoundaryBytes == 0 ? 0 : UInt64(virtBoundaryBytes - 1)
    return limits
  }
}
