// The limits of a device: of a name, of a list, or of what a file lies on, read from sysfs.

import CSystem
import DirectCall
import Glibc
import Memory

/// A device, or a file on one, as `explain` needs it.
struct ExplainedDevice {
  var target = CallTarget.device
  var limits = CallLimits()
  /// The device's number, if there is a device.
  var number: (major: Int, minor: Int)?
  /// What statx(2) says: alignment of memory and of offsets; nil if it does not.
  var direct: (memory: Int, offset: Int)?
  /// Bytes in the file or device, if there is one.
  var byteCount: Int?
  /// Where the file begins on its device is not known: sectors cannot be compared.
  var isFile: Bool { target != .device }

  /// A common NVMe disk's limits, from which lists start.
  static var common: CallLimits {
    var limits = CallLimits()
    limits.dmaAlignment = 3
    limits.maxSegments = 127
    limits.maxSegmentSize = 1 << 32
    limits.maxBytes = 512 << 10
    return limits
  }

  init() { limits = Self.common }

  /// Reads what `--device` says: `key=value,…`, or a path.
  /// - Throws: text for the user.
  init(_ text: String) throws(DeviceError) {
    limits = Self.common
    if text.contains("=") && !text.hasPrefix("/") {
      limits = try Self.list(text)
    } else {
      try read(path: text)
    }
  }

  /// What may stand in a list of limits.
  static let keys = "block, dma, segments, segment-size, request, boundary, stable"

  private static func list(_ text: String) throws(DeviceError) -> CallLimits {
    var limits = common
    for part in text.split(separator: ",") {
      let pair = part.split(separator: "=", maxSplits: 1)
      guard pair.count == 2, let value = parseSize(String(pair[1])) else {
        throw DeviceError("--device: \(part): a number is missing")
      }
      switch pair[0] {
      case "block": limits.logicalBlockSize = value
      case "dma": limits.dmaAlignment = max(value, 1) - 1
      case "segments": limits.maxSegments = value
      case "segment-size": limits.maxSegmentSize = value
      case "request": limits.maxBytes = value
      case "boundary": limits.virtBoundaryMask = max(value, 1) - 1
      case "stable": limits.stableWrites = value > 0
      default: throw DeviceError("--device: \(pair[0]) is unknown; known are \(keys)")
      }
    }
    return limits
  }

  /// A block device, or a file on one.
  private mutating func read(path: String) throws(DeviceError) {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else {
      throw DeviceError("\(path): \(describe(errno))")
    }
    let isDevice = status.st_mode & S_IFMT == S_IFBLK
    let number = isDevice ? status.st_rdev : status.st_dev
    let pair = (major: Int(number >> 8 & 0xfff), minor: Int(number & 0xff | number >> 12 & 0xfff00))
    if !isDevice {
      guard status.st_mode & S_IFMT == S_IFREG else {
        throw DeviceError("\(path): is neither a block device nor a file")
      }
      byteCount = Int(status.st_size)
      target = try Self.fileTarget(path)
    }
    direct = Self.alignment(path)
    guard let queue = Self.queue(pair) else {
      if case .file = target { throw DeviceError("\(path): its device has no queue in sysfs") }
      return
    }
    self.number = pair
    limits = queue
    if isDevice {
      let sectors = Self.read("/sys/dev/block/\(pair.major):\(pair.minor)/size") ?? 0
      byteCount = sectors << 9
      limits.byteCount = byteCount
    }
  }

  private static func fileTarget(_ path: String) throws(DeviceError) -> CallTarget {
    var answer = statfs()
    guard unsafe statfs(path, &answer) == 0 else {
      throw DeviceError("\(path): \(describe(errno))")
    }
    switch answer.f_type {
    case 0xef53: return .file(.ext4, .written)
    case 0x5846_5342: return .file(.xfs, .written)
    case 0x9123_683e: return .file(.btrfs, .written)
    case 0x6573_5546: return .server
    default: throw DeviceError("\(path): lies on a filesystem that is not modelled")
    }
  }

  /// The queue of a device, or of the whole disk of a partition.
  private static func queue(_ number: (major: Int, minor: Int)) -> CallLimits? {
    let base = "/sys/dev/block/\(number.major):\(number.minor)"
    for queue in ["\(base)/queue", "\(base)/../queue"] {
      guard let block = read("\(queue)/logical_block_size") else { continue }
      var limits = CallLimits()
      limits.logicalBlockSize = block
      limits.dmaAlignment = read("\(queue)/dma_alignment") ?? 511
      limits.maxSegments = read("\(queue)/max_segments") ?? 128
      limits.maxSegmentSize = read("\(queue)/max_segment_size") ?? 65536
      limits.maxBytes = CallLimits.requestBytes(kibibytes: read("\(queue)/max_sectors_kb") ?? 127)
      limits.virtBoundaryMask = read("\(queue)/virt_boundary_mask") ?? 0
      limits.stableWrites = read("\(queue)/stable_writes") == 1
      return limits
    }
    return nil
  }

  private static func read(_ path: String) -> Int? {
    contents(of: SystemPath(path)).flatMap { bytes in
      Int(String(decoding: bytes, as: UTF8.self).trimmingSpace)
    }
  }

  /// What O_DIRECT wants, as statx(2) tells it since Linux 6.1.
  private static func alignment(_ path: String) -> (memory: Int, offset: Int)? {
    var answer = statx()
    let asked = EXTRACTFS_STATX_DIOALIGN
    guard unsafe statx(AT_FDCWD, path, 0, asked, &answer) == 0, answer.stx_mask & asked != 0
    else { return nil }
    return unsafe withUnsafeBytes(of: &answer) {
      // `stx_dio_mem_align` and `stx_dio_offset_align`, newer than Debian 12's C library.
      unsafe (
        Int($0.load(fromByteOffset: 152, as: UInt32.self)),
        Int($0.load(fromByteOffset: 156, as: UInt32.self))
      )
    }
  }
}

/// Why a device cannot be used, for the user.
struct DeviceError: Error {
  let message: String
  init(_ message: String) { self.message = message }
}

extension String {
  /// Without white space at both ends.
  fileprivate var trimmingSpace: String {
    String(split(whereSeparator: \.isWhitespace).joined(separator: " "))
  }
}
