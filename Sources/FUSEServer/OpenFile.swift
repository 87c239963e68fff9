// Open files of the volume: what every request with the same handle shares.

import DirectIO
import Memory
import Synchronization
import Volumes

/// What all open files of one inode share.
final class FileState: Sendable {
  /// The inode.
  let inode: UInt64
  /// Keeps writes of part of a block apart from every other write of this file.
  let gate: WriteGate
  /// Open files that may write, and so may have a writable mapping.
  let writers = Atomic<Int>(0)

  fileprivate init(inode: UInt64, gate: WriteGate) {
    self.inode = inode
    self.gate = gate
  }
}

/// One open file, or an open directory. The kernel hands its number back with every request on it, and none comes after
/// the RELEASE that ends it.
final class OpenFile: Sendable {
  /// What it shares.
  let state: FileState
  /// The volume's own handle.
  let volumeHandle: UInt64
  /// Whether it was opened for writing.
  let isWritable: Bool

  fileprivate init(state: FileState, volumeHandle: UInt64, isWritable: Bool) {
    self.state = state
    self.volumeHandle = volumeHandle
    self.isWritable = isWritable
  }

  /// The number that the kernel knows it by: its address, so that finding it again takes no table and no lock.
  fileprivate var number: UInt64 {
    unsafe UInt64(UInt(bitPattern: Unmanaged.passUnretained(self).toOpaque()))
  }

  /// Runs `body` with the open file behind a number that the kernel gave back, without counting a reference.
  ///
  /// The kernel vouches for the number: it comes from `OpenFiles.open` and is no longer used after `close`.
  @inline(__always)
  static func with<Result>(_ number: UInt64, _ body: (OpenFile) -> Result) -> Result {
    guard let pointer = unsafe UnsafeRawPointer(bitPattern: UInt(number)) else {
      preconditionFailure("a request came with a handle that was never given out")
    }
    return unsafe Unmanaged<OpenFile>.fromOpaque(pointer)._withUnsafeGuaranteedRef(body)
  }

  /// The open file behind a number.
  static func behind(_ number: UInt64) -> OpenFile { with(number) { $0 } }
}

/// The open files of a mount. As many as the kernel has open.
final class OpenFiles: Sendable {
  private let states = Guarded<[UInt64: (state: FileState, users: Int)]>([:])
  private let wake: @Sendable (WriteGate.Waiter) -> Void

  /// Makes an empty list.
  /// - Parameter wake: tells the worker of a parked request that its file's gate has let it in.
  init(wake: @escaping @Sendable (WriteGate.Waiter) -> Void) { self.wake = wake }

  /// Notes an open file.
  /// - Returns: its number.
  func open(_ inode: UInt64, volumeHandle: UInt64, isWritable: Bool) -> UInt64 {
    let state = retain(inode)
    if isWritable { state.writers.wrappingAdd(1, ordering: .relaxed) }
    let file = OpenFile(state: state, volumeHandle: volumeHandle, isWritable: isWritable)
    _ = unsafe Unmanaged.passRetained(file)
    return file.number
  }

  /// The last user has gone.
  /// - Returns: the volume's own handle.
  func close(_ number: UInt64) -> UInt64 {
    let file = OpenFile.behind(number)
    if file.isWritable { file.state.writers.wrappingSubtract(1, ordering: .relaxed) }
    release(file.state)
    unsafe Unmanaged.passUnretained(file).release()
    return file.volumeHandle
  }

  /// What the open files of an inode share, made if there are none; `release` is owed.
  func retain(_ inode: UInt64) -> FileState {
    states.withLock { states in
      if let found = states[inode] {
        states[inode] = (found.state, found.users + 1)
        return found.state
      }
      let state = FileState(inode: inode, gate: WriteGate(wake: wake))
      states[inode] = (state, 1)
      return state
    }
  }

  /// One user less.
  func release(_ state: FileState) {
    states.withLock { states in
      guard let found = states[state.inode] else {
        preconditionFailure("a file was closed that is not open")
      }
      states[state.inode] = found.users > 1 ? (found.state, found.users - 1) : nil
    }
  }

  /// Whether a file may have pages that were changed through a mapping: somebody has it open for writing.
  func mayBeMapped(_ inode: UInt64) -> Bool {
    states.withLock { $0[inode].map { $0.state.writers.load(ordering: .relaxed) > 0 } ?? false }
  }
}
