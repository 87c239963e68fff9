// The daemon: opens the image, mounts, waits for the end, and takes stock.

import ArgumentParser
import Block
import CSystem
import Devices
import FUSEServer
import Foundation
import Glibc
import Logging
import Memory
import Volumes

/// One mount from its start to its end, in this process.
struct Daemon {
  let plan: MountPlan
  /// Where a waiting parent listens, or nil in the foreground.
  let readyDescriptor: Int32?

  func run() throws {
    let log = DaemonLog(readyDescriptor: readyDescriptor)
    do {
      try serve(log)
    } catch let error as DaemonFailure {
      log.fail(error)
      throw error.code
    }
  }

  private func serve(_ log: DaemonLog) throws {
    Signals.block()
    let device = try openDevice(log)
    let server = try makeServer(device, log)
    do throws(MountFailure) {
      try server.mount()
    } catch {
      throw DaemonFailure("\(plan.mountpoint): cannot mount: \(error.message)")
    }
    if !server.usesHugePages {
      log.info("buffers are in 4 KiB pages: no huge pages were free")
    }
    log.ready("mounted \(plan.image) on \(plan.mountpoint)")
    Signals.waitForEnd(of: server)
    server.join()
    try takeStock(server, log)
  }

  // MARK: Parts

  private func openDevice(_ log: DaemonLog) throws -> any BlockDevice {
    let options = plan.options
    let keepsImage = options.backend == .memory || options.backend == .null
    let image: ImageFile
    do throws(ImageFailure) {
      image = try ImageFile(
        path: plan.image,
        options: ImageFile.Options(
          direct: options.direct && !keepsImage, isReadOnly: options.isReadOnly || keepsImage,
          blockSize: options.blockSize))
    } catch {
      throw DaemonFailure("\(plan.image): \(error.message)")
    }
    if image.lacksDirect {
      log.note("\(plan.image): the host's filesystem has no O_DIRECT; using buffered I/O")
    }
    do throws(Errno) {
      switch options.backend {
      case .sync: return SynchronousDevice(image: image)
      case .memory: return try MemoryDevice(image: image, isReadOnly: options.isReadOnly)
      case .null: return NullDevice(image: image, isReadOnly: options.isReadOnly)
      case .uring:
        if let reason = UringDevice.unavailability() {
          log.note("io_uring is not to be had (\(reason)); using backend=sync")
          return SynchronousDevice(image: image)
        }
        let recorder = log.recorder
        let mapsMemory = options.usesRing(offersRing: Machine.offersFuseRing)
        return UringDevice(image: image, mapsMemory: mapsMemory) { error in
          let reason =
            error == .noMemory ? "`ulimit -l` is too low" : describeErrno(error.rawValue)
          recorder(
            "the kernel registers no buffers (\(reason)), which iter=bvec would use; "
              + "transfers go on as ordinary ones")
        }
      }
    } catch {
      throw DaemonFailure("\(plan.image): \(describeErrno(error.rawValue))")
    }
  }

  private func makeServer(_ device: any BlockDevice, _ log: DaemonLog) throws -> Server {
    let options = plan.options
    let sizes = options.sizes(
      processors: ProcessInfo.processInfo.activeProcessorCount,
      possibleProcessors: Machine.possibleCPUCount, offersRing: Machine.offersFuseRing,
      isImmediate: device.isImmediate)
    var configuration = ServerConfiguration(
      mountpoint: plan.mountpoint, imagePath: plan.image, fuseOptions: options.fuse,
      isReadOnly: options.isReadOnly, workerCount: sizes.workers,
      slotsPerWorker: sizes.queueDepth, maxIOBytes: options.maxIO,
      spinNanoseconds: sizes.spinMicroseconds * 1000, transport: sizes.transport,
      processorCount: ProcessInfo.processInfo.activeProcessorCount,
      possibleCPUCount: Machine.possibleCPUCount, isDebugging: plan.isDebugging,
      control: options.control, seed: options.seed)
    configuration.log = log.recorder
    configuration.report = [
      ("backend", options.backend.rawValue), ("direct", options.direct ? "on" : "off"),
      ("zeroing", options.zeroing ? "on" : "off"),
      ("control", options.control.rawValue),
    ]
    configuration.passThroughLimits = options.passThroughLimits(of: device.limits)
    let volume = RawVolume(
      device: device, user: getuid(), group: getgid(),
      zeroing: options.zeroing ? .ask(blockBytes: 4096) : .off)
    do throws(Errno) {
      return try Server(
        configuration: configuration, device: device, volume: volume, shape: options.shape)
    } catch {
      throw DaemonFailure(
        "the request buffers cannot be had (\(describeErrno(error.rawValue))); "
          + "lower workers, queue_depth or max_io")
    }
  }

  /// Says what the ledger shows, to the log and to an `umount` that waits for it.
  private func takeStock(_ server: Server, _ log: DaemonLog) throws {
    let defects = server.balance()
    server.sendFarewell(defects: defects)
    if defects.isEmpty {
      log.info("unmounted \(plan.mountpoint); ledger balanced, 0 pages left pinned")
      return
    }
    for defect in defects { log.info("defect: \(defect)") }
    throw DaemonFailure("\(plan.mountpoint): the ledger does not balance", code: Exit.defect)
  }
}

/// Why the daemon cannot go on: one line and an exit code.
struct DaemonFailure: Error {
  let message: String
  let code: ExitCode

  init(_ message: String, code: ExitCode = Exit.failed) {
    self.message = message
    self.code = code
  }
}

/// Where the daemon's lines go: to standard error in the foreground; else to the waiting parent until the mount
/// answers, and to syslog from then on.
final class DaemonLog {
  private var parent: FileHandle?
  private let logger: Logger

  init(readyDescriptor: Int32?) {
    let isBackground = readyDescriptor != nil
    logger = Logger(label: "extractfs") { _ in
      LineLog(toSyslog: isBackground)
    }
    if let readyDescriptor {
      _ = fcntl(readyDescriptor, F_SETFD, FD_CLOEXEC)
      parent = FileHandle(fileDescriptor: readyDescriptor, closeOnDealloc: true)
    }
  }

  /// Something the user should know, now.
  func note(_ message: String) {
    logger.notice("\(message)")
    tell("note \(message)")
  }

  /// Something for the record.
  func info(_ message: String) { logger.info("\(message)") }

  /// The same for other threads.
  var recorder: @Sendable (String) -> Void {
    { [logger] message in logger.info("\(message)") }
  }

  /// The mount answers: lets the parent go.
  func ready(_ message: String) {
    logger.info("\(message)")
    tell("ready")
    parent = nil
  }

  /// The end.
  func fail(_ failure: DaemonFailure) {
    logger.error("\(failure.message)")
    tell("fail \(failure.code.rawValue) \(failure.message)")
    parent = nil
  }

  private func tell(_ line: String) {
    do { try parent?.write(contentsOf: Data("\(line)\n".utf8)) } catch {
      // The parent has gone; nobody is left to tell.
    }
  }
}

/// One line a message, `extractfs: text`.
struct LineLog: LogHandler {
  let toSyslog: Bool
  var metadata: Logger.Metadata = [:]
  var logLevel: Logger.Level = .info

  init(toSyslog: Bool) { self.toSyslog = toSyslog }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    if toSyslog {
      let priority =
        event.level >= .error ? LOG_ERR : event.level >= .notice ? LOG_NOTICE : LOG_INFO
      unsafe extractfs_syslog(priority | LOG_DAEMON, "extractfs: \(event.message)")
    } else {
      complain("\(event.message)")
    }
  }
}

/// Signals: SIGINT, SIGTERM and SIGHUP unmount; the server sends SIGUSR2 when the mount has gone.
enum Signals {
  private static var awaited: sigset_t {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGUSR2] { unsafe sigaddset(&set, signal) }
    return set
  }

  /// To be called before any thread starts, so that all of them inherit it.
  static func block() {
    var set = awaited
    unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    signal(SIGPIPE, SIG_IGN)
    // A handler that does nothing: the signal's use is to interrupt a read.
    var action = sigaction()
    unsafe action.__sigaction_handler.sa_handler = { _ in }
    unsafe sigaction(SIGUSR1, &action, nil)
  }

  /// Sleeps until a signal or the mount's end; then sees the workers out.
  static func waitForEnd(of server: Server) {
    var set = awaited
    var received: Int32 = 0
    repeat { unsafe sigwait(&set, &received) } while received == SIGUSR2 && !server.hasEnded
    if !server.hasEnded { server.stop() }
    while !server.hasEnded {
      var pause = timespec(tv_sec: 0, tv_nsec: 20_000_000)
      _ = unsafe sigtimedwait(&set, nil, &pause)
      server.nudge()
    }
  }
}
