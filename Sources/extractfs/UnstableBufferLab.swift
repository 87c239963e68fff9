// The lab of unstable buffers: a program of ours on a mount of its own, which changes its buffer, or leaves it alone.

import CSystem
import Glibc
import Labs
import Memory
import Synchronization

/// Writes from one buffer by direct I/O, several times, while another thread may change it.
enum UnstableBufferLab {
  static let writeCount = 4
  private static let byteCount = 64 << 10
  /// Where the other thread changes bytes.
  private static let changedOffset = 5000

  /// Writes through a mount that holds writes and looks at buffers, and compares with what it found.
  static func observe(_ mountpoint: String, _ column: String, _ story: inout LabStory) throws {
    let control = try MountedControl(SystemPath(mountpoint))
    for isStable in [true, false] {
      let before = try figures(control)
      let written = writeAll(to: "\(mountpoint)/disk", isStable: isStable)
      let after = try figures(control)
      let found = (after["unstable_buffers"] ?? 0) - (before["unstable_buffers"] ?? 0)
      let looked = (after["buffers_watched"] ?? 0) - (before["buffers_watched"] ?? 0)
      let name = isStable ? "a buffer left alone" : "a buffer changed meanwhile"
      story.observe(
        "\(name): written", column, expected: "\(writeCount)", happened: "\(written)")
      story.observe("\(name): looked at", column, expected: "\(writeCount)", happened: "\(looked)")
      story.observe(
        "\(name): found changed", column, expected: isStable ? "0" : "\(writeCount)",
        happened: "\(found)")
    }
    for line in try control.read("unstable").split(separator: "\n").suffix(1) {
      story.say("what `unstable` says: \(line)")
    }
  }

  private static func figures(_ control: MountedControl) throws -> [String: Int] {
    Dictionary(
      try control.statistics().map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
  }

  /// What the two threads share.
  @safe private final class Shared: @unchecked Sendable {
    // Guard of the unchecked Sendable: the buffer is changed without one on purpose; that is the lab.
    let buffer: UnsafeMutableRawPointer
    let isDone = Atomic<Bool>(false)
    let changes = Atomic<Int>(0)

    init(_ buffer: UnsafeMutableRawPointer) { unsafe self.buffer = unsafe buffer }

    func change() {
      while !isDone.load(ordering: .relaxed) {
        let count = changes.wrappingAdd(1, ordering: .relaxed).newValue
        unsafe buffer.storeBytes(
          of: UInt32(truncatingIfNeeded: count), toByteOffset: UnstableBufferLab.changedOffset,
          as: UInt32.self)
      }
    }
  }

  /// - Returns: writes that succeeded.
  private static func writeAll(to path: String, isStable: Bool) -> Int {
    let descriptor = unsafe open(path, O_WRONLY | EXTRACTFS_O_DIRECT | O_CLOEXEC)
    if descriptor < 0 { return 0 }
    defer { close(descriptor) }
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: pageSize)
    defer { unsafe buffer.deallocate() }
    unsafe buffer.initializeMemory(as: UInt8.self, repeating: 7, count: byteCount)
    let shared = unsafe Shared(buffer)
    var thread = pthread_t()
    if !isStable {
      let argument = unsafe Unmanaged.passRetained(shared).toOpaque()
      let result = unsafe pthread_create(
        &thread, nil,
        { argument in
          guard let argument = unsafe argument else { return nil }
          unsafe Unmanaged<Shared>.fromOpaque(argument).takeRetainedValue().change()
          return nil
        }, argument)
      if result != 0 { return 0 }
      while shared.changes.load(ordering: .relaxed) == 0 { sched_yield() }
    }
    var written = 0
    for round in 0..<writeCount
    where unsafe pwrite(descriptor, buffer, byteCount, off_t(round * byteCount)) == byteCount {
      written += 1
    }
    shared.isDone.store(true, ordering: .relaxed)
    if !isStable { pthread_join(thread, nil) }
    return written
  }
}
