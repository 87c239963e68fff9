// The raw volume: the whole image is one file, `/disk`.

import Block
import CSystem
import DirectIO
import Glibc
import Memory
import Synchronization

/// A volume whose only file, `/disk`, is the image itself: file offset and device offset are the same.
public final class RawVolume: FixedTree {
  /// As in the mount option.
  public var kindName: String { "raw" }
  /// Holes of the image are fresh space, in blocks of this volume's choice.
  public let traits: VolumeTraits

  /// The root directory's inode, as FUSE wants it.
  public static let rootInode: UInt64 = 1
  /// The inode of `/disk`.
  public static let diskInode: UInt64 = 2
  private static let diskName = FileName("disk")

  private let device: any BlockDevice
  private let owner: (user: UInt32, group: UInt32)
  private let mounted: Timestamp
  private let times: Guarded<Times>
  // Set by any worker at each write, folded into `times` when somebody asks.
  private let writtenNanoseconds = Atomic<Int>(0)

  private struct Times {
    var accessed: Timestamp
    var modified: Timestamp
    var changed: Timestamp
  }

  /// Serves a device.
  /// - Parameters:
  ///   - device: the image.
  ///   - user: who owns the files.
  ///   - group: the files' group.
  ///   - padsHoles: whether writes of part of a block into a hole of the image fill it up with zeroes.
  public init(device: any BlockDevice, user: UInt32, group: UInt32, padsHoles: Bool = true) {
    self.device = device
    traits = VolumeTraits(
      answersAtOnce: true, blockBytes: max(4096, device.limits.logicalBlockSize),
      asksDeviceForHoles: padsHoles, allocatesBlocks: false)
    owner = (user, group)
    mounted = .now()
    times = Guarded(Times(accessed: mounted, modified: mounted, changed: mounted))
  }

  // MARK: Names

  /// Finds `disk`.
  public func lookup(_ name: FileName, in directory: UInt64) throws(Errno) -> VolumeEntry {
    if directory == Self.diskInode { throw .notDirectory }
    if directory == Self.rootInode && name == Self.diskName { return VolumeEntry(disk()) }
    throw .noSuchFile
  }

  /// The root lists `disk`.
  public func list(
    _ directory: UInt64, handle: UInt64, from cookie: UInt64, _ body: (DirectoryEntry) -> Bool
  ) throws(Errno) {
    if directory != Self.rootInode { throw .notDirectory }
    if cookie > 0 { return }
    _ = body(
      DirectoryEntry(name: Self.diskName, inode: Self.diskInode, type: .regular, cookie: 1))
  }

  /// There is one directory.
  public func parent(of directory: UInt64) throws(Errno) -> UInt64 { Self.rootInode }

  /// Nothing is kept of an open file.
  public func open(_ inode: UInt64, flags: Int32, by caller: Caller) throws(Errno) -> UInt64 { 0 }
  /// Nothing was kept.
  public func close(_ inode: UInt64, handle: UInt64) {}

  // MARK: Attributes

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
  public func change(
    _ inode: UInt64, to change: AttributeChange, by caller: Caller
  ) throws(Errno) -> FileAttributes {
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
        $0.changed = .now()
      }
    }
    return try attributes(of: inode)
  }

  /// Modes decide: the mount is made with `default_permissions`, so the kernel asks only where it knows no mode.
  public func checkAccess(_ inode: UInt64, mask: Int32, by caller: Caller) throws(Errno) {
    if device.isReadOnly && mask & W_OK != 0 { throw .readOnlyFileSystem }
  }

  /// The image is always full.
  public func statistics() -> VolumeStatistics {
    let size = device.limits.logicalBlockSize
    return VolumeStatistics(
      blockSize: size, blocks: (device.byteCount + size - 1) / size, freeBlocks: 0, files: 2)
  }

  private func disk() -> FileAttributes {
    foldWriteTime()
    let times = times.withLock { $0 }
    var file = FileAttributes(
      inode: Self.diskInode, type: .regular, permissions: device.isReadOnly ? 0o444 : 0o644,
      user: owner.user, group: owner.group, size: device.byteCount, time: times.modified)
    file.accessed = times.accessed
    file.changed = times.changed
    file.blocks512 = (device.storedByteCount + 511) / 512
    file.blockSize = traits.blockBytes
    return file
  }

  // MARK: Data

  /// Identity, up to the image's end.
  public func extent(
    of inode: UInt64, at offset: Int, limit: Int, for purpose: ExtentPurpose, mayBlock: Bool
  ) throws(Errno) -> Extent? {
    if inode != Self.diskInode { throw .isDirectory }
    return Extent(
      deviceOffset: offset, byteCount: max(0, min(limit, device.byteCount - offset)), kind: .mapped)
  }

  /// Remembers the time: one look at the clock and a store. The fine clock, since a ctime must not stand still between
  /// a change of attributes and a write just after it.
  public func finishWrite(
    to inode: UInt64, at offset: Int, byteCount: Int, mayBlock: Bool
  ) throws(Errno) -> Bool {
    let now = Timestamp.now()
    writtenNanoseconds.store(now.seconds * 1_000_000_000 + now.nanoseconds, ordering: .relaxed)
    return true
  }

  private func foldWriteTime() {
    let stamp = writtenNanoseconds.exchange(0, ordering: .relaxed)
    if stamp == 0 { return }
    let time = Timestamp(seconds: stamp / 1_000_000_000, nanoseconds: stamp % 1_000_000_000)
    times.withLock {
      $0.modified = time
      $0.changed = max($0.changed, time)
    }
  }

  /// Asks the image.
  public func seek(_ inode: UInt64, offset: Int, whence: Int32) throws(Errno) -> Int {
    guard inode == Self.diskInode else { throw .invalidArgument }
    return try device.seek(offset: offset, whence: whence)
  }

  /// Punching, zeroing and giving storage are the device's work; nothing can be allocated beyond the image's end.
  public func changeStorage(
    of inode: UInt64, _ change: StorageChange, offset: Int, length: Int
  ) throws(Errno) -> StorageWork {
    guard inode == Self.diskInode else { throw .invalidArgument }
    let end = min(offset + length, device.byteCount)
    let isInside = offset + length <= device.byteCount
    switch change {
    case .punchHole:
      return StorageWork(.zero(unmaps: true), offset: offset, byteCount: max(0, end - offset))
    case .zero(let keepsSize):
      if !isInside { throw keepsSize ? .noSpace : .fileTooBig }
      return StorageWork(.zero(unmaps: false), offset: offset, byteCount: length)
    case .allocate(let keepsSize):
      if !isInside { throw keepsSize ? .noSpace : .fileTooBig }
      return StorageWork(.provision, offset: offset, byteCount: length)
    }
  }

  /// All whole blocks of the image.
  public func passThroughRange(of inode: UInt64) throws(Errno) -> Range<Int> {
    guard inode == Self.diskInode else { throw .notTypewriter }
    return 0..<device.byteCount
  }

  // MARK: The whole

  /// Nothing is kept back.
  public func prepareSync(_ scope: SyncScope) throws(Errno) -> Bool { true }
  /// The disk.
  public func cachedInodes() -> [UInt64] { [Self.diskInode] }
  /// Nothing is kept back.
  public func end() throws(Errno) {}
}

extension Timestamp {
  /// The time now.
  public static func now() -> Timestamp {
    var time = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &time)
    return Timestamp(seconds: time.tv_sec, nanoseconds: time.tv_nsec)
  }
}
