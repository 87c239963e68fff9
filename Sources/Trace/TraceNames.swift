// What numbers in events are called.

import Memory

/// Names of operations, steps, kinds and modes.
public enum TraceNames {
  /// FUSE's operations by number; include/uapi/linux/fuse.h, Linux 6.18.
  private static let requests: [Int: StaticString] = [
    1: "lookup", 3: "getattr", 4: "setattr", 5: "readlink", 6: "symlink", 8: "mknod", 9: "mkdir",
    10: "unlink", 11: "rmdir", 12: "rename", 13: "link", 14: "open", 15: "read", 16: "write",
    17: "statfs", 18: "release", 20: "fsync", 21: "setxattr", 22: "getxattr", 23: "listxattr",
    24: "removexattr", 25: "flush", 26: "init", 27: "opendir", 28: "readdir", 29: "releasedir",
    30: "fsyncdir", 34: "access", 35: "create", 38: "destroy", 39: "ioctl", 40: "poll",
    42: "batch_forget", 43: "fallocate", 44: "readdirplus", 45: "rename2", 46: "lseek",
    47: "copy_file_range", 51: "tmpfile", 2: "forget", 52: "statx",
  ]

  /// Block operations by number; `enum req_op`, include/linux/blk_types.h, v6.6, and one of our own.
  private static let bios: [Int: StaticString] = [
    0: "read", 1: "write", 2: "flush", 3: "discard", 5: "secure_erase", 7: "zone_append",
    9: "write_zeroes", 34: "driver_in", 35: "driver_out", 63: "provision",
  ]

  private static let requestTable: [StaticString] = (0..<256).map { requests[$0] ?? "other" }
  private static let bioTable: [StaticString] = (0..<256).map { bios[$0] ?? "other" }
  private static let stepTable: [StaticString] = [
    "", "start", "lost", "arrive", "hold", "thaw", "park", "enter", "extract", "build", "merge",
    "split", "submit", "complete", "release", "finish", "reply", "flush", "freeze", "defect",
    "unstable",
  ]
  private static let kindTable: [StaticString] = [
    "ubuf", "iovec", "kvec", "bvec", "xarray", "pipe", "discard",
  ]

  /// Of a request.
  public static func request(_ operation: UInt8) -> StaticString { requestTable[Int(operation)] }
  /// Of a bio.
  public static func bio(_ operation: UInt8) -> StaticString { bioTable[Int(operation)] }
  /// Of a step.
  public static func step(_ step: TraceStep) -> StaticString { stepTable[Int(step.rawValue)] }
  /// Of an iterator's kind.
  public static func kind(_ kind: Int) -> StaticString {
    kindTable[min(kind, kindTable.count - 1)]
  }
  /// Of what was taken.
  public static func mode(_ mode: FollFlags) -> StaticString {
    mode.contains(.pin) ? "pin" : mode.contains(.get) ? "get" : "none"
  }

  /// Request operations that a filter may name.
  public static let filterable: [String] = requests.values.map { String(describing: $0) }.sorted()

  /// The number of a request operation, or nil.
  public static func requestNumber(_ name: String) -> UInt8? {
    requests.first { String(describing: $0.value) == name }.map { UInt8($0.key) }
  }
}

extension TraceStep {
  /// Whether the step is a bio's, so that its operation is a bio's too.
  public var isOfBio: Bool {
    switch self {
    case .extract, .build, .merge, .split, .submit, .complete, .release: true
    default: false
    }
  }

  /// Whether the step is of a request, and has its number.
  public var isOfRequest: Bool {
    switch self {
    case .start, .lost, .flush, .freeze: false
    default: true
    }
  }

  /// Whether it comes with a latency.
  public var hasLatency: Bool { self == .complete || self == .finish || self == .reply }
}
