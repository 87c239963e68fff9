// Whether the protocol's table is whole and true: number ranges, the installed header, and the sources.

import Foundation
import Testing

@testable import FUSEServer

/// Where the kernel's header is installed; Debian 12's is of protocol 7.38, so that it has less than the table. A newer
/// one can be named in the environment.
private let headerPath =
  ProcessInfo.processInfo.environment["EXTRACTFS_FUSE_HEADER"] ?? "/usr/include/linux/fuse.h"

@Suite("The protocol's table")
struct ProtocolTableTests {
  private let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  private func sources() throws -> String {
    let folder = root.appendingPathComponent("Sources/FUSEServer")
    return try FileManager.default.contentsOfDirectory(atPath: folder.path)
      .filter { $0.hasSuffix(".swift") && !$0.hasPrefix("ProtocolTable") }
      .map { try String(contentsOf: folder.appendingPathComponent($0), encoding: .utf8) }
      .joined(separator: "\n")
  }

  @Test("has each opcode once")
  func opcodesAreWhole() {
    let numbers = ProtocolTable.opcodes.map(\.number)
    let expected = Set<UInt64>(1...53).subtracting([7, 19]).union([4096, 1_048_576, 436_207_616])
    #expect(numbers.count == Set(numbers).count, "an opcode stands twice")
    #expect(Set(numbers) == expected)
    #expect(Set(ProtocolTable.opcodes.map(\.name)).count == numbers.count)
  }

  @Test("has each bit of INIT's flags once, in order")
  func abilitiesAreWhole() {
    #expect(ProtocolTable.initializationFlags.map(\.number) == Array(0...42))
    #expect(Set(ProtocolTable.initializationFlags.map(\.name)).count == 43)
  }

  @Test("has each notification once")
  func notificationsAreWhole() {
    #expect(ProtocolTable.notifications.map(\.number) == Array(1...9))
  }

  @Test(
    "has each flag of a field that the protocol numbers without a gap",
    arguments: [
      ("fuse_setattr_in.valid", 0...11), ("fuse_open_out.open_flags", 0...7),
      ("fuse_write_in.write_flags", 0...2), ("fuse_ioctl_in.flags", 0...5),
      ("fuse_fallocate_in.mode", 0...7), ("fuse_lseek_in.whence", 0...4),
      ("fuse_rename2_in.flags", 0...2), ("fuse_release_in.release_flags", 0...1),
      ("fuse_attr.flags", 0...1), ("ioctl of /dev/fuse", 0...3), ("command on a ring", 0...2),
    ] as [(String, ClosedRange<UInt64>)])
  func flagsAreWhole(field: String, numbers: ClosedRange<UInt64>) throws {
    let group = try #require(ProtocolTable.flagGroups.first { $0.field == field })
    #expect(group.rows.map(\.number) == Array(numbers))
  }

  @Test("says nothing twice, and nothing without a reason")
  func everyRowHasAReason() {
    let answers = ProtocolTable.answers
    var seen = Set<String>()
    for (name, answer) in answers {
      #expect(seen.insert(name).inserted, "\(name) stands twice")
      #expect(!answer.reason.isEmpty, "\(name) has no reason")
    }
    #expect(Set(ProtocolTable.structures.map(\.name)).count == ProtocolTable.structures.count)
    #expect(answers.count > 400)
  }

  @Test("lacks nothing but what is known to be lacking")
  func missingIsKnown() {
    let names = ProtocolTable.answers.filter {
      if case .missing = $0.answer { true } else { false }
    }.map(\.name)
    #expect(names == ["fuse_open_in.flags O_NOATIME"])
  }

  @Test("says of each ability that it was asked for where it was, and only there")
  func abilitiesAreAnsweredAlike() throws {
    // What libfuse calls by another name.
    let others = [
      "READDIRPLUS": "DO_READDIRPLUS", "IOCTL_DIR": "HAS_IOCTL_DIR",
      "EXPIRE_ONLY": "HAS_EXPIRE_ONLY",
    ]
    for ability in Ability.all {
      let name = "FUSE_" + (others[ability.name] ?? ability.name)
      let row = try #require(
        ProtocolTable.initializationFlags.first { $0.name == name }, "there is no \(name)")
      if case .heeded = row.answer {
        #expect(ability.isWanted, "\(name) is declined")
      } else {
        #expect(!ability.isWanted, "\(name) is asked for")
      }
    }
  }

  @Test("groups flags under fields that its structures have")
  func groupsHaveFields() {
    let fields = Set(
      ProtocolTable.structures.flatMap { structure in
        structure.fields.map { "\(structure.name).\($0.name)" }
      })
    for group in ProtocolTable.flagGroups where group.field.hasPrefix("fuse_") {
      #expect(fields.contains(group.field), "there is no field \(group.field)")
    }
  }

  @Test("names functions that are there")
  func functionsAreThere() throws {
    let sources = try sources()
    for (name, answer) in ProtocolTable.answers {
      guard case .heeded(let function, _) = answer else { continue }
      let isThere =
        sources.contains("func \(function)(") || (function == "init" && sources.contains("init("))
      #expect(isThere, "\(name): there is no \(function)()")
    }
  }

  @Test("says of each callback that its message is heeded, and of no other")
  func callbacksAreHeeded() throws {
    let callbacks = Set(
      try sources().matches(of: #/table\.`?(\w+)`? = /#).map { $0.output.1.uppercased() })
    #expect(callbacks.count >= 30)
    // What never reaches libfuse, or has another name there.
    let others = Set(["READ", "WRITE", "INTERRUPT", "TMPFILE", "RENAME2", "BATCH_FORGET"])
    for row in ProtocolTable.opcodes {
      let name = String(row.name.trimmingPrefix("FUSE_"))
      if others.contains(name) { continue }
      switch row.answer {
      case .heeded: #expect(callbacks.contains(name), "\(row.name) has no callback")
      case .missing: break
      default: #expect(!callbacks.contains(name), "\(row.name) has a callback")
      }
    }
  }
}

@Suite(
  "The protocol's table, beside the installed header",
  .enabled(if: FileManager.default.fileExists(atPath: headerPath), "needs \(headerPath)"))
struct ProtocolHeaderTests {
  private let header: String

  init() throws { header = try String(contentsOfFile: headerPath, encoding: .utf8) }

  @Test("has every field of every structure, in order")
  func structuresAreWhole() throws {
    let found = header.matches(of: /struct ((?:fuse|cuse)_\w+) \{((?:[^}])*)\n\}/)
    #expect(found.count >= 50)
    for match in found {
      let name = String(match.output.1)
      let fields = match.output.2
        .replacing(/\/\*(?:[^*]|\*[^\/])*\*\//, with: "")
        .matches(of: /(?:u?int\d+_t|char|struct \w+)\s+(\w+)/).map { String($0.output.1) }
      let row = try #require(
        ProtocolTable.structures.first { $0.name == name }, "there is no \(name)")
      let known = row.fields.map(\.name)
      #expect(known.filter(fields.contains) == fields.filter(known.contains), "\(name)")
      // What an older header keeps free may have got a name since.
      let unknown = Set(fields).subtracting(known).subtracting(["padding", "unused"])
      #expect(unknown.isEmpty, "\(name) has no \(unknown.sorted())")
    }
  }

  @Test("has every opcode, notification and other number")
  func numbersAreWhole() {
    let rows =
      ProtocolTable.opcodes + ProtocolTable.notifications
      + ProtocolTable.flagGroups.flatMap(\.rows)
    let found = header.matches(of: /\n\t([CF]USE_\w+)\s*= (\d+),/)
      .map { (name: String($0.output.1), number: UInt64($0.output.2)) }
    #expect(found.count >= 50)
    for (name, number) in found {
      #expect(rows.contains { $0.name == name && $0.number == number }, "\(name)")
    }
  }

  @Test("has every flag by its bit")
  func flagsAreWhole() {
    let rows =
      ProtocolTable.initializationFlags + ProtocolTable.flagGroups.flatMap(\.rows)
    let found = header.matches(of: /#define (\w+)\s+\(1(?i:u?l*) << (\d+)\)/)
      .map { (name: String($0.output.1), bit: UInt64($0.output.2)) }
    #expect(found.count >= 60)
    for (name, bit) in found {
      #expect(rows.contains { $0.name == name && $0.number == bit }, "\(name), bit \(bit ?? 0)")
    }
  }
}
