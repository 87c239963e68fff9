// What a mount is told when it is made, and why one cannot be made.

import Block
import Memory
import Volumes

/// What a mount is to be like; made from the command line.
public struct ServerConfiguration: Sendable {
  /// Where to mount, for reports: one line.
  public var mountpoint: String
  /// Where to mount, as the system has it: the bytes of an existing directory's path, without the zero at their end.
  public var mountpointBytes: [UInt8]
  /// The image's path, for reports: one line.
  public var imagePath: String
  /// Options handed through to libfuse, as `allow_other`; values as `LibfuseOption` writes them.
  public var fuseOptions: [String]
  /// Whether writes are refused.
  public var isReadOnly: Bool
  /// Threads that serve requests.
  public var workerCount: Int
  /// Requests that one worker can have at once.
  public var slotsPerWorker: Int
  /// The most requests that the kernel may send without anybody waiting for each: read-ahead, asynchronous direct I/O,
  /// and what it writes back.
  public var backgroundLimit = 64
  /// Requests of one worker beyond those, with memory only once they come.
  public var spareSlotsPerWorker = 0
  /// The largest request, bytes; a multiple of 4096.
  public var maxIOBytes: Int
  /// How long at most an idle worker looks for work before it sleeps.
  public var spinNanoseconds: Int
  /// How requests come.
  public var transport: TransportChoice
  /// CPUs that are there.
  public var processorCount: Int
  /// CPUs that the kernel counts, present or not: it has a queue for each.
  public var possibleCPUCount: Int
  /// The CPUs that the daemon may run on, by number: what its caller was given, as by `taskset`.
  public var allowedCPUs: [Int] = []
  /// Whether every request is traced to standard error by libfuse.
  public var isDebugging: Bool
  /// How users meet the control directory.
  public var control: ControlDirectory.Visibility
  /// The seed of every random choice.
  public var seed: UInt64
  /// What pass-through requests keep to, or nil for the device's own limits.
  public var passThroughLimits: QueueLimits?
  /// Whether clients' buffers are looked at again before direct writes are answered, and for how many milliseconds longer
  /// such writes are kept in flight.
  public var watchesBuffers = false
  /// See `watchesBuffers`.
  public var holdMilliseconds = 0
  /// Makes a line of an event, for who reads `trace` as it is.
  public var traceLine: @Sendable (TraceRecord, inout [UInt8]) -> Void = { _, _ in }
  /// Where a line for the record goes.
  public var log: @Sendable (String) -> Void = { _ in }
  /// Where a line for each request goes, with `isDebugging`.
  public var debugLog: @Sendable (String) -> Void = { _ in }
  /// The settings as `config` shows them: names and values.
  public var report: [(name: String, value: String)]

  /// Makes a configuration; `report` starts empty.
  public init(
    mountpoint: String, imagePath: String, fuseOptions: [String], isReadOnly: Bool,
    workerCount: Int, slotsPerWorker: Int, maxIOBytes: Int, spinNanoseconds: Int,
    transport: TransportChoice, processorCount: Int, possibleCPUCount: Int, isDebugging: Bool,
    control: ControlDirectory.Visibility, seed: UInt64
  ) {
    self.mountpoint = mountpoint
    mountpointBytes = Array(mountpoint.utf8)
    self.imagePath = imagePath
    self.fuseOptions = fuseOptions
    self.isReadOnly = isReadOnly
    self.workerCount = workerCount
    self.slotsPerWorker = slotsPerWorker
    self.maxIOBytes = maxIOBytes
    self.spinNanoseconds = spinNanoseconds
    self.transport = transport
    self.processorCount = processorCount
    self.possibleCPUCount = possibleCPUCount
    self.isDebugging = isDebugging
    self.control = control
    self.seed = seed
    report = []
  }
}

/// How requests are to come.
public enum TransportChoice: String, Sendable {
  /// By io_uring if the kernel offers it, else by /dev/fuse.
  case auto
  /// By /dev/fuse.
  case dev
  /// By io_uring, or no mount.
  case uring
}

/// Why a mount could not be made: one line for the user.
public struct MountFailure: Error {
  /// The line.
  public let message: String
}
