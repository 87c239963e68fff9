// The memory behind a mount: one mapping, in huge pages where the machine gives them.

import Glibc

/// One anonymous mapping, aligned to 2 MiB, populated, that never moves.
@safe public final class Arena: @unchecked Sendable {
  // Guard of the unchecked Sendable: the fields never change; the bytes belong to whoever owns the request.
  @usableFromInline let base: UnsafeMutableRawPointer
  private let mapping: UnsafeMutableRawPointer
  private let mappingBytes: Int
  /// Usable bytes: a multiple of 2 MiB.
  public let byteCount: Int
  /// Bytes at the start that are populated, the rest gets memory when first touched: a multiple of 2 MiB.
  public let populatedByteCount: Int
  /// Which 2 MiB parts of the arena are huge pages, by number.
  public let hugePageIndexes: [Int]

  /// Bytes of a huge page.
  @inlinable public static var hugePageSize: Int { 2 << 20 }

  /// Maps memory and populates the first part of it.
  /// - Parameters:
  ///   - byteCount: bytes to populate, rounded up to 2 MiB.
  ///   - lazyByteCount: bytes behind them that get memory, in small pages, when first touched.
  ///   - hugePages: whether huge pages are asked for.
  /// - Throws: `.noMemory` if the kernel refuses.
  public init(
    byteCount: Int, lazyByteCount: Int = 0, hugePages: Bool = true
  ) throws(Errno) {
    let huge = Self.hugePageSize
    let populated = (byteCount + huge - 1) / huge * huge
    let size = populated + (lazyByteCount + huge - 1) / huge * huge
    let mapped = unsafe mmap(
      nil, size + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else { throw .noMemory }
    let skip = (huge - Int(bitPattern: mapped) % huge) % huge
    unsafe mapping = unsafe mapped
    mappingBytes = size + huge
    unsafe base = mapped + skip
    self.byteCount = size
    populatedByteCount = populated
    _ = unsafe madvise(base, populated, hugePages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE)
    _ = unsafe madvise(base + populated, size - populated, MADV_NOHUGEPAGE)
    for offset in stride(from: 0, to: populated, by: pageSize) {
      unsafe base.storeBytes(of: 0, toByteOffset: offset, as: UInt8.self)
    }
    unsafe hugePageIndexes =
      hugePages ? Self.hugeParts(at: base, byteCount: populated) : []
  }

  deinit { _ = unsafe munmap(mapping, mappingBytes) }

  /// The arena's start, for those who hand its memory to the kernel.
  @unsafe public var start: UnsafeMutableRawPointer { unsafe base }

  /// Asks the kernel which parts it backed by huge pages: all of them, or, if any is missing, none.
  ///
  /// `AnonHugePages` of the mapping in /proc/self/smaps tells bytes, not places; so only a mapping that
  /// is huge throughout is modelled in large folios.
  private static func hugeParts(at base: UnsafeMutableRawPointer, byteCount: Int) -> [Int] {
    let start = UInt(bitPattern: base)
    guard let file = unsafe fopen("/proc/self/smaps", "re") else { return [] }
    defer { unsafe fclose(file) }
    var line: UnsafeMutablePointer<CChar>?
    var capacity = 0
    defer { unsafe free(line) }
    var inside = false
    var hugeBytes = 0
    while unsafe getline(&line, &capacity, file) > 0 {
      guard let text = unsafe line.map({ unsafe String(cString: $0) }) else { break }
      if let range = addressRange(text) {
        inside = range.overlaps(start..<start + UInt(byteCount))
      } else if inside, text.hasPrefix("AnonHugePages:") {
        hugeBytes += (Int(text.split(separator: " ").dropFirst().first ?? "0") ?? 0) << 10
      }
    }
    return hugeBytes >= byteCount ? Array(0..<byteCount / hugePageSize) : []
  }

  /// The addresses at the head of an entry of smaps, or nil for its other lines.
  private static func addressRange(_ line: String) -> Range<UInt>? {
    let bounds = line.prefix { $0 != " " }.split(separator: "-")
    guard bounds.count == 2, let low = UInt(bounds[0], radix: 16),
      let high = UInt(bounds[1], radix: 16), low < high
    else { return nil }
    return low..<high
  }
}
