// The state of `top`: samples in, lines of text out. It knows no terminal and no mount.

/// How a line is to look.
public enum TopStyle: Sendable { case title, heading, plain, alarm }

/// A line of the screen.
public struct TopLine: Sendable, Equatable {
  /// Exactly as many columns as the screen has.
  public var text: String
  /// How it is to look.
  public var style: TopStyle
}

/// What the screen is like.
public struct TopScreen: Sendable {
  /// Columns.
  public var width: Int
  /// Lines; nil for as many as it takes.
  public var height: Int?
  /// Whether bars can be drawn with Unicode's block elements.
  public var isUnicode: Bool

  /// Describes a screen.
  public init(width: Int, height: Int?, isUnicode: Bool) {
    self.width = width
    self.height = height
    self.isUnicode = isUnicode
  }
}

/// What the keys do.
public enum TopKey: Character, CaseIterable, Sendable {
  case quit = "q"
  case pause = "p"
  case sortFiles = "s"
  case sortHolders = "h"
  /// Forgets the history.
  case reset = "r"
  /// Makes the mount's figures begin anew as well.
  case resetMount = "R"
  case faster = "+"
  case slower = "-"
}

/// Follows a mount.
public struct TopView: Sendable {
  /// What files are sorted by.
  public enum FileOrder: String, CaseIterable, Sendable { case bytes, requests, inode }
  /// What holders are sorted by.
  public enum HolderOrder: String, CaseIterable, Sendable { case age, pages, length }

  /// The mount's name, for the title.
  let name: String
  /// Seconds between two samples.
  public var interval: Double
  /// Whether new samples are left aside.
  public private(set) var isPaused = false
  /// What files are sorted by.
  public private(set) var fileOrder = FileOrder.bytes
  /// What holders are sorted by.
  public private(set) var holderOrder = HolderOrder.age
  /// A word for the user, shown until the next sample.
  public var note = ""
  /// Paths of inodes, as far as they are known.
  public var paths: [Int: String] = [:]
  private var last: TopSample?
  private(set) var shown: TopInterval?
  private(set) var histories: [String: History] = [:]

  /// Starts without a sample.
  public init(name: String, interval: Double) {
    self.name = name
    self.interval = interval
  }

  /// Whether there is an interval to show: two samples.
  public var hasInterval: Bool { shown != nil }

  /// Inodes whose paths the screen would like to show.
  public var inodes: Set<Int> {
    guard let shown else { return [] }
    return Set(shown.fileRates.map(\.inode) + shown.now.holders.map(\.inode))
  }

  /// Takes the next sample.
  public mutating func take(_ sample: TopSample) {
    if isPaused { return }
    note = ""
    defer { last = sample }
    guard let last else { return }
    let interval = TopInterval(from: last, to: sample)
    shown = interval
    let values: [(String, Double)] = [
      ("read", interval.rate("requests_read")), ("write", interval.rate("requests_write")),
      ("flush", interval.frequency(of: "flush_latency_ns")),
      ("pin", Double(interval.level("sim_pages_pinned"))),
      ("get", Double(interval.level("sim_pages_reffed"))),
      ("none", interval.rate("sim_pages_listed")),
      ("depth", Double(interval.level("requests_inflight"))),
    ]
    for (name, value) in values { histories[name, default: History()].append(value) }
  }

  /// Does what a key says about the view; `quit` and `resetMount` are for the caller.
  public mutating func press(_ key: TopKey) {
    switch key {
    case .pause:
      isPaused.toggle()
      // The time of the pause is nobody's interval.
      last = nil
    case .sortFiles: fileOrder = Self.next(fileOrder)
    case .sortHolders: holderOrder = Self.next(holderOrder)
    case .reset, .resetMount:
      histories = [:]
      last = nil
    case .faster: interval = max(0.1, interval / 2)
    case .slower: interval = min(60, interval * 2)
    case .quit: break
    }
  }

  private static func next<Order: CaseIterable & Equatable>(_ order: Order) -> Order
  where Order.AllCases == [Order] {
    let all = Order.allCases
    let place = all.firstIndex(of: order) ?? 0
    return all[(place + 1) % all.count]
  }
}
