// Names as the system has them: bytes, any but NUL and slash.

/// A name in a directory.
public struct FileName: Hashable, Sendable {
  /// The bytes, without a NUL at the end.
  public let bytes: [UInt8]

  /// The most bytes of a name. Kernel: `NAME_MAX`.
  public static var maxBytes: Int { 255 }

  /// Wraps bytes.
  public init(bytes: [UInt8]) { self.bytes = bytes }

  /// A name that is text.
  public init(_ text: String) { bytes = Array(text.utf8) }

  /// The name for people; bytes that are no text become replacement characters.
  public var text: String { String(decoding: bytes, as: UTF8.self) }
}
