// `extractfs top` in a real terminal emulator: what it shows, what keys do, and how it leaves.

import Foundation
import TestSupport
import Testing

/// A terminal of tmux's, with a server of its own.
private struct Screen: ~Copyable {
  private let socket: String
  private let directory: URL

  /// Starts a line of shell in a terminal of that size.
  init(_ width: Int, _ height: Int, in directory: URL, _ line: String) throws {
    socket = directory.appending(path: "tmux").path
    self.directory = directory
    // The server stays, and must not keep the descriptor by which this process is told of its child's end.
    let start = """
      for descriptor in /proc/self/fd/*; do
        [ ${descriptor##*/} -lt 3 ] || eval "exec ${descriptor##*/}>&-"
      done
      exec tmux -f /dev/null -S "$0" new-session -d -x \(width) -y \(height) sh -c "$1"
      """
    try run(
      ["bash", "-c", start, socket, line], environment: ["LC_ALL": "C.UTF-8", "TERM": "screen"],
      in: directory
    ).checked()
  }

  deinit { _ = try? run(["tmux", "-S", socket, "kill-server"]) }

  func tmux(_ words: String...) throws -> String {
    try run(["tmux", "-S", socket] + words).checked().output
  }

  func press(_ key: String) throws { _ = try tmux("send-keys", "-l", key) }

  /// Looks until the screen is as wanted.
  /// - Throws: `TestFailure` with the screen after a thousand looks.
  @discardableResult
  func await(_ what: String, _ isSo: (String) -> Bool) throws -> String {
    var screen = ""
    for _ in 0..<1000 {
      screen = try tmux("capture-pane", "-p")
      if isSo(screen) { return screen }
    }
    throw TestFailure("\(what) does not come:\n\(screen)")
  }
}

extension EndToEnd {
  @Suite("extractfs top")
  struct TopCommandTests {
    /// A mount, and a terminal with a program that reads and writes all the time, and `top` between two looks at the
    /// terminal's settings. All of them are the terminal's children: this test's would have its descriptors.
    private func withTop(
      _ width: Int, _ height: Int, _ body: (MountPlace, borrowing Screen) throws -> Void
    ) throws {
      try withMountPlace { place in
        try place.shell("$X mount image mnt").checked()
        let program = try extractfs()
        let screen = try Screen(
          width, height, in: place.scratch,
          """
          while [ ! -e stop ] && dd if=/dev/zero of=mnt/disk bs=64k count=64 oflag=direct conv=notrunc &&
            dd if=mnt/disk of=/dev/null bs=4k count=500 iflag=direct; do :; done >/dev/null 2>&1 &
          stty -g >before
          sh -c 'echo $$ >pid; exec "\(program)" top mnt --interval 0.2' 2>complaints
          echo $? >code; stty -g >after
          touch stop
          tmux -S tmux display -p '#{alternate_on} #{cursor_flag}' >modes; mv modes left
          cat
          """)
        try body(place, screen)
      }
    }

    private func text(_ place: MountPlace, _ name: String) throws -> String {
      try String(contentsOf: place.scratch.appending(path: name), encoding: .utf8)
    }

    /// Waits until `top` has ended, and looks at what it left.
    private func expectRestored(_ place: MountPlace, code: Int) throws {
      try place.shell("until [ -e left ]; do :; done", limitSeconds: 20).checked()
      let complaints = try text(place, "complaints")
      #expect(try text(place, "code") == "\(code)\n", "\(complaints)")
      #expect(try text(place, "before") == text(place, "after"))
      // The normal screen, with its cursor.
      #expect(try text(place, "left") == "0 1\n")
    }

    private func isShowing(_ screen: String) -> Bool {
      screen.contains("OP ") && screen.contains("█") && screen.contains("disk")
    }

    @Test(
      "fills a terminal, narrow or wide, and heeds its keys", .needs(.fuse, .tmux, .directIO),
      arguments: [(80, 24), (200, 50)])
    func keys(width: Int, height: Int) throws {
      try withTop(width, height) { place, screen in
        let first = try screen.await("a screen", isShowing)
        let lines = first.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.count == height + 1)
        #expect(lines.allSatisfy { $0.count <= width })
        #expect(try screen.tmux("display", "-p", "#{alternate_on} #{cursor_flag}") == "1 0\n")
        for part in ["read ", "write ", "pin ", "a request", "bounce", "errors 0", "FILES (1"] {
          #expect(first.contains(part), "\(part)")
        }
        try screen.press("s")
        try screen.await("another order of files") { $0.contains("by requests") }
        try screen.press("h")
        try screen.await("another order of holders") { $0.contains("by pages") }
        try screen.press("p")
        try screen.await("a pause") { $0.contains("PAUSED") }
        try screen.press("p")
        try screen.await("the pause's end") { !$0.contains("PAUSED") }
        try screen.press("R")
        try screen.await("a reset") { $0.contains("begin anew") || $0.contains("waiting") }
        _ = try screen.tmux("resize-window", "-x", "\(width - 10)", "-y", "\(height)")
        try screen.await("a narrower screen") { screen in
          screen.split(separator: "\n").allSatisfy { $0.count <= width - 10 }
            && self.isShowing(screen)
        }
        try screen.press("q")
        try expectRestored(place, code: 0)
        #expect(try text(place, "complaints") == "")
      }
    }

    @Test(
      "gives the terminal back when a signal ends it", .needs(.fuse, .tmux, .directIO),
      arguments: [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1])
    func signals(signal: Int32) throws {
      try withTop(80, 24) { place, screen in
        try screen.await("a screen", isShowing)
        try place.shell("kill -\(signal) $(cat pid)").checked()
        try expectRestored(place, code: 128 + Int(signal))
      }
    }

    @Test(
      "gives the terminal back when the mount goes, and says so", .needs(.fuse, .tmux, .directIO))
    func unmount() throws {
      try withTop(80, 24) { place, screen in
        try screen.await("a screen", isShowing)
        try place.shell("touch stop; until $X umount mnt; do :; done", limitSeconds: 30).checked()
        try expectRestored(place, code: 1)
        #expect(try text(place, "complaints").contains("mnt"))
        #expect(try text(place, "complaints").split(separator: "\n").count == 1)
      }
    }

    @Test("gives the terminal back while it is stopped", .needs(.fuse, .tmux, .directIO))
    func stop() throws {
      try withTop(80, 24) { place, screen in
        try screen.await("a screen", isShowing)
        try place.shell("kill -TSTP $(cat pid)").checked()
        for _ in 0..<1000 {
          if try screen.tmux("display", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n" { break }
        }
        #expect(try screen.tmux("display", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n")
        try place.shell("kill -CONT $(cat pid)").checked()
        try screen.await("the screen again", isShowing)
        try screen.press("q")
        try expectRestored(place, code: 0)
      }
    }

    @Test("is plain text where there is no terminal", .needs(.fuse, .directIO))
    func plain() throws {
      try withMount(imageSizeBytes: 4 << 20) { mount in
        let result = try run(
          [extractfs(), "top", mount.directory.path, "--interval", "0.2", "--count", "2"]
        ).checked()
        #expect(!result.output.contains("\u{1b}") && result.errors == "")
        let titles = result.output.split(separator: "\n").filter { $0.hasPrefix("extractfs top") }
        #expect(titles.count == 2)
        #expect(result.output.contains("iter=ubuf"))
      }
    }

    @Test("wants a mount and sensible numbers", .needs(.fuse))
    func refuse() throws {
      #expect(try run([extractfs(), "top", "/"]).exitCode == 1)
      for words in [["--interval", "0"], ["--interval", "x"], ["--count", "0"]] {
        #expect(try run([extractfs(), "top", "/"] + words).exitCode == 64, "\(words)")
      }
    }
  }
}
