// At home on a system: manual pages, completions, the unit, the package, and mounting as an ordinary user.

import Foundation
import TestSupport
import Testing

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

extension EndToEnd {
  @Suite("An ordinary user")
  struct OrdinaryUserTests {
    @Test(
      "mounts by fusermount3, has the mount to himself, and unmounts it", .needs(.fuse, .root),
      arguments: Transport.present)
    func user(transport: String) throws {
      try withMountPlace { place in
        let script = """
            chmod 755 .; cp "$X" program; chmod 755 program; chown -R 65534:65534 image mnt
            as() { setpriv --reuid=65534 --regid=65534 --clear-groups -- env -i PATH="$PATH" HOME=/ "$@"; }
            as ./program mount image mnt -o transport=\(transport) || exit 9
            grep -q " $PWD/mnt fuse.extractfs .*nosuid,nodev.*user_id=65534" /proc/mounts || exit 8
            as dd if=/dev/urandom of=mnt/disk bs=64k count=8 oflag=direct conv=notrunc 2>/dev/null || exit 7
            as sh -c 'grep -x "bytes_written 524288" mnt/.extractfs/stats' || exit 6
            as sh -c 'echo flush >mnt/.extractfs/control' || exit 5
            as ./program top mnt --count 1 --interval 0.1 | grep -q ^write || exit 4
            # Others, root among them, are kept out by the kernel.
            cat mnt/.extractfs/stats 2>/dev/null && exit 3
            as ./program umount mnt
          """
        let result = try place.shell(script)
        #expect(result.exitCode == 0, "\(result)")
        #expect(result.output.contains("0 pages left pinned"))
        #expect(try place.shell("mountpoint -q mnt").exitCode != 0)
      }
    }
  }

  @Suite("The package")
  struct PackageTests {
    /// Its build takes two minutes, and a bare Debian has to be fetched.
    @Test(
      "installs, mounts and is removed on a bare Debian 12 without Swift, and lintian finds nothing",
      .needs(.fuse, .root), .enabled(if: isWanted, "only where EXTRACTFS_PACKAGE is 1"))
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

    static let isWanted = ProcessInfo.processInfo.environment["EXTRACTFS_PACKAGE"] == "1"
  }
}
