// Where a range of a file lies: extents of the device, each with its kind, in the file's order.

/// What stands behind a part of a file.
///
/// Kernel: `IOMAP_HOLE`, `IOMAP_MAPPED`, `IOMAP_UNWRITTEN` and the flag `IOMAP_F_NEW`, include/linux/iomap.h, v6.6.
public enum ExtentKind: UInt8, CaseIterable, BitwiseCopyable, Sendable {
  /// Data on the device.
  case mapped
  /// Nothing: it reads as zeroes, and cannot be written before the volume has given it blocks.
  case hole
  /// Blocks that were given to the file and never written: they read as zeroes whatever they hold.
  case unwritten
  /// Blocks that were given to the file for the write at hand.
  case new

  /// Whether what is around a write within a block is zeroes, and not what the device has there.
  var isFresh: Bool { self == .unwritten || self == .new }
}

/// A run of bytes on the device that belong to a file.
public struct Extent: Equatable, Sendable, BitwiseCopyable {
  /// Where the first byte is on the device. Without meaning for a hole.
  public var deviceOffset: Int
  /// Bytes.
  public var byteCount: Int
  /// What is there.
  public var kind: ExtentKind

  /// Puts an extent together.
  public init(deviceOffset: Int, byteCount: Int, kind: ExtentKind) {
    self.deviceOffset = deviceOffset
    self.byteCount = byteCount
    self.kind = kind
  }
}

/// The extents of a request, in the file's order, without gaps. One list a slot, made once.
///
/// The first and the last are cut to the request's bytes; in between they end at whole logical blocks. File and device
/// offset differ by whole logical blocks. An unwritten or new extent that is cut within a filesystem block stands for
/// the whole of that block, on the device as in the file.
public struct ExtentList: Sendable {
  private var extents: InlineArray<64, Extent>
  /// Extents in the list.
  public private(set) var count = 0

  /// The most extents of one request; a longer range is served as far as its list goes.
  @inlinable public static var capacity: Int { 64 }

  /// Makes an empty list.
  public init() {
    extents = InlineArray(repeating: Extent(deviceOffset: 0, byteCount: 0, kind: .hole))
  }

  /// Whether nothing more can be added.
  public var isFull: Bool { count == Self.capacity }

  /// Bytes of all extents.
  public var byteCount: Int {
    var sum = 0
    for index in 0..<count { sum &+= extents[index].byteCount }
    return sum
  }

  /// Makes the list empty.
  public mutating func removeAll() { count = 0 }

  /// Adds what follows in the file; an extent that goes on where the last one ends makes it longer.
  /// - Returns: whether there was room.
  @discardableResult public mutating func append(_ extent: Extent) -> Bool {
    precondition(extent.byteCount > 0, "an extent has no bytes")
    if count > 0 {
      let last = extents[count - 1]
      let follows = last.deviceOffset + last.byteCount == extent.deviceOffset
      if last.kind == extent.kind && (follows || extent.kind == .hole) {
        extents[count - 1].byteCount += extent.byteCount
        return true
      }
    }
    if isFull { return false }
    extents[count] = extent
    count += 1
    return true
  }

  /// Makes the list one extent.
  mutating func set(only extent: Extent) {
    extents[0] = extent
    count = 1
  }

  /// An extent, by its place.
  public subscript(index: Int) -> Extent {
    precondition(index < count, "a place outside the list")
    return extents[index]
  }
}
