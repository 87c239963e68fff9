// The control directory `.extractfs/`: a few files whose text is made when they are looked up.

import Memory

/// A file that is no text of one moment but goes on for as long as somebody reads.
public enum ControlStream: Sendable {
  /// Events, a line each.
  case text
  /// Events as `TraceRecord` has them.
  case records
}

/// One file of the control directory.
public struct ControlFile: Sendable {
  /// Takes what was written to a file, and calls the last argument once, maybe later, when it is in force or refused.
  public typealias Acceptor = @Sendable (String, @escaping @Sendable (Errno?) -> Void) -> Void

  /// Its name.
  public let name: String
  /// Permission bits.
  public let permissions: UInt32
  /// Makes the content.
  public let render: @Sendable () -> String
  /// Takes what was written, or nil for a file that cannot be written.
  public let accept: Acceptor?
  /// What streams out of it, or nil for a file that has a text.
  public let stream: ControlStream?

  /// Puts a file together.
  public init(
    name: String, permissions: UInt32, render: @escaping @Sendable () -> String,
    accept: Acceptor? = nil, stream: ControlStream? = nil
  ) {
    self.name = name
    self.permissions = permissions
    self.render = render
    self.accept = accept
    self.stream = stream
  }
}

/// The directory and its nodes; they lie far above the inodes of any volume.
///
/// Each look-up of a file makes a node of its own, with the text of that moment. So every open file has one text, and one
/// size, for as long as it lives; the kernel may cache its pages, and reading it is no direct I/O, which would pin the
/// reader's pages and so disturb what the figures are about. What programs see as the inode's number stays the same.
public final class ControlDirectory: Sendable {
  /// Whether and how users meet it.
  public enum Visibility: String, Sendable {
    /// Found by name, not listed.
    case hidden
    /// Listed in the root.
    case visible
    /// Not there at all.
    case off
  }

  /// Its name in the mount's root.
  public static let name = FileName(".extractfs")
  /// The directory's own node; those of its files follow.
  @inlinable public static var inode: UInt64 { 1 << 62 }

  /// Whether and how users meet it.
  public let visibility: Visibility
  private let files: [ControlFile]
  private let owner: (user: UInt32, group: UInt32)
  private let made = Timestamp.now()
  private let nodes = Guarded(Nodes())

  private struct Node {
    let file: Int
    let text: [UInt8]
    let time: Timestamp
  }

  /// Bounded by what the kernel has in its cache: it forgets a node when its last file is closed.
  private struct Nodes {
    var next: UInt64 = 0
    var byNumber: [UInt64: Node] = [:]
  }

  /// Makes the directory.
  public init(files: [ControlFile], visibility: Visibility, user: UInt32, group: UInt32) {
    self.files = files
    self.visibility = visibility
    owner = (user, group)
  }

  /// Whether a node belongs to the control directory.
  @inlinable public static func owns(_ node: UInt64) -> Bool { node >= inode }

  /// Nodes of files begin above the numbers that programs see.
  private static var firstNode: UInt64 { inode + 4096 }

  // MARK: Nodes

  /// Finds a file by name and makes a node of it. Throws `.noSuchFile`.
  /// - Returns: the node, and what programs see of it.
  public func lookup(
    _ name: FileName
  ) throws(Errno) -> (node: UInt64, attributes: FileAttributes) {
    guard let index = files.firstIndex(where: { $0.name == name.text }) else { throw .noSuchFile }
    let text = Array(files[index].render().utf8)
    let node = Node(file: index, text: text, time: .now())
    let number = nodes.withLock { nodes in
      let number = Self.firstNode + nodes.next
      nodes.next += 1
      nodes.byNumber[number] = node
      return number
    }
    return (number, describe(node))
  }

  /// The kernel has no use for a node any more.
  public func forget(_ node: UInt64) {
    nodes.withLock { _ = $0.byNumber.removeValue(forKey: node) }
  }

  private func node(_ number: UInt64) throws(Errno) -> Node {
    guard let node = nodes.withLock({ $0.byNumber[number] }) else { throw .noSuchFile }
    return node
  }

  /// The file behind a node. Throws `.noSuchFile`, or `.isDirectory` for the directory.
  public func file(_ number: UInt64) throws(Errno) -> ControlFile {
    if number == Self.inode { throw .isDirectory }
    return files[try node(number).file]
  }

  /// The text that a node has.
  public func text(_ number: UInt64) throws(Errno) -> [UInt8] { try node(number).text }

  /// Makes a node's text anew, after something was written to it.
  public func refresh(_ number: UInt64) {
    nodes.withLock { nodes in
      guard let old = nodes.byNumber[number] else { return }
      nodes.byNumber[number] = Node(
        file: old.file, text: Array(files[old.file].render().utf8), time: .now())
    }
  }

  /// Attributes of the directory or of a node.
  public func attributes(of number: UInt64) throws(Errno) -> FileAttributes {
    if number != Self.inode { return describe(try node(number)) }
    var directory = FileAttributes(
      inode: number, type: .directory, permissions: 0o555, user: owner.user, group: owner.group,
      size: 0, time: made)
    directory.linkCount = 2
    return directory
  }

  private func describe(_ node: Node) -> FileAttributes {
    FileAttributes(
      inode: Self.inode + UInt64(node.file) + 1, type: .regular,
      permissions: files[node.file].permissions, user: owner.user, group: owner.group,
      size: node.text.count, time: node.time)
  }

  /// The names of its files, from a cookie on. Streams are found by name only: who copies or searches the directory
  /// would wait in one for ever.
  public func list(from cookie: UInt64, _ body: (DirectoryEntry) -> Bool) {
    for (index, file) in files.enumerated().dropFirst(Int(min(cookie, 1 << 20)))
    where file.stream == nil {
      let entry = DirectoryEntry(
        name: FileName(file.name), inode: Self.inode + UInt64(index) + 1, type: .regular,
        cookie: UInt64(index) + 1)
      if !body(entry) { return }
    }
  }
}
