// The names of one directory, in the order in which they were made.

import Memory

/// Names and what they lead to. Each has a cookie that is larger than all before it and never used again, so a listing
/// neither skips nor repeats a name, whatever is made or removed meanwhile.
struct ScatterDirectory: Sendable {
  /// A name's place in the order.
  struct Slot: Sendable {
    let cookie: UInt64
    let name: FileName
    var inode: UInt64
    /// Whether it was not removed.
    var isLive = true
  }

  /// The directory that this one lies in.
  var parent: UInt64
  /// The cookie of the latest name, or 0.
  private(set) var latestCookie: UInt64 = 0
  private var cookies: [FileName: UInt64] = [:]
  // Sorted by cookie; removed ones stay until they are the most.
  private var slots: [Slot] = []

  /// An empty directory.
  init(parent: UInt64) { self.parent = parent }

  /// Whether it has no names.
  var isEmpty: Bool { cookies.isEmpty }
  /// Names.
  var count: Int { cookies.count }

  /// What a name leads to, or nil.
  func inode(of name: FileName) -> UInt64? {
    guard let cookie = cookies[name] else { return nil }
    return slots[index(behind: cookie - 1)].inode
  }

  /// Adds a name that is not there.
  mutating func add(_ name: FileName, _ inode: UInt64) {
    latestCookie += 1
    let former = cookies.updateValue(latestCookie, forKey: name)
    precondition(former == nil, "a name was made twice")
    slots.append(Slot(cookie: latestCookie, name: name, inode: inode))
  }

  /// Lets a name that is there lead elsewhere; it keeps its place in the order.
  mutating func redirect(_ name: FileName, to inode: UInt64) {
    guard let cookie = cookies[name] else { preconditionFailure("a name is not there") }
    slots[index(behind: cookie - 1)].inode = inode
  }

  /// Removes a name that is there.
  mutating func remove(_ name: FileName) {
    guard let cookie = cookies.removeValue(forKey: name) else {
      preconditionFailure("a name is not there")
    }
    slots[index(behind: cookie - 1)].isLive = false
    if slots.count > 2 * cookies.count + 16 { slots.removeAll { !$0.isLive } }
  }

  /// The names behind one, in order.
  /// - Parameters:
  ///   - cookie: of the name before them, or 0.
  ///   - last: the last cookie to be listed.
  ///   - limit: the most names.
  func slots(behind cookie: UInt64, upTo last: UInt64, limit: Int) -> [Slot] {
    var found: [Slot] = []
    var index = index(behind: cookie)
    while index < slots.count, slots[index].cookie <= last, found.count < limit {
      if slots[index].isLive { found.append(slots[index]) }
      index += 1
    }
    return found
  }

  /// The place of the first slot with a larger cookie.
  private func index(behind cookie: UInt64) -> Int {
    var low = 0
    var high = slots.count
    while low < high {
      let middle = (low + high) / 2
      if slots[middle].cookie > cookie { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
