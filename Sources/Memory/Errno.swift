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
  /// ENXIO: nothing is there.
  @inlinable public static var noSuchAddress: Errno { Errno(rawValue: 6) }
  /// E2BIG: too much at once.
  @inlinable public static var tooBig: Errno { Errno(rawValue: 7) }
  /// EBADF: the file is not open for this.
  @inlinable public static var badDescriptor: Errno { Errno(rawValue: 9) }
  /// EACCES: the mode does not allow it.
  @inlinable public static var accessDenied: Errno { Errno(rawValue: 13) }
  /// EBUSY: in use.
  @inlinable public static var busy: Errno { Errno(rawValue: 16) }
  /// EEXIST: it is there already.
  @inlinable public static var exists: Errno { Errno(rawValue: 17) }
  /// ENOTDIR: not a directory.
  @inlinable public static var notDirectory: Errno { Errno(rawValue: 20) }
  /// EISDIR: a directory.
  @inlinable public static var isDirectory: Errno { Errno(rawValue: 21) }
  /// ENOTTY: no such ioctl for this file.
  @inlinable public static var notTypewriter: Errno { Errno(rawValue: 25) }
  /// EFBIG: beyond what the file can hold.
  @inlinable public static var fileTooBig: Errno { Errno(rawValue: 27) }
  /// EMLINK: too many links.
  @inlinable public static var tooManyLinks: Errno { Errno(rawValue: 31) }
  /// ERANGE: the answer does not fit.
  @inlinable public static var outOfRange: Errno { Errno(rawValue: 34) }
  /// ENAMETOOLONG: a name of more than 255 bytes.
  @inlinable public static var nameTooLong: Errno { Errno(rawValue: 36) }
  /// ENOSYS: nobody answers this request.
  @inlinable public static var notImplemented: Errno { Errno(rawValue: 38) }
  /// ENOTEMPTY: a directory that has names.
  @inlinable public static var notEmpty: Errno { Errno(rawValue: 39) }
  /// ENODATA: no such attribute.
  @inlinable public static var noData: Errno { Errno(rawValue: 61) }
  /// ECANCELED: somebody took it back.
  @inlinable public static var cancelled: Errno { Errno(rawValue: 125) }
  /// EREMOTEIO: a peer-to-peer page where none is allowed.
  @inlinable public static var remoteIO: Errno { Errno(rawValue: 121) }
}
