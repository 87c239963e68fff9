// Names as the system has them: any bytes but zero. Text is made of them for people only.

import ArgumentParser
import FUSEServer
import Glibc

/// Command-line words on their way through a parser that knows text only.
///
/// A `String` made of bytes that are no UTF-8 has other bytes. So each such byte travels as a scalar of its own, from the
/// end of the last private plane; a name that really has these scalars travels byte by byte as well.
enum ArgumentText {
  private static let firstScalar: UInt32 = 0x10_FF00

  /// The words that this process was started with, without its own name.
  static var arguments: [String] {
    (1..<max(1, Int(CommandLine.argc))).compactMap { index in
      guard let word = unsafe CommandLine.unsafeArgv[index] else { return nil }
      let length = unsafe strlen(word)
      return unsafe text(
        Array(UnsafeRawBufferPointer(start: UnsafeRawPointer(word), count: length)))
    }
  }

  /// Text for bytes.
  static func text(_ bytes: [UInt8]) -> String {
    var text = String.UnicodeScalarView()
    forEachPiece(of: bytes) { scalar, piece in
      if let scalar, scalar.value < firstScalar {
        text.append(scalar)
      } else {
        for byte in piece {
          if let scalar = Unicode.Scalar(firstScalar + UInt32(byte)) { text.append(scalar) }
        }
      }
    }
    return String(text)
  }

  /// The bytes that text stands for.
  static func bytes(_ text: String) -> [UInt8] {
    text.unicodeScalars.flatMap { scalar in
      scalar.value >= firstScalar
        ? [UInt8(truncatingIfNeeded: scalar.value)] : Array(String(scalar).utf8)
    }
  }

  /// Bytes for people, on one line, such that different bytes look different: what is no text, and the backslash, in octal,
  /// as in /proc/mounts.
  static func shown(_ bytes: [UInt8]) -> String {
    var text = ""
    forEachPiece(of: bytes) { scalar, piece in
      if let scalar, isPrintable(scalar) {
        text.unicodeScalars.append(scalar)
      } else {
        for byte in piece { text += "\\" + LibfuseOption.octal(byte) }
      }
    }
    return text
  }

  /// A message that may quote words of the command line, for people: bytes that are no text in octal, all else as it is.
  static func shownMessage(_ text: String) -> String {
    if text.unicodeScalars.allSatisfy({ $0.value < firstScalar }) { return text }
    return text.unicodeScalars.map { scalar in
      scalar.value >= firstScalar
        ? "\\" + LibfuseOption.octal(UInt8(truncatingIfNeeded: scalar.value)) : String(scalar)
    }.joined()
  }

  private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
    if scalar == "\\" { return false }
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .unassigned, .privateUse:
      return false
    default: return true
    }
  }

  /// Cuts bytes into scalars, and pieces that are none.
  private static func forEachPiece(
    of bytes: [UInt8], _ body: (Unicode.Scalar?, ArraySlice<UInt8>) -> Void
  ) {
    var position = 0
    var iterator = bytes.makeIterator()
    var parser = Unicode.UTF8.ForwardParser()
    while true {
      switch parser.parseScalar(from: &iterator) {
      case .valid(let encoded):
        body(Unicode.UTF8.decode(encoded), bytes[position..<position + encoded.count])
        position += encoded.count
      case .error(let length):
        body(nil, bytes[position..<position + length])
        position += length
      case .emptyInput: return
      }
    }
  }
}

/// A path, byte for byte.
struct SystemPath: Hashable, ExpressibleByArgument {
  /// Its bytes, none of them zero.
  let bytes: [UInt8]

  /// Wraps bytes; what follows a zero is left out, as the system would.
  init(_ bytes: [UInt8]) { self.bytes = Array(bytes.prefix { $0 != 0 }) }

  /// Wraps text.
  init(_ text: String) { self.init(Array(text.utf8)) }

  init?(argument: String) {
    self.init(ArgumentText.bytes(argument))
    if bytes.isEmpty { return nil }
  }

  /// For people, on one line.
  var shown: String { ArgumentText.shown(bytes) }

  /// The path as text, or nil if it is none.
  var text: String? { String(validating: bytes, as: UTF8.self) }

  /// For a shell that is to be given it, on one line.
  var quoted: String {
    let plain = bytes.allSatisfy {
      $0 > 0x20 && $0 < 0x7f && !"'\"\\$`&|;<>()*?[]#~!".utf8.contains($0)
    }
    return plain ? shown : "'\(shown)'"
  }

  /// Gives the system's form.
  func withCString<Result>(_ body: (UnsafePointer<CChar>) throws -> Result) rethrows -> Result {
    let characters = bytes.map { CChar(bitPattern: $0) } + [0]
    return try unsafe characters.withUnsafeBufferPointer { buffer in
      guard let start = buffer.baseAddress else { preconditionFailure("a path without its zero") }
      return try unsafe body(start)
    }
  }

  /// A path below this one.
  func appending(_ name: String) -> SystemPath {
    SystemPath(bytes + [UInt8(ascii: "/")] + name.utf8)
  }

  /// Whether this is `other`, or lies below it.
  func isAtOrBelow(_ other: SystemPath) -> Bool {
    if bytes == other.bytes || other.bytes == [UInt8(ascii: "/")] { return true }
    return bytes.starts(with: other.bytes + [UInt8(ascii: "/")])
  }

  /// open(2): a descriptor, or -1 with errno set.
  func open(_ flags: Int32, mode: mode_t = 0) -> Int32 {
    unsafe withCString { unsafe Glibc.open($0, flags | O_CLOEXEC, mode) }
  }

  /// Where a symbolic link points, or nil.
  var linkTarget: SystemPath? {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = unsafe withCString { path in
      unsafe buffer.withUnsafeMutableBytes { bytes in
        guard let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: CChar.self) else {
          return -1
        }
        return unsafe readlink(path, start, bytes.count)
      }
    }
    return count < 0 ? nil : SystemPath(Array(buffer[..<count]))
  }

  /// The path without links, or nil with errno set. Asks every filesystem on the way, which may not answer.
  var resolved: SystemPath? {
    unsafe withCString { path in
      guard let result = unsafe realpath(path, nil) else { return nil }
      defer { unsafe free(result) }
      return unsafe SystemPath(
        Array(UnsafeRawBufferPointer(start: UnsafeRawPointer(result), count: strlen(result))))
    }
  }
}

/// All bytes of a file, as of /proc, or nil with errno set.
func contents(of path: SystemPath) -> [UInt8]? {
  let descriptor = path.open(O_RDONLY)
  if descriptor < 0 { return nil }
  defer { close(descriptor) }
  return contents(of: descriptor)
}

/// All bytes that a descriptor gives until its end, or nil with errno set.
func contents(of descriptor: Int32) -> [UInt8]? {
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 64 << 10)
  while true {
    let count = unsafe read(descriptor, &buffer, buffer.count)
    if count > 0 { bytes += buffer[..<count] }
    if count == 0 { return bytes }
    if count < 0 && errno != EINTR { return nil }
  }
}
