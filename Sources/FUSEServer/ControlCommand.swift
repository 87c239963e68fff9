// The language of the `control` file: one command a line, `verb key=value …`.

import DirectIO
import IOVector
import Memory

/// Why a command was refused.
struct ControlError: Error {
  let code: Errno
  let message: String

  init(code: Errno, message: String) {
    self.code = code
    self.message = message
  }

  /// An error that needs no more words than its name.
  init(_ code: Errno) { self.init(code: code, message: describeErrno(code.rawValue)) }

  static func invalid(_ message: String) -> ControlError {
    ControlError(code: .invalidArgument, message: message)
  }
}

/// One command.
enum ControlCommand {
  /// What `set` changes; nil stays as it is.
  struct ShapeChange {
    var kind: IOVIter.Kind?
    var cleanup: CleanupPolicy?
    var era: Era?
    var alignment: AlignmentPolicy?
    var needsStablePages: Bool?
    var bugs: ModelBugs?
    var watchesBuffers: Bool?
    var holdMilliseconds: Int?
  }

  case resetStatistics
  case set(ShapeChange)
  case flush
  case freeze
  case thaw
  case drop
  case migrate
  case checkpoint(String)
  /// For `extractfs umount` only: where the last word goes.
  case farewell(String)

  /// Reads commands; all are read before any is done, so a bad line changes nothing.
  /// - Throws: EINVAL with what is wrong.
  static func parse(_ text: String) throws(ControlError) -> [ControlCommand] {
    var commands: [ControlCommand] = []
    for line in text.split(whereSeparator: \.isNewline) {
      let words = line.split(whereSeparator: \.isWhitespace).map(String.init)
      if words.isEmpty || words[0].hasPrefix("#") { continue }
      commands.append(try parse(words: words))
    }
    if commands.isEmpty { throw .invalid("no command; read `help` for the verbs") }
    return commands
  }

  private static func parse(words: [String]) throws(ControlError) -> ControlCommand {
    let arguments = Array(words.dropFirst())
    switch (words[0], arguments.count) {
    case ("reset", 1) where arguments[0] == "stats": return .resetStatistics
    case ("set", 1...): return .set(try parseShape(arguments))
    case ("flush", 0): return .flush
    case ("freeze", 0): return .freeze
    case ("thaw", 0): return .thaw
    case ("drop", 0): return .drop
    case ("migrate", 0): return .migrate
    case ("farewell", 1): return .farewell(arguments[0])
    case ("checkpoint", 1): return .checkpoint(arguments[0])
    case ("reset", _), ("set", _), ("flush", _), ("freeze", _), ("thaw", _), ("drop", _),
      ("migrate", _), ("checkpoint", _):
      throw .invalid("wrong arguments for \(words[0]); read `help`")
    default: throw .invalid("unknown verb \(words[0]); read `help` for the verbs")
    }
  }

  private static func parseShape(_ settings: [String]) throws(ControlError) -> ShapeChange {
    var change = ShapeChange()
    for setting in settings {
      let parts = setting.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2 else { throw .invalid("\(setting) is not key=value") }
      do throws(ShapeOptionError) {
        switch parts[0] {
        case "iter": change.kind = try ShapeOption.kind(parts[1])
        case "cleanup": change.cleanup = try ShapeOption.cleanup(parts[1])
        case "era": change.era = try ShapeOption.era(parts[1])
        case "alignment": change.alignment = try ShapeOption.alignment(parts[1])
        case "stable": change.needsStablePages = try ShapeOption.stable(parts[1])
        case "bug": change.bugs = try ShapeOption.bugs(parts[1])
        case "watch": change.watchesBuffers = try ShapeOption.watch(parts[1])
        case "hold": change.holdMilliseconds = try ShapeOption.hold(parts[1])
        default:
          throw ShapeOptionError(
            message: "unknown key \(parts[0]); set knows iter, cleanup, era, alignment, stable, "
              + "bug, watch, hold")
        }
      } catch {
        throw .invalid(error.message)
      }
    }
    return change
  }

  static let help = """
    One command a line; a write returns when it is in force. Read `control` for the last reply.

    reset stats           makes the present figures the new zero     reset stats
    set iter=KIND         iterator made of each request's buffer:    set iter=bvec
                          ubuf iovec kvec bvec xarray pipe folioq
    set cleanup=MODE      auto asks the iterator; pin, get, none     set cleanup=get
                          force a mode
    set era=ERA           whose rules are followed:                  set era=merged
                          v8      pins for user memory, all else is listed
                          get     before the series: a reference on every page;
                                  kvec cannot be held and is copied
                          merged  as v8, but the zero page is never pinned
                          6.12, 6.18, 7.3  those kernels; auto: the running one
    set alignment=kernel  refuse what the era's kernel refuses       set alignment=kernel
                          (accept: bounce it)
    set stable=on         pages must not change: 7.3 copies          set stable=on
    set bug=NAME          a bug of the model, to see the ledger      set bug=none
                          name it: release-one-short, double-release,
                          ref-instead-of-pin, merge-keeps-pin; none
    set watch=buffers     look whether programs change their buffers   set watch=buffers
                          while direct writes from them are under way
                          (`unstable` names them); off
    set hold=MS           keep direct writes in flight so much longer  set hold=20
                          while buffers are watched
    flush                 makes what was written durable             flush
    freeze                holds new writes, waits for those under    freeze
                          way, flushes
    thaw                  lets held writes go                        thaw
    drop                  drops the kernel's cached pages of files,  drop
                          not while the mount is frozen
    migrate               tries to move the pages that requests hold   migrate
                          now; `pins` tells who was in the way, and
                          when it let go
    checkpoint NAME       flushes and keeps the figures under a      checkpoint after-load
                          name in stats.json

    Several keys may stand after one `set`. What is set holds from the next request on.

    """
}

/// A value that an option or `set` does not know.
public struct ShapeOptionError: Error {
  /// One line that says which and what would do.
  public let message: String

  /// Wraps the line.
  public init(message: String) { self.message = message }
}

/// The spelling of the shape's settings, for mount options and `control` alike.
public enum ShapeOption {
  /// An iterator kind by its name.
  public static func kind(_ text: String) throws(ShapeOptionError) -> IOVIter.Kind {
    let kinds: [IOVIter.Kind] = [.ubuf, .iovec, .kvec, .bvec, .xarray, .pipe, .folioq]
    if let kind = kinds.first(where: { $0.name == text }) { return kind }
    throw ShapeOptionError(
      message: "iter=\(text): use one of \(kinds.map(\.name).joined(separator: ", "))")
  }

  /// A cleanup policy by its name.
  public static func cleanup(_ text: String) throws(ShapeOptionError) -> CleanupPolicy {
    let policies: [CleanupPolicy] = [.auto, .pin, .get, .none]
    if let policy = policies.first(where: { $0.rawValue == text }) { return policy }
    throw ShapeOptionError(
      message: "cleanup=\(text): use one of \(policies.map(\.rawValue).joined(separator: ", "))")
  }

  /// An era by its name.
  public static func era(_ text: String) throws(ShapeOptionError) -> Era {
    if let era = Era(rawValue: text) { return era }
    throw ShapeOptionError(
      message: "era=\(text): use one of \(Era.names.joined(separator: ", "))")
  }

  /// What becomes of a buffer that does not suit the device, by its name.
  public static func alignment(_ text: String) throws(ShapeOptionError) -> AlignmentPolicy {
    if let policy = AlignmentPolicy(rawValue: text) { return policy }
    throw ShapeOptionError(message: "alignment=\(text): use one of accept, kernel")
  }

  /// Whether pages must not change in flight.
  public static func stable(_ text: String) throws(ShapeOptionError) -> Bool {
    if text == "on" || text == "off" { return text == "on" }
    throw ShapeOptionError(message: "stable=\(text): use one of off, on")
  }

  /// Whether clients' buffers are looked at.
  public static func watch(_ text: String) throws(ShapeOptionError) -> Bool {
    if text == "buffers" { return true }
    if text == "off" { return false }
    throw ShapeOptionError(message: "watch=\(text): use one of off, buffers")
  }

  /// For how many milliseconds longer a direct write is kept in flight.
  public static func hold(_ text: String) throws(ShapeOptionError) -> Int {
    if let number = Int(text), (0...BufferWatch.longestHold).contains(number) { return number }
    throw ShapeOptionError(
      message: "hold=\(text): must be a number of milliseconds from 0 to \(BufferWatch.longestHold)"
    )
  }

  /// Bugs that a mount can be given, by name: those of extraction, bios and release.
  static func bugs(_ text: String) throws(ShapeOptionError) -> ModelBugs {
    if text == "none" { return [] }
    let offered: ModelBugs = [.releaseOneShort, .doubleRelease, .refInsteadOfPin, .mergeKeepsPin]
    if let bug = ModelBugs(name: text), offered.contains(bug) { return bug }
    throw ShapeOptionError(
      message: "bug=\(text): use none or one of \(offered.names.joined(separator: ", "))")
  }
}
