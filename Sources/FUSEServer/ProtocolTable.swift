// What is done about each part of the FUSE protocol, in one table: every opcode, flag and field of Linux 6.18's
// include/uapi/linux/fuse.h (protocol 7.45). A promise that nobody reads is a promise broken, so nothing may be left
// out: tests hold the table against number ranges and against the header that is installed.

/// What is done about one part of the protocol.
enum ProtocolAnswer: Equatable, Sendable {
  /// A function of ours does what is asked; its name without brackets, then what it does.
  case heeded(by: String, String)
  /// libfuse 3.14 does what is asked, and how.
  case library(String)
  /// It is refused, or was never asked for at INIT, and why.
  case declined(String)
  /// It says nothing that matters here, and why.
  case unused(String)
  /// It ought to be heeded and is not: what should be done.
  case missing(String)

  /// Space that the protocol keeps free.
  static var padding: ProtocolAnswer { .unused("the protocol keeps it free") }

  /// The words that go with it.
  var reason: String {
    switch self {
    case .heeded(_, let text), .library(let text), .declined(let text), .unused(let text),
      .missing(let text):
      text
    }
  }
}

/// An opcode, a flag, or another numbered thing.
struct ProtocolRow: Sendable {
  /// The kernel's name.
  let name: String
  /// Its number; of a flag, the number of its bit.
  let number: UInt64
  /// What is done about it.
  let answer: ProtocolAnswer

  init(_ name: String, _ number: UInt64, _ answer: ProtocolAnswer) {
    self.name = name
    self.number = number
    self.answer = answer
  }
}

/// Numbers that share a word of some message.
struct ProtocolGroup: Sendable {
  /// The field that carries them.
  let field: String
  /// The flags or numbers.
  let rows: [ProtocolRow]

  init(_ field: String, _ rows: [ProtocolRow]) {
    self.field = field
    self.rows = rows
  }
}

/// A field of a message.
struct ProtocolField: Sendable {
  /// The kernel's name.
  let name: String
  /// What is done about it.
  let answer: ProtocolAnswer

  init(_ name: String, _ answer: ProtocolAnswer) {
    self.name = name
    self.answer = answer
  }
}

/// A structure of the protocol.
struct ProtocolStructure: Sendable {
  /// The kernel's name.
  let name: String
  /// Its fields in order.
  let fields: [ProtocolField]

  init(_ name: String, _ fields: [ProtocolField]) {
    self.name = name
    self.fields = fields
  }

  /// A structure all of whose fields have the same answer.
  init(_ name: String, _ fields: [String], _ answer: ProtocolAnswer) {
    self.init(name, fields.map { ProtocolField($0, answer) })
  }
}

/// The whole table.
enum ProtocolTable {
  /// The protocol's minor version that the table covers.
  static let minorVersion = 45

  /// Every structure.
  static var structures: [ProtocolStructure] {
    headers + setupStructures + nameStructures + attributeStructures + fileStructures
      + otherStructures
  }

  /// Every answer, with a name that says where in the table it stands.
  static var answers: [(name: String, answer: ProtocolAnswer)] {
    let numbered =
      [
        ProtocolGroup("opcode", opcodes), ProtocolGroup("fuse_init_out.flags", initializationFlags),
        ProtocolGroup("notification", notifications),
      ] + flagGroups
    return numbered.flatMap { group in group.rows.map { ("\(group.field) \($0.name)", $0.answer) } }
      + structures.flatMap { structure in
        structure.fields.map { ("\(structure.name).\($0.name)", $0.answer) }
      }
  }

  /// What ought to be heeded and is not, a line each.
  static var missing: [String] {
    answers.compactMap { name, answer in
      if case .missing(let what) = answer { "\(name): \(what)" } else { nil }
    }
  }

  /// Messages that a daemon may send by itself.
  static let notifications: [ProtocolRow] = [
    .init("FUSE_NOTIFY_POLL", 1, .heeded(by: "serve", "when a stream that is polled has events")),
    .init(
      "FUSE_NOTIFY_INVAL_INODE", 2,
      .heeded(
        by: "dropCached",
        "pages that a pass-through write went past, before SEEK_DATA of what may be mapped, and by `drop`"
      )),
    .init("FUSE_NOTIFY_INVAL_ENTRY", 3, .unused("names change by this kernel's own requests only")),
    .init("FUSE_NOTIFY_STORE", 4, .unused("nothing is pushed into the kernel's cache")),
    .init("FUSE_NOTIFY_RETRIEVE", 5, .unused("nothing is fetched from the kernel's cache")),
    .init("FUSE_NOTIFY_DELETE", 6, .unused("names change by this kernel's own requests only")),
    .init("FUSE_NOTIFY_RESEND", 7, .unused("a daemon that dies takes its mount with it")),
    .init("FUSE_NOTIFY_INC_EPOCH", 8, .unused("names change by this kernel's own requests only")),
    .init(
      "FUSE_NOTIFY_PRUNE", 9,
      .unused("what the kernel remembers burdens nobody: a volume keeps its names anyway")),
  ]
}
