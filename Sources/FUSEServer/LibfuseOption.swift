// Values of mount options as libfuse's own reader wants them.

/// Writes an option's value so that it arrives byte for byte.
///
/// `fuse_opt_parse()` (lib/fuse_opt.c, libfuse 3.14) ends an option at a comma, drops a backslash and takes what follows it
/// as it is, three octal digits as one byte. So whatever is not plain is written in octal. libfuse escapes the value once
/// more for fusermount3, and the kernel takes any bytes as a mount's source; /proc shows them in octal again.
public enum LibfuseOption {
  /// A value as libfuse reads it.
  public static func escaped(_ value: [UInt8]) -> String {
    value.map { isPlain($0) ? String(Unicode.Scalar($0)) : "\\" + octal($0) }.joined()
  }

  /// Three octal digits.
  public static func octal(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 8)
    return String(repeating: "0", count: 3 - digits.count) + digits
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
      UInt8(ascii: "A")...UInt8(ascii: "Z"):
      true
    default: "/._-+:@%~".utf8.contains(byte)
    }
  }
}
