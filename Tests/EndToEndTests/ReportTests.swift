// A run that is kept, and the page that is made of it.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("A report")
  struct ReportTests {
    private func record(_ mount: Mount, in scratch: URL, _ name: String, _ line: String) throws
      -> CommandResult
    {
      try run(
        [try extractfs(), "record", mount.directory.path, "-o", name, "--", "sh", "-c", line],
        in: scratch)
    }

    private let work =
      "dd if=/dev/zero of=$D bs=64k count=20 oflag=direct conv=notrunc 2>/dev/null; dd if=$D of=/dev/null bs=4k count=50 iflag=direct 2>/dev/null"

    @Test("of a command has its exit code and all of its requests", .needs(.fuse, .directIO))
    func figures() throws {
      try withTemporaryDirectory { scratch in
        try withMount { mount in
          let line = work.replacing("$D", with: mount.disk)
          #expect(try record(mount, in: scratch, "run", line + "; exit 7").exitCode == 7)
          #expect(try record(mount, in: scratch, "none", "true").exitCode == 0)
          #expect(
            try run([try extractfs(), "record", mount.directory.path, "--", "/none"], in: scratch)
              .exitCode == 127)
          let page = try run([try extractfs(), "report", "run", "-o", "-"], in: scratch).checked()
            .output
          for text in [
            "<th scope=\"row\">exit code</th><td>7</td>",
            "<th scope=\"row\">write</th><td>20</td><td>1.25 MiB</td>",
            "<th scope=\"row\">read</th><td>50</td><td>200 KiB</td>",
            "<th scope=\"row\">ubuf, pin</th><td>70</td><td>370</td>",
            "None: every page that was taken was given back", "/disk",
          ] {
            #expect(page.contains(text), "\(text)")
          }
          // A program that has ended before anybody could look has a number only.
          #expect(page.contains(/(dd|\?)\[\d+\]/))
          // Nothing from elsewhere, and no script.
          for text in ["http:", "https:", "<script", "<link", "src="] {
            #expect(!page.contains(text))
          }
          let empty = try run([try extractfs(), "report", "none"], in: scratch).checked().output
          #expect(empty == "none.html\n")
        }
      }
    }

    @Test("names the requests that did not give back what they took", .needs(.fuse, .directIO))
    func defects() throws {
      try withTemporaryDirectory { scratch in
        let page = try? withMount { mount in
          try mount.control("set bug=release-one-short")
          try record(mount, in: scratch, "run", work.replacing("$D", with: mount.disk)).checked()
          return try run([try extractfs(), "report", "run", "-o", "-"], in: scratch).checked()
            .output
        }
        // The unmount fails by the leaks, so the page is made once more.
        let text =
          try page
          ?? run([try extractfs(), "report", "run", "-o", "-"], in: scratch).checked().output
        #expect(text.contains("<p class=\"bad\">70:</p>") && text.contains("1 pages left held"))
      }
    }

    @Test("compares two runs, and says of a file that is none", .needs(.fuse, .directIO))
    func compares() throws {
      try withTemporaryDirectory { scratch in
        try withMount { mount in
          let line = work.replacing("$D", with: mount.disk)
          try record(mount, in: scratch, "one", line).checked()
          try record(mount, in: scratch, "two", line + ";" + line).checked()
        }
        let program = try extractfs()
        let page = try run([program, "report", "one", "two", "-o", "-"], in: scratch).checked()
          .output
        #expect(page.contains("second / first"))
        #expect(page.contains("<th scope=\"row\">write, one</th><td>20</td>"))
        #expect(page.contains("<th scope=\"row\">write, two</th><td>40</td>"))
        try shell("head -c 3000 one >cut; echo no >other", in: scratch).checked()
        #expect(try run([program, "report", "cut"], in: scratch).exitCode == 0)
        let refused = try run([program, "report", "other"], in: scratch)
        #expect(refused.exitCode == 1 && refused.errors.contains("is no trace"))
      }
    }

    @Test(
      "can be looked at in a browser, where there is one", .needs(.fuse, .directIO))
    func browser() throws {
      if !hasCommands("chromium") {
        return print("the report was looked at in no browser: no chromium")
      }
      try withTemporaryDirectory { scratch in
        try withMount { mount in
          try record(mount, in: scratch, "run", work.replacing("$D", with: mount.disk)).checked()
        }
        try run([try extractfs(), "report", "run"], in: scratch).checked()
        let browser =
          "chromium --headless=new --no-sandbox --disable-gpu --user-data-dir=profile --window-size=900,2600"
        try shell(
          "\(browser) --screenshot=page.png file://$PWD/run.html", in: scratch, limitSeconds: 100
        )
        .checked()
        let picture = try Data(contentsOf: scratch.appending(path: "page.png"))
        #expect(picture.starts(with: [0x89, 0x50, 0x4E, 0x47]) && picture.count > 20_000)
        let shown = try shell(
          "\(browser) --dump-dom file://$PWD/run.html", in: scratch, limitSeconds: 100
        ).checked().output
        #expect(shown.contains("<h2>Slowest requests</h2>") && shown.contains("<polyline"))
      }
    }
  }
}
