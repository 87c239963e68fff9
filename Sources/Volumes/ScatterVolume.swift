// The scatter volume: a whole filesystem for tests, whose names are in memory and whose data lies where it hurts.

import Block
import CSystem
import DirectIO
import Glibc
import Memory

/// A POSIX filesystem that keeps names, attributes and extents in memory, and file data in short extents that are
/// deliberately scattered over the device, so that one request spans many of them.
///
/// Names are lost at unmount, and nothing of the image's former content is kept: every block counts as free and is
/// written over. Therefore only an image is accepted that has no data at all, as `seek` for data says it.
///
/// What this volume relies on:
/// - Names come checked for their length, permissions and the sticky bit by the kernel (`default_permissions`).
/// - Writes of one file that cover a fresh block in part have that file's gate alone, ask for their extents when they
///   have it, and are finished before they leave it; so a block is never filled up with zeroes over somebody's data.
/// - What a finished write says is on the device ends at a block's edge or where the write was to end: the last block
///   is then filled up with zeroes, and counts as a whole.
/// - Nothing of a file is under way at the device when its storage is cut or punched.
///
/// A block that was never written, or whose write failed, reads as zeroes: it is allocated as unwritten, and only
/// `finishWrite` makes it count. What lies behind the end of a file in its last block is zero.
public final class ScatterVolume: Volume {
  /// As in the mount option.
  public var kindName: String { "scatter" }
  /// All in memory but the data.
  public let traits: VolumeTraits

  /// The root directory's inode.
  public static let rootInode: UInt64 = 1
  /// The most inodes at a time.
  public static let maximumInodes = 1 << 20
  /// The most links to one inode, as ext4 has it.
  public static let maximumLinks: UInt32 = 65_000
  /// The most bytes of all extended attributes of an inode, and of the names alone.
  static let maximumAttributeBytes = (all: 256 << 10, names: 64 << 10)

  /// The most bytes of a file: a whole number of blocks.
  let maximumBytes: Int

  // The only lock. Nothing is called out under it.
  private let state: Guarded<ScatterState>

  /// Makes an empty tree on a device.
  /// - Parameters:
  ///   - device: the image, all of it holes.
  ///   - user: who owns the root directory.
  ///   - group: the root directory's group.
  ///   - blockBytes: bytes of a block, a power of two, at least the device's logical block; nil for the larger of that
  ///     and 4096.
  ///   - seed: decides where data lies.
  ///   - mayOverwrite: accepts a device with data, for devices that cannot tell or that lose what is written.
  /// - Throws: `.exists` if the image has data, `.readOnlyFileSystem`, `.invalidArgument` for such a block size,
  ///   `.noSpace` for an image of less than a block, or why the image could not be looked at.
  public init(
    device: any BlockDevice, user: UInt32, group: UInt32, blockBytes: Int? = nil,
    seed: UInt64 = 8, mayOverwrite: Bool = false
  ) throws(Errno) {
    if device.isReadOnly { throw .readOnlyFileSystem }
    let least = max(512, device.limits.logicalBlockSize)
    let blockBytes = blockBytes ?? max(4096, least)
    if blockBytes < least || blockBytes & (blockBytes - 1) != 0 { throw .invalidArgument }
    if device.byteCount < blockBytes { throw .noSpace }
    if !mayOverwrite, try Self.hasData(device) { throw .exists }
    traits = VolumeTraits(answersAtOnce: true, blockBytes: blockBytes)
    maximumBytes = Int.max & ~(blockBytes - 1)
    var root = FileAttributes(
      inode: Self.rootInode, type: .directory, permissions: 0o755, user: user, group: group,
      size: 0, time: .now())
    root.blockSize = blockBytes
    state = Guarded(
      ScatterState(
        root: root, blockBytes: blockBytes,
        allocator: ScatterAllocator(blockCount: device.byteCount / blockBytes, seed: seed)))
  }

  private static func hasData(_ device: any BlockDevice) throws(Errno) -> Bool {
    do throws(Errno) {
      return try device.seek(offset: 0, whence: EXTRACTFS_SEEK_DATA) < device.byteCount
    } catch {
      if error == .noSuchAddress { return false }
      throw error
    }
  }

  /// Runs `body` with everything, alone.
  func locked<Answer: Sendable>(
    _ body: (inout ScatterState) throws(Errno) -> Answer
  ) throws(Errno) -> Answer {
    let result = state.withLock { state -> Result<Answer, Errno> in
      do throws(Errno) { return .success(try body(&state)) } catch { return .failure(error) }
    }
    return try result.get()
  }

  /// Runs a `body` that cannot fail with everything, alone.
  func locked<Answer: Sendable>(_ body: (inout ScatterState) -> Answer) -> Answer {
    state.withLock { body(&$0) }
  }

  // MARK: The whole

  /// Blocks and inodes.
  public func statistics() -> VolumeStatistics {
    locked { state in
      VolumeStatistics(
        blockSize: state.blockBytes, blocks: state.allocator.blockCount,
        freeBlocks: state.allocator.freeCount, files: Self.maximumInodes,
        freeFiles: max(0, Self.maximumInodes - state.nodes.count))
    }
  }

  /// Names are in memory; data has only to be flushed.
  public func prepareSync(_ scope: SyncScope) throws(Errno) -> Bool { true }

  /// The regular files that the kernel knows.
  public func cachedInodes() -> [UInt64] {
    locked { state in
      state.nodes.values.filter { $0.attributes.type == .regular && $0.lookups > 0 }
        .map(\.attributes.inode)
    }
  }

  /// Names are lost.
  public func end() throws(Errno) {}
}
