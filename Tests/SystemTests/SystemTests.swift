// At home on a system: manual pages, completions, the unit, the package. Nothing here depends on the transport.

import Foundation
import TestSupport
import Testing

extension Trait where Self == ConditionTrait {
  /// Skips the test where the machine lacks something, unless everything is demanded.
  fileprivate static func needs(_ features: Feature...) -> ConditionTrait {
    let names = features.map(\.rawValue).joined(separator: ", ")
    return .enabled("needs \(names)") { Feature.permit(features) }
  }
}

private let scripts = URL(filePath: #filePath).deletingLastPathComponent()
  .appending(path: "../../mount-scripts").standardizedFileURL

@Suite("The manual pages")
struct ManualTests {
  private func withPages(_ body: ([URL]) throws -> Void) throws {
    try withTemporaryDirectory { scratch in
      try run(
        [scripts.appending(path: "manual").path, scratch.path],
        environment: ["EXTRACTFS": try extractfs()]
      ).checked()
      let pages = try ["man1", "man5", "man8"].flatMap { section in
        try FileManager.default.contentsOfDirectory(
          at: scratch.appending(path: section), includingPropertiesForKeys: nil)
      }
      try body(pages)
    }
  }

  @Test("are without a warning to mandoc and to man", .needs(.mandoc))
  func lint() throws {
    try withPages { pages in
      #expect(pages.count >= 12)
      let result = try run(["mandoc", "-T", "lint", "-W", "warning"] + pages.map(\.path))
      #expect(result.exitCode == 0 && result.output == "", "\(result)")
      for page in pages {
        let shown = try run(
          ["man", "--warnings", "-E", "UTF-8", "-l", page.path],
          environment: ["MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"])
        #expect(shown.exitCode == 0 && shown.errors == "", "\(shown.errors)")
        #expect(shown.output.contains("NAME"))
      }
    }
  }

  @Test("tell of every command, option and control file", .needs(.mandoc))
  func complete() throws {
    try withPages { pages in
      func text(_ name: String) throws -> String {
        let page = try #require(pages.first { $0.lastPathComponent == name }, "\(name)")
        return try run(["mandoc", "-T", "ascii", "-I", "os=x", page.path]).checked().output
          .replacing(/.\u{8}/, with: "")
      }
      let help = try run([extractfs(), "--help"]).checked().output
      let commands = help.matches(of: /\n  ([a-z]+) +[A-Z]/).map { String($0.output.1) }
      #expect(commands.count >= 10)
      let main = try text("extractfs.1")
      for command in commands where command != "help" {
        #expect(main.contains("extractfs-\(command)(1)"))
        let page = try text("extractfs-\(command).1")
        let usage = try run([extractfs(), command, "--help"]).checked().output
        for option in usage.matches(of: /\n  (--[a-z-]+)/).map({ String($0.output.1) })
        where option != "--version" {
          #expect(page.contains(option), "\(option) in extractfs-\(command)(1)")
        }
      }
      let control = try text("extractfs.5")
      for name in ["stats.json", "metrics", "pins", "control", "reset stats", "freeze"] {
        #expect(control.contains(name), "\(name)")
      }
      let helper = try text("mount.extractfs.8")
      for name in ["log_format", "queue_depth", "x-systemd.automount", "fstab"] {
        #expect(helper.contains(name), "\(name)")
      }
    }
  }
}

@Suite("Completions")
struct CompletionTests {
  @Test("are understood by their shell", .needs(.shells), arguments: ["bash", "zsh", "fish"])
  func parse(shell: String) throws {
    try withTemporaryDirectory { scratch in
      let file = scratch.appending(path: "completion")
      let script = try run([extractfs(), "--generate-completion-script", shell]).checked().output
      try Data(script.utf8).write(to: file)
      try run([shell, "-n", file.path]).checked()
    }
  }

  @Test("complete commands and options in bash")
  func bash() throws {
    try withTemporaryDirectory { scratch in
      let file = scratch.appending(path: "completion")
      let script = try run([extractfs(), "--generate-completion-script", "bash"]).checked().output
      try Data(script.utf8).write(to: file)
      let complete = """
        source "$0"
        function=$(complete -p extractfs | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_WORDS=(extractfs "$@"); COMP_CWORD=$#; COMP_LINE="extractfs $*"; COMP_POINT=${#COMP_LINE}
        COMPREPLY=(); $function extractfs "${!#}" "${COMP_WORDS[COMP_CWORD-1]}"; printf '%s\\n' "${COMPREPLY[@]}"
        """
      func replies(_ words: String...) throws -> [Substring] {
        try run(["bash", "-c", complete, file.path] + words).checked().output.split(separator: "\n")
          .map { $0.prefix { $0 != " " } }
      }
      #expect(try replies("me") == ["metrics"])
      #expect(Set(try replies("m")).isSuperset(of: ["mount", "mkimage", "metrics"]))
      #expect(try replies("top", "--int") == ["--interval"])
    }
  }
}

@Suite("The service")
struct ServiceTests {
  @Test("is a unit that systemd accepts", .needs(.systemdAnalyze))
  func verify() throws {
    try withTemporaryDirectory { scratch in
      // The unit of an instance, with the executable that is there.
      let unit = try String(
        contentsOf: scripts.appending(path: "extractfs@.service"), encoding: .utf8
      ).replacing("/usr/bin/extractfs", with: try extractfs())
        .replacing(/Documentation=.*\n/, with: "")
      try Data(unit.utf8).write(to: scratch.appending(path: "extractfs@.service"))
      let result = try run(
        ["systemd-analyze", "verify", "--man=no", "./extractfs@lab.service"], in: scratch)
      let own = (result.errors + result.output).split(separator: "\n")
        .filter { $0.contains("extractfs") }
      #expect(result.exitCode == 0 && own.isEmpty, "\(result)")
    }
  }
}

@Suite("The package")
struct PackageTests {
  /// Its build takes two minutes, and a bare Debian has to be fetched.
  @Test(
    "installs, mounts and is removed on a bare Debian 12 without Swift, and lintian finds nothing",
    .needs(.fuse, .root), .enabled(if: Feature.allRequired, "only where EXTRACTFS_REQUIRE_ALL is 1")
  )
  func package() throws {
    try withTemporaryDirectory { scratch in
      let build = try run(
        [scripts.appending(path: "package").path, "--output", scratch.path, "--check"],
        limitSeconds: 900)
      #expect(build.exitCode == 0 || build.exitCode == 77, "\(build)")
      let file = try #require(
        try FileManager.default.contentsOfDirectory(atPath: scratch.path)
          .first { $0.hasSuffix(".deb") })
      let lint = try run(
        ["lintian", "--fail-on", "error,warning", file], in: scratch, limitSeconds: 300)
      #expect(lint.exitCode == 0, "\(lint)")
    }
  }
}
