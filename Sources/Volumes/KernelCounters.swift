// The host kernel's own pin counters, to set the model's beside them.

import Glibc

/// The kernel's counts of pins taken and dropped by everybody on the machine.
///
/// Kernel: `nr_foll_pin_acquired` and `nr_foll_pin_released` of /proc/vmstat, mm/vmstat.c.
public struct KernelCounters: Sendable, Equatable {
  /// Pages pinned since boot.
  public var pinAcquired: Int
  /// Pages unpinned since boot.
  public var pinReleased: Int

  /// Reads the counters, or nil on a kernel that has none.
  ///
  /// Per-CPU figures are gathered first, which only root may ask for; without it they lag by some pages.
  public static func read() -> KernelCounters? {
    let refresh = unsafe open("/proc/sys/vm/stat_refresh", O_WRONLY | O_CLOEXEC)
    if refresh >= 0 {
      _ = unsafe write(refresh, "1", 1)
      close(refresh)
    }
    let text = table()
    guard let acquired = value(of: "nr_foll_pin_acquired ", in: text),
      let released = value(of: "nr_foll_pin_released ", in: text)
    else { return nil }
    return KernelCounters(pinAcquired: acquired, pinReleased: released)
  }

  /// The bytes of /proc/vmstat, or none. Some 5 KiB, given in one piece.
  private static func table() -> [UInt8] {
    let descriptor = unsafe open("/proc/vmstat", O_RDONLY | O_CLOEXEC)
    if descriptor < 0 { return [] }
    defer { close(descriptor) }
    return unsafe [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
      unsafe count = max(0, Glibc.read(descriptor, buffer.baseAddress, buffer.count))
    }
  }

  /// The number behind a name at a line's start.
  private static func value(of name: StaticString, in text: [UInt8]) -> Int? {
    let length = name.utf8CodeUnitCount
    let wanted = name.description.utf8
    var start = 0
    while start < text.count {
      let end = text[start...].firstIndex(of: UInt8(ascii: "\n")) ?? text.count
      if end - start > length && text[start..<start + length].elementsEqual(wanted) {
        return Int(String(decoding: text[start + length..<end], as: UTF8.self))
      }
      start = end + 1
    }
    return nil
  }
}
