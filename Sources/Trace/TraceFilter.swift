// Which requests a trace is to show.

import Memory

/// Conditions that a request has to meet; nil and empty ones it meets always.
public struct TraceFilter: Sendable {
  /// Threads or processes that asked; whether a thread belongs to a process is for `belongs` to say.
  public var processes: Set<Int32> = []
  /// Inodes.
  public var inodes: Set<UInt64> = []
  /// FUSE's numbers of operations.
  public var operations: Set<UInt8> = []
  /// Iterator kinds.
  public var kinds: Set<Int> = []
  /// The least latency.
  public var leastLatencyNanoseconds = 0
  /// Whether a thread is one of a process.
  public var belongs: @Sendable (_ thread: Int32, _ process: Int32) -> Bool = { $0 == $1 }

  /// A filter that lets everything through.
  public init() {}

  /// Whether everything passes.
  public var passesAll: Bool {
    processes.isEmpty && inodes.isEmpty && operations.isEmpty && needsEnd == false
  }

  /// Whether only the answer can tell, so that a request's events must be kept until then.
  public var needsEnd: Bool { !kinds.isEmpty || leastLatencyNanoseconds > 0 }

  /// Whether a request may pass, by what its arrival tells.
  public func passesArrival(_ request: TracedRequest) -> Bool {
    if !inodes.isEmpty && !inodes.contains(request.inode) { return false }
    if !operations.isEmpty && !operations.contains(request.operation) { return false }
    if processes.isEmpty || processes.contains(request.thread) { return true }
    return processes.contains { belongs(request.thread, $0) }
  }

  /// Whether a request that has been answered passes.
  public func passes(_ request: TracedRequest) -> Bool {
    if request.latencyNanoseconds < leastLatencyNanoseconds { return false }
    if !kinds.isEmpty && !(request.hasPages && kinds.contains(request.kind)) { return false }
    return passesArrival(request)
  }
}
