// Several owners on one ring: each marks its entries with its tag, and one place hands completions out.

import Memory

/// Somebody whose entries are on a ring.
public protocol CompletionOwner: AnyObject {
  /// Takes a completion.
  /// - Parameters:
  ///   - data: what the entry was marked with, without the owner's tag.
  ///   - result: bytes, or a negative errno.
  func complete(_ data: UInt64, result: Int32)
}

/// A place in the table of owners. Nothing is counted on the way to an owner: who is in the table takes itself out.
struct OwnerPlace {
  // Unowned, since every owner holds the ring.
  unowned(unsafe) var owner: (any CompletionOwner)?
  init() { unsafe owner = nil }
}

extension IORing {
  /// Where the owner's tag begins in a mark.
  static var tagShift: UInt64 { 56 }

  /// Enters an owner. It must stay until `removeOwner`.
  /// - Returns: the owner's tag; its entries are marked with it, and any number below 2⁵⁶ of the owner's own.
  public func addOwner(_ owner: any CompletionOwner) -> UInt64 {
    for place in 0..<owners.count where unsafe owners[place].owner == nil {
      unsafe owners[place].owner = owner
      return UInt64(place) << Self.tagShift
    }
    preconditionFailure("a ring has no place for another owner")
  }

  /// Takes an owner out: what still comes for it is dropped.
  public func removeOwner(_ tag: UInt64) { unsafe owners[Int(tag >> Self.tagShift)].owner = nil }

  /// Takes every completion that is there and hands it to its owner: the one place where completions come in.
  /// - Returns: how many there were.
  @discardableResult
  public func dispatch() -> Int {
    var count = 0
    while let completion = nextCompletion() {
      count &+= 1
      let owner = unsafe owners[Int(completion.data >> Self.tagShift)].owner
      owner?.complete(
        completion.data & (1 << Self.tagShift &- 1), result: completion.result)
    }
    return count
  }
}

/// A descriptor that a ring watches: tells once, each time it was armed, that there is something to read.
@safe public final class DescriptorWatch: CompletionOwner {
  private let ring: IORing
  private let descriptor: Int32
  private var tag: UInt64 = 0
  /// Whether the ring will tell.
  public private(set) var isArmed = false
  /// Set when the descriptor could be read; the user clears it.
  public var hasFired = false

  /// Prepares to watch; nothing is armed yet.
  public init(_ descriptor: Int32, on ring: IORing) {
    self.ring = ring
    self.descriptor = descriptor
    tag = ring.addOwner(self)
  }

  deinit { ring.removeOwner(tag) }

  /// Asks to be told, unless that is so already. Goes to the kernel with the ring's next submission.
  public func arm() {
    if isArmed { return }
    isArmed = true
    ring.poll(descriptor, data: tag)
  }

  /// Takes the news, whatever it is: a read of the descriptor shows.
  public func complete(_ data: UInt64, result: Int32) {
    isArmed = false
    hasFired = true
  }
}
