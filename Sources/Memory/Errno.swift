// The one error type of the project: an errno value, thrown typed.

/// A Linux error number, positive, as user space sees it.
public struct Errno: Error, Equatable, Hashable, Sendable, RawRepresentable {
  /// The number as in `errno.h`; positive.
  public let rawValue: Int32

  /// Wraps an error number.
  /// - Parameter rawValue: positive, as in `errno.h`.
  @inlinable public init(rawValue: Int32) { self.rawValue = rawValue }

  /// EPERM: the operation is not permitted.
  @inlinable public static var notPermitted: Errno { Errno(rawValue: 1) }
  /// ENOENT: no such file or directory.
  @inlinable public static var noSuchFile: Errno { Errno(rawValue: 2) }
  /// EINTR: a system call was interrupted.
  @inlinable public static var interrupted: Errno { Errno(rawValue: 4) }
  /// EIO: the device failed.
  @inlinable public static var ioError: Errno { Errno(rawValue: 5) }
  /// EAGAIN: nothing is ready now.
  @inlinable public static var wouldBlock: Errno { Errno(rawValue: 11) }
  /// ENOMEM: no memory, or no room in a table.
  @inlinable public static var noMemory: Errno { Errno(rawValue: 12) }
  /// EFAULT: an address is not mapped, or not with the access asked for.
  @inlinable public static var badAddress: Errno { Errno(rawValue: 14) }
  /// EINVAL: an argument is out of its range.
  @inlinable public static var invalidArgument: Errno { Errno(rawValue: 22) }
  /// ENOSPC: no room on the device.
  @inlinable public static var noSpace: Errno { Errno(rawValue: 28) }
  /// EROFS: the filesystem is read-only.
  @inlinable public static var readOnlyFileSystem: Errno { Errno(rawValue: 30) }
  /// EOPNOTSUPP: the operation is not supported here.
  @inlinable public static var notSupported: Errno { Errno(rawValue: 95) }
  /// EREMOTEIO: a peer-to-peer page where none is allowed.
  @inlinable public static var remoteIO: Errno { Errno(rawValue: 121) }
}
