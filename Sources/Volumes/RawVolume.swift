// The raw volume: the whole image is one file, `/disk`.

import Block
import CSystem
import DirectIO
import Glibc
import Memory
import Synchronization

/// A volume whose only file, `/disk`, is the image itself: file offset and device offset are the same.
public final class RawVolume: Volume {
  /// As in the mount option.
  public var kindName: String { "raw" }
  /// Holes of the image are fresh space, in blocks of this volume's choice.
  public let zeroing: Zeroing

  /// The root directory's inode, as FUSE wants it.
  public static let rootInode: UInt64 = 1
  /// The inode of `/disk`.
  public static let diskInode: UInt64 = 2

  private let device: any BlockDevice
  private let owner: (user: UInt32, group: UInt32)
  private let mounted: Timestamp
  private let times: Guarded<(accessed: Timestamp, modified: Timestamp)>
  // Set by any worker at each write, folded into `times` when somebody asks.
  private let modifiedNanoseconds = Atomic<Int>(0)

  /// Serves a device.
  /// - Parameters:
  ///   - device: the image.
  ///   - user: who owns the files.
  ///   - group: the files' group.
  ///   - zeroing: what writes into holes of the image do.
  public init(
    device: any BlockDevice, user: UInt32, group: UInt32, zeroing: Zeroing = .ask(blockBytes: 4096)
  ) {
    self.device = device
    self.zeroing = zeroing
    owner = (user, group)
    mounted = .now()
    times = Guarded((mounted, mounted))
  }

  /// Finds `disk`.
  public func lookup(parent: UInt64, name: String) throws(Errno) -> FileAttributes {
    if parent == Self.rootInode && name == "disk" { return disk() }
    throw .noSuchFile
  }

  /// The root's or the disk's attributes.
  public func attributes(of inode: UInt64) throws(Errno) -> FileAttributes {
    switch inode {
    case Self.rootInode:
      var root = FileAttributes(
        inode: inode, type: .directory, permissions: 0o755, user: owner.user, group: owner.group,
        size: 0, time: mounted)
      root.linkCount = 2
      return root
    case Self.diskInode: return disk()
    default: throw .noSuchFile
    }
  }

  /// Only times can be changed: an image has the size and the owner that it has.
  ///
  /// Throws `.notPermitted` for a new size: a raw image is neither grown nor cut by a truncate.
  public func change(_ inode: UInt64, to change: AttributeChange) throws(Errno) -> FileAttributes {
    let old = try attributes(of: inode)
    if let size = change.size, size != old.size { throw .notPermitted }
    if let bits = change.permissions, bits != old.permissions { throw .notPermitted }
    if let user = change.user, user != old.user { throw .notPermitted }
    if let group = change.group, group != old.group { throw .notPermitted }
    if inode == Self.diskInode {
      foldWriteTime()
      times.withLock {
        if let accessed = change.accessed { $0.accessed = accessed }
        if let modified = change.modified { $0.modified = modified }
      }
    }
    return try attributes(of: inode)
  }

  /// The root lists `disk`.
  public func entries(of inode: UInt64) throws(Errno) -> [DirectoryEntry] {
    guard inode == Self.rootInode else { throw Errno(rawValue: ENOTDIR) }
    return [DirectoryEntry(name: "disk", inode: Self.diskInode, type: .regular)]
  }

  /// The image is always full.
  public func statistics() -> VolumeStatistics {
    let size = device.limits.logicalBlockSize
    return VolumeStatistics(
      blockSize: size, blocks: (device.byteCount + size - 1) / size, freeBlocks: 0, files: 2)
  }

  /// Identity, up to the image's end.
  public func extent(
    of inode: UInt64, at offset: Int
  ) throws(Errno) -> (deviceOffset: Int, byteCount: Int) {
    guard inode == Self.diskInode else { throw Errno(rawValue: EISDIR) }
    return (offset, max(0, device.byteCount - offset))
  }

  /// Asks the image.
  public func seek(_ inode: UInt64, offset: Int, whence: Int32) throws(Errno) -> Int {
    guard inode == Self.diskInode else { throw .invalidArgument }
    return try device.seek(offset: offset, whence: whence)
  }

  /// Passes punching and zeroing to the image; nothing can be allocated beyond it.
  public func allocate(
    _ inode: UInt64, mode: Int32, offset: Int, length: Int
  ) throws(Errno) {
    guard inode == Self.diskInode else { throw .invalidArgument }
    if device.isReadOnly { throw .readOnlyFileSystem }
    let inside = offset >= 0 && length > 0 && offset <= device.byteCount - length
    let keepsSize = mode & FALLOC_FL_KEEP_SIZE != 0
    let punches = mode & FALLOC_FL_PUNCH_HOLE != 0
    if !inside && !punches { throw keepsSize ? .noSpace : Errno(rawValue: EFBIG) }
    if offset < 0 || length <= 0 { throw .invalidArgument }
    let end = min(offset + length, device.byteCount)
    if end <= offset { return }
    let zeroes = mode & FALLOC_FL_ZERO_RANGE != 0
    // What would only reserve storage is no bio's business, and is refused as a disk does.
    if !punches && !zeroes { throw .notSupported }
    try WaitingQueue(device: device).zero(offset..<end, keepsStorage: zeroes)
    noteWrite(inode)
  }

  /// Remembers the time; two loads and a store.
  public func noteWrite(_ inode: UInt64) {
    let now = Timestamp.now(coarse: true)
    modifiedNanoseconds.store(now.seconds * 1_000_000_000 + now.nanoseconds, ordering: .relaxed)
  }

  private func foldWriteTime() {
    let stamp = modifiedNanoseconds.exchange(0, ordering: .relaxed)
    if stamp == 0 { return }
    let time = Timestamp(seconds: stamp / 1_000_000_000, nanoseconds: stamp % 1_000_000_000)
    times.withLock { $0.modified = time }
  }

  private func disk() -> FileAttributes {
    foldWriteTime()
    let (accessed, modified) = times.withLock { $0 }
    var file = FileAttributes(
      inode: Self.diskInode, type: .regular, permissions: device.isReadOnly ? 0o444 : 0o644,
      user: owner.user, group: owner.group, size: device.byteCount, time: modified)
    file.accessed = accessed
    file.blocks512 = (device.storedByteCount + 511) / 512
    return file
  }
}

extension Timestamp {
  /// The time now.
  /// - Parameter coarse: to the scheduler's tick, which costs a few nanoseconds only.
  public static func now(coarse: Bool = false) -> Timestamp {
    var time = timespec()
    unsafe clock_gettime(coarse ? CLOCK_REALTIME_COARSE : CLOCK_REALTIME, &time)
    return Timestamp(seconds: time.tv_sec, nanoseconds: time.tv_nsec)
  }
}
