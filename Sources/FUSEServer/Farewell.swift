// The last word of a mount: the daemon sends its ledger to the `umount` that waits for it.
//
// The words travel as one datagram to an abstract socket, whose name `umount` writes to `control` before it unmounts.
// So nothing is written to any path, and a daemon that dies simply says nothing.

import CSystem
import Glibc
import Memory
import Synchronization

/// Where `umount` listens.
public final class FarewellReceiver: Sendable {
  /// The socket's name, to be written to `control`.
  public let name: String
  private let descriptor: Int32

  /// Opens a socket with a name of its own, or nil if the system refuses.
  public init?() {
    name = "extractfs-farewell-\(getpid())"
    descriptor = socket(AF_UNIX, EXTRACTFS_SOCK_DGRAM, 0)
    if descriptor < 0 { return nil }
    let bound = unsafe AbstractAddress(name).with { unsafe Int(bind(descriptor, $0, $1)) }
    if bound != 0 {
      close(descriptor)
      return nil
    }
  }

  deinit { close(descriptor) }

  /// What the daemon sent, or nil if it said nothing; to be called when it has ended.
  public func receive() -> String? {
    var bytes = [UInt8](repeating: 0, count: 64 << 10)
    let count = unsafe recv(descriptor, &bytes, bytes.count, EXTRACTFS_MSG_DONTWAIT)
    return count >= 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
  }
}

/// The daemon's side: remembers whom to tell.
final class FarewellAddress: Sendable {
  private let name = Guarded("")

  /// Notes the socket's name.
  func set(_ new: String) { name.withLock { $0 = new } }

  /// Sends the last word, if anybody asked for it.
  func send(_ text: String) {
    let name = name.withLock { $0 }
    if name.isEmpty { return }
    let descriptor = socket(AF_UNIX, EXTRACTFS_SOCK_DGRAM, 0)
    if descriptor < 0 { return }
    defer { close(descriptor) }
    let bytes = Array(text.utf8.prefix(60 << 10))
    _ = unsafe AbstractAddress(name).with {
      unsafe sendto(descriptor, bytes, bytes.count, EXTRACTFS_MSG_DONTWAIT, $0, $1)
    }
  }
}

extension Server {
  /// Tells a waiting `umount` the final figures and what is wrong with them.
  public func sendFarewell(defects: [String]) {
    let lines = defects.map { "defect \($0)\n" }.joined()
    farewell.send(lines + statistics.snapshot().text)
  }
}

/// The address of an abstract socket: a zero byte, then the name.
private struct AbstractAddress {
  private var address = sockaddr_un()
  private let length: socklen_t

  init(_ name: String) {
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(name.utf8.prefix(100))
    MemoryWindow.on(&address.sun_path) { $0.copy(bytes, to: 1) }
    length = socklen_t(MemoryLayout<sa_family_t>.size + 1 + bytes.count)
  }

  /// Runs `body` with the address as C wants it.
  func with(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Int) -> Int {
    unsafe withUnsafeBytes(of: address) {
      unsafe body($0.assumingMemoryBound(to: sockaddr.self).baseAddress!, length)
    }
  }
}
