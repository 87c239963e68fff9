// `extractfs umount`: flushes, unmounts, waits for the daemon's end, and says what the ledger shows.

import ArgumentParser
import CSystem
import FUSEServer
import Foundation
import Glibc

struct UnmountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "umount", abstract: "Unmount, wait for the daemon to end, and report the ledger.",
    discussion: "Exit code 2 means that the ledger does not balance.")

  @Argument(help: "The mounted directory.", completion: .directory)
  var mountpoint: String

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let path = absolutePath(mountpoint) ?? mountpoint
    guard let entry = MountTable.entry(at: path), entry.type == MountTable.fileSystemType else {
      throw failure("\(mountpoint): no extractfs is mounted there")
    }
    let control = unsafe open("\(path)/.extractfs/control", O_WRONLY | O_CLOEXEC)
    if control < 0 && errno == ENOTCONN {
      try unmount(path, lazily: true)
      complain("\(mountpoint): the daemon had died; the dead mount is removed, its ledger is lost")
      return
    }
    guard control >= 0, let farewell = FarewellReceiver() else {
      if control >= 0 { close(control) }
      try unmountWithoutFarewell(path)
      return
    }
    let daemon = try daemonProcess()
    let request = "flush\nfarewell \(farewell.name)\n"
    let written = unsafe write(control, request, request.utf8.count)
    let reason = errno
    close(control)
    if written < 0 {
      throw failure(unsafe "\(mountpoint): flush failed: \(String(cString: strerror(reason)))")
    }
    try unmount(path, lazily: false)
    wait(for: daemon)
    try report(farewell.receive())
  }

  /// For mounts whose control file cannot be written: a read-only mount's figures just before the end are as good,
  /// since an unmount that succeeds finds no request under way; without a control directory there are none.
  private func unmountWithoutFarewell(_ path: String) throws {
    let isReadable = unsafe access("\(path)/.extractfs/stats", R_OK) == 0
    let daemon = isReadable ? try daemonProcess() : nil
    let figures = isReadable ? try MountedControl(mountpoint: mountpoint).read("stats") : ""
    try unmount(path, lazily: false)
    wait(for: daemon)
    if isReadable {
      try report(Self.withDefects(figures))
    } else {
      complain(
        "\(mountpoint): unmounted; it has no control directory, so the ledger is not known")
    }
  }

  /// What the daemon would have said of such figures.
  private static func withDefects(_ figures: String) -> String {
    let watched = ["sim_pages_pinned", "sim_pages_reffed", "sim_leaks", "sim_double_releases"]
    let defects = figures.split(separator: "\n").filter { line in
      watched.contains { line.hasPrefix($0 + " ") } && !line.hasSuffix(" 0")
    }
    return defects.map { "defect \($0)\n" }.joined() + figures
  }

  /// A descriptor that becomes readable when the daemon ends, or nil where it has gone already.
  private func daemonProcess() throws -> Int32? {
    let config = try MountedControl(mountpoint: mountpoint).read("config")
    guard let line = config.split(separator: "\n").first(where: { $0.hasPrefix("pid=") }),
      let pid = pid_t(line.dropFirst(4))
    else { return nil }
    let descriptor = pidfd_open(pid, 0)
    return descriptor >= 0 ? descriptor : nil
  }

  private func wait(for daemon: Int32?) {
    guard let daemon else { return }
    var descriptor = pollfd(fd: daemon, events: Int16(POLLIN), revents: 0)
    while unsafe poll(&descriptor, 1, -1) < 0 && errno == EINTR {}
    close(daemon)
  }

  /// umount(2) as root, fusermount3 as anybody else.
  private func unmount(_ path: String, lazily: Bool) throws {
    if unsafe umount2(path, lazily ? Int32(MNT_DETACH) : 0) == 0 { return }
    if errno == EBUSY {
      throw failure(
        "\(mountpoint): busy: files are open or a shell stands in it; `fuser -m` names them")
    }
    if errno != EPERM { throw failure(unsafe "\(mountpoint): \(String(cString: strerror(errno)))") }
    let helper = Process()
    helper.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    helper.arguments = ["fusermount3", "-u"] + (lazily ? ["-z"] : []) + [path]
    try helper.run()
    helper.waitUntilExit()
    if helper.terminationStatus != 0 {
      throw failure("\(mountpoint): fusermount3 could not unmount it")
    }
  }

  private func report(_ farewell: String?) throws {
    guard let farewell else {
      throw failure(
        "\(mountpoint): unmounted, but the daemon said nothing at its end", code: Exit.defect)
    }
    let lines = farewell.split(separator: "\n").map(String.init)
    let defects = lines.filter { $0.hasPrefix("defect ") }.map { String($0.dropFirst(7)) }
    let counts = Dictionary(
      lines.filter { !$0.hasPrefix("defect ") }.compactMap { line -> (String, Int)? in
        let words = line.split(separator: " ")
        return words.count == 2 ? Int(words[1]).map { (String(words[0]), $0) } : nil
      }, uniquingKeysWith: { first, _ in first })
    if json {
      emitJSON([
        "mountpoint": mountpoint, "balanced": defects.isEmpty, "defects": defects, "stats": counts,
      ])
    } else {
      emit("unmounted \(mountpoint)\n")
      emit(
        "pins: \(counts["sim_nr_foll_pin_acquired"] ?? 0) acquired, "
          + "\(counts["sim_nr_foll_pin_released"] ?? 0) released\n")
      emit(
        "references: \(counts["sim_nr_foll_get_acquired"] ?? 0) acquired, "
          + "\(counts["sim_nr_foll_get_released"] ?? 0) released\n")
      for defect in defects { emit("defect: \(defect)\n") }
      emit("\(counts["sim_pages_pinned"] ?? 0) pages left pinned\n")
    }
    if !defects.isEmpty { throw Exit.defect }
  }
}
