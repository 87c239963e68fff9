// The checksum of the vectors: CRC-32 of IEEE 802.3, as in zlib.

/// Adds bytes to a CRC-32.
struct CRC32 {
  private static let table: [UInt32] = (0..<256).map { (byte: UInt32) in
    (0..<8).reduce(byte) { value, _ in value & 1 == 1 ? value >> 1 ^ 0xedb8_8320 : value >> 1 }
  }

  /// The checksum of some bytes.
  static func of(_ bytes: some Sequence<UInt8>) -> Int {
    var value: UInt32 = .max
    for byte in bytes {
      value = table[Int(UInt8(truncatingIfNeeded: value) ^ byte)] ^ value >> 8
    }
    return Int(~value)
  }
}
