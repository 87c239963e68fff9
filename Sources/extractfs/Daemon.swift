// The daemon: opens the image, mounts, waits for the end, and takes stock.

import ArgumentParser
import Block
import CSystem
import Devices
import FUSEServer
import Glibc
import Logging
import Memory
import Trace
import Volumes

/// One mount from its start to its end, in this process.
struct Daemon {
  let plan: MountPlan
  /// Where a waiting parent listens, or nil in the foreground.
  let readyDescriptor: Int32?

  func run() throws {
    let log = DaemonLog(
      readyDescriptor: readyDescriptor, options: plan.logOptions, mountpoint: plan.mountpoint.shown)
    do {
      // A path of the caller's directory: before that is left.
      try log.open()
      try serve(log)
    } catch let error as DaemonFailure {
      log.fail(error)
      throw error.code
    }
  }

  private func serve(_ log: DaemonLog) throws {
    Inheritance.settleDaemon(inBackground: readyDescriptor != nil)
    Signals.block()
    let device = try openDevice(log)
    let server = try makeServer(device, log)
    do throws(MountFailure) {
      try server.mount()
    } catch {
      throw DaemonFailure("\(plan.mountpoint.shown): cannot mount: \(error.message)")
    }
    if !server.usesHugePages {
      log.info("buffers are in 4 KiB pages: no huge pages were free")
    }
    log.ready("mounted \(plan.image.shown) on \(plan.mountpoint.shown)")
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
      // A path that is no text is opened through its number.
      let handle = plan.image.open(EXTRACTFS_O_PATH)
      defer { if handle >= 0 { close(handle) } }
      image = try ImageFile(
        path: plan.image.text ?? "/proc/self/fd/\(handle)",
        options: ImageFile.Options(
          direct: options.direct && !keepsImage, isReadOnly: options.isReadOnly || keepsImage,
          blockSize: options.blockSize))
    } catch {
      throw DaemonFailure("\(plan.image.shown): \(error.message)")
    }
    if let limit = Inheritance.fileSizeLimit, limit < image.byteCount, !options.isReadOnly {
      log.note(
        "\(plan.image.shown): `ulimit -f` lets this process write its first \(limit) bytes only; "
          + "writes beyond fail with EFBIG")
    }
    if image.lacksDirect {
      log.note("\(plan.image.shown): the host's filesystem has no O_DIRECT; using buffered I/O")
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
      throw DaemonFailure("\(plan.image.shown): \(describe(error.rawValue))")
    }
  }

  private func makeServer(_ device: any BlockDevice, _ log: DaemonLog) throws -> Server {
    let options = plan.options
    let processors = Machine.allowedCPUs
    let sizes: ServerSizes
    do throws(OptionError) {
      sizes = try options.sizes(
        SizingInput(
          processors: processors.count, possibleProcessors: Machine.possibleCPUCount,
          offersRing: Machine.offersFuseRing, isImmediate: device.isImmediate,
          availableBytes: Machine.availableBytes))
    } catch {
      throw DaemonFailure(error.message)
    }
    let name = options.fileSystemName ?? plan.image.bytes
    var configuration = ServerConfiguration(
      mountpoint: plan.mountpoint.shown, imagePath: plan.image.shown,
      fuseOptions: ["fsname=" + LibfuseOption.escaped(Self.tableName(name)), "default_permissions"]
        + options.fuse.filter { $0 != "default_permissions" },
      isReadOnly: options.isReadOnly, workerCount: sizes.workers,
      slotsPerWorker: sizes.queueDepth, maxIOBytes: sizes.maxIOBytes,
      spinNanoseconds: sizes.spinMicroseconds * 1000, transport: sizes.transport,
      processorCount: processors.count, possibleCPUCount: Machine.possibleCPUCount,
      isDebugging: plan.isDebugging, control: options.control, seed: options.seed)
    configuration.mountpointBytes = plan.mountpoint.bytes
    configuration.allowedCPUs = processors
    configuration.log = log.recorder
    configuration.traceLine = { EventLine.add($0, to: &$1) }
    configuration.debugLog = log.debugger
    configuration.report = [
      ("backend", options.backend.rawValue), ("direct", options.direct ? "on" : "off"),
      ("zeroing", options.zeroing ? "on" : "off"),
      ("control", options.control.rawValue),
    ]
    configuration.watchesBuffers = options.watchesBuffers
    configuration.holdMilliseconds = options.holdMilliseconds
    configuration.passThroughLimits = options.passThroughLimits(of: device.limits)
    configuration.backgroundLimit = sizes.backgroundLimit
    configuration.spareSlotsPerWorker = sizes.spareSlots
    let volume = try makeVolume(device)
    do throws(Errno) {
      return try Server(
        configuration: configuration, device: device, volume: volume, shape: options.shape)
    } catch {
      throw DaemonFailure(
        "the request buffers cannot be had (\(describe(error.rawValue))); "
          + "lower workers, queue_depth or max_io")
    }
  }

  private func makeVolume(_ device: any BlockDevice) throws -> any Volume {
    let options = plan.options
    switch options.volume {
    case .auto, .raw:
      return RawVolume(
        device: device, user: getuid(), group: getgid(), padsHoles: options.zeroing)
    case .scatter:
      do throws(Errno) {
        return try ScatterVolume(
          device: device, user: getuid(), group: getgid(), seed: options.seed,
          mayOverwrite: options.backend == .memory || options.backend == .null)
      } catch .exists {
        throw DaemonFailure(
          "\(plan.image.shown): holds data, which volume=scatter would overwrite; it wants a new image, as `extractfs mkimage` makes it"
        )
      } catch .readOnlyFileSystem {
        throw DaemonFailure("volume=scatter: begins with an empty tree, so it cannot be mounted ro")
      } catch {
        throw DaemonFailure("\(plan.image.shown): volume=scatter: \(describe(error.rawValue))")
      }
    }
  }

  /// What the kernel's table is to call the mount.
  ///
  /// Readers of the table, as fusermount3 when it unmounts, take lines of 4096 bytes, and a byte can take four there. A
  /// longer name would hide the mountpoint behind it; it is cut in front, where paths are most alike.
  static func tableName(_ name: [UInt8]) -> [UInt8] {
    let longest = 400
    if name.isEmpty { return Array("extractfs".utf8) }
    return name.count <= longest ? name : Array("...".utf8) + name.suffix(longest - 3)
  }

  /// Says what the ledger shows, to the log and to an `umount` that waits for it.
  private func takeStock(_ server: Server, _ log: DaemonLog) throws {
    let defects = server.balance()
    server.sendFarewell(defects: defects)
    if defects.isEmpty {
      log.info("unmounted \(plan.mountpoint.shown); ledger balanced, 0 pages left pinned")
      return
    }
    for defect in defects { log.info("defect: \(defect)") }
    throw DaemonFailure("\(plan.mountpoint.shown): the ledger does not balance", code: Exit.defect)
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

/// Where the daemon's lines go: to the log, and to a waiting parent until the mount answers.
final class DaemonLog {
  private var parent: Int32?
  private let options: LogOptions
  private let mountpoint: String
  private var logger: Logger

  /// Makes a log that goes where it would without options, until it is opened.
  init(readyDescriptor: Int32?, options: LogOptions, mountpoint: String) {
    self.options = options
    self.mountpoint = mountpoint
    logger = Logger(label: "extractfs") { _ in SwiftLogNoOpLogHandler() }
    if let readyDescriptor {
      _ = fcntl(readyDescriptor, F_SETFD, FD_CLOEXEC)
      parent = readyDescriptor
    }
  }

  /// Opens what the options say.
  /// - Throws: `DaemonFailure`.
  func open() throws {
    let isBackground = parent != nil
    func use(_ sink: LogSink) {
      logger = Logger(label: "extractfs") { [options, mountpoint] _ in
        DaemonLogHandler(sink, options, mountpoint: mountpoint)
      }
    }
    // What is wrong with the log itself must be said somewhere.
    use(try LogSink(.auto, isBackground: isBackground))
    use(try LogSink(options.target, isBackground: isBackground))
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

  /// Every request, for `-d`.
  var debugger: @Sendable (String) -> Void {
    { [logger] message in logger.debug("\(message)") }
  }

  /// The mount answers: lets the parent go.
  func ready(_ message: String) {
    logger.info("\(message)")
    tell("ready")
    leaveParent()
  }

  /// The end.
  func fail(_ failure: DaemonFailure) {
    logger.error("\(failure.message)")
    tell("fail \(failure.code.rawValue) \(failure.message)")
    leaveParent()
  }

  /// If the parent has gone, nobody is left to tell.
  private func tell(_ line: String) {
    if let parent { _ = StreamWriter.write(Array("\(line)\n".utf8), to: parent) }
  }

  private func leaveParent() {
    if let parent { close(parent) }
    parent = nil
  }
}

/// Signals: SIGINT, SIGTERM and SIGHUP unmount, and so do timers that run out; the server sends SIGUSR2 when the mount has gone.
enum Signals {
  private static var awaited: sigset_t {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    for signal in Inheritance.endingSignals + [SIGUSR2] { unsafe sigaddset(&set, signal) }
    return set
  }

  /// To be called before any thread starts, so that all of them inherit it.
  static func block() {
    var set = awaited
    unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
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
