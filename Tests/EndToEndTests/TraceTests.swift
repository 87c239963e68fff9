// The event stream, and what other people's tools make of it.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("A trace")
  struct TraceTests {
    /// Follows a mount in all formats at once while five requests are made, and leaves what each said in `scratch`:
    /// events.json, requests.json, text, blktrace, chrome.json. Every follower says something as soon as its stream is
    /// open, which is waited for.
    private func traced(_ mount: Mount, in scratch: URL) throws {
      let script = #"""
        program=$1 mnt=$2
        pids=()
        follow() {
          mkfifo "$1.pipe"
          "$program" trace "$mnt" --path "$mnt/disk" --op read --op write --count 5 "${@:2}" >"$1.pipe" &
          pids+=($!)
        }
        follow events.json --format json
        follow requests.json --format json --by request
        follow text
        follow blktrace --format blktrace
        follow chrome.json --format chrome
        for name in events.json requests.json text blktrace chrome.json; do
          exec {pipe}<"$name.pipe"
          dd bs=1 count=1 iflag=fullblock <&$pipe >"$name" 2>/dev/null
          cat <&$pipe >>"$name" &
          pids+=($!)
        done
        dd if=/dev/zero of="$mnt/disk" bs=64k count=2 oflag=direct conv=notrunc 2>/dev/null
        dd if="$mnt/disk" of=/dev/null bs=4k skip=1 count=3 iflag=direct 2>/dev/null
        wait "${pids[@]}"
        """#
      try run(
        ["bash", "-c", script, "bash", extractfs(), mount.directory.path], in: scratch,
        limitSeconds: 60
      ).checked()
    }

    private struct Event: Decodable {
      var step: String
      var request: UInt64?
      var op: String?
      var offset: Int?
      var length: Int?
      var sector: Int?
      var pages: Int?
      var mode: String?
      var pid: Int?
    }

    private func lines<Line: Decodable>(_ url: URL, of type: Line.Type) throws -> [Line] {
      try String(contentsOf: url, encoding: .utf8).split(separator: "\n").map {
        try JSONDecoder().decode(Line.self, from: Data($0.utf8))
      }
    }

    @Test(
      "joins file, request, pins, bios and image, event after event", .needs(.fuse, .directIO),
      arguments: Transport.present)
    func events(transport: String) throws {
      try withTemporaryDirectory { scratch in
        try withMount(options: "transport=\(transport)") { mount in
          try traced(mount, in: scratch)
          let events = try lines(scratch.appending(path: "events.json"), of: Event.self)
          #expect(events.first?.step == "start")
          let arrivals = events.filter { $0.step == "arrive" }
          #expect(arrivals.map(\.op) == ["write", "write", "read", "read", "read"])
          #expect(arrivals.map(\.offset) == [0, 65536, 4096, 8192, 12288])
          for arrival in arrivals {
            let own = events.filter { $0.request == arrival.request }
            #expect(own.first?.step == "arrive" && own.last?.step == "reply")
            let steps = own.map(\.step)
            for step in ["extract", "build", "submit", "complete", "release", "finish"] {
              #expect(steps.contains(step), "\(steps)")
            }
            let taken = own.filter { $0.step == "extract" }.compactMap(\.pages).reduce(0, +)
            let released = own.filter { $0.step == "release" }.compactMap(\.pages).reduce(0, +)
            let length = try #require(arrival.length)
            #expect(taken == length / 4096 && released == taken)
            let submitted = own.filter { $0.step == "submit" }
            #expect(submitted.compactMap(\.length).reduce(0, +) == length)
            #expect(submitted.first?.sector == arrival.offset.map { $0 / 512 })
            #expect(own.allSatisfy { $0.pid == arrival.pid && $0.pid ?? 0 > 0 })
          }
        }
      }
    }

    private struct Request: Decodable {
      struct Bio: Decodable {
        var op: String
        var sector: Int
        var length: Int
      }
      var step: String
      var op: String?
      var command: String?
      var path: String?
      var offset: Int?
      var done_bytes: Int?
      var kind: String?
      var mode: String?
      var pages: Int?
      var released_pages: Int?
      var bios: [Bio]?
    }

    @Test(
      "is one request a line, as JSON and as text", .needs(.fuse, .directIO),
      arguments: Transport.present)
    func requests(transport: String) throws {
      try withTemporaryDirectory { scratch in
        try withMount(options: "transport=\(transport)") { mount in
          try traced(mount, in: scratch)
          let all = try lines(scratch.appending(path: "requests.json"), of: Request.self)
            .filter { $0.step == "request" }
          #expect(all.map(\.op) == ["write", "write", "read", "read", "read"])
          #expect(all.map(\.done_bytes) == [65536, 65536, 4096, 4096, 4096])
          #expect(all.allSatisfy { $0.pages == $0.released_pages && $0.mode == "pin" })
          #expect(all.allSatisfy { $0.bios?.first?.sector == $0.offset.map { $0 / 512 } })
          let text = try String(contentsOf: scratch.appending(path: "text"), encoding: .utf8)
          let shown = text.split(separator: "\n").filter { !$0.hasPrefix("#") }
          #expect(shown.count == 5)
          #expect(shown[0].contains(" write ") && shown[0].contains(" 0+65536 = 65536 "))
          #expect(shown[0].contains("| ubuf pin 16 ") && shown[0].contains("1: write 0+65536 "))
          #expect(shown[4].contains(" 12288+4096 = 4096 ") && shown[4].contains("read 24+4096 "))
        }
      }
    }

    @Test(
      "is read by blkparse and btt", .needs(.fuse, .directIO),
      .enabled(if: hasCommands("blkparse", "btt")))
    func blktrace() throws {
      try withTemporaryDirectory { scratch in
        try withMount { mount in
          try traced(mount, in: scratch)
          let parsed = try shell(
            "blkparse -i - -f '%a %d %S %n\\n' -d merged <blktrace 2>errors; cat errors",
            in: scratch
          ).checked()
          let lines = Set(parsed.output.split(separator: "\n").map(String.init))
          for action in ["Q", "D", "C"] {
            for line in ["W 0 128", "W 128 128", "R 8 8", "R 16 8", "R 24 8"] {
              let found = lines.contains {
                $0.hasPrefix("\(action) ") && $0.hasSuffix(String(line.dropFirst()))
              }
              #expect(found, "\(action) \(line) in \(parsed.output)")
            }
          }
          #expect(parsed.output.contains("Events "))
          #expect(!parsed.output.contains("Skips: 1") && !parsed.output.contains("bad trace"))
          let btt = try shell("btt -i merged", in: scratch).checked()
          let latency = try #require(
            btt.output.split(separator: "\n").first { $0.hasPrefix("D2C") })
          #expect(latency.split(separator: " ").last == "5", "\(btt.output)")
        }
      }
    }

    private struct ChromeEvent: Decodable {
      var ph: String
      var ts: Double
      var pid: Int
      var tid: Int
      var name: String
      var cat: String?
      var id: String?
    }

    /// What the trace-event format demands of nestable asynchronous events; Perfetto drops what breaks it.
    @Test("is Chrome's trace-event format", .needs(.fuse, .directIO))
    func chrome() throws {
      try withTemporaryDirectory { scratch in
        try withMount { mount in
          try traced(mount, in: scratch)
          let data = try Data(contentsOf: scratch.appending(path: "chrome.json"))
          let events = try JSONDecoder().decode([ChromeEvent].self, from: data)
          var open: [String: ChromeEvent] = [:]
          var slices = 0
          for event in events {
            switch event.ph {
            case "b":
              let id = try #require(event.id)
              #expect(open.updateValue(event, forKey: id) == nil && event.cat == "request")
            case "e":
              let id = try #require(event.id)
              let removed = open.removeValue(forKey: id)
              let begin = try #require(removed)
              #expect(begin.name == event.name && begin.ts <= event.ts)
              slices += 1
            case "M": #expect(event.name == "process_name")
            default: Issue.record("an event of phase \(event.ph)")
            }
          }
          // Each of the five requests, its pins and its bio.
          #expect(open.isEmpty && slices == 15)
        }
      }
    }

    @Test(
      "ends a read that waits when its program is told to end", .needs(.fuse),
      arguments: Transport.present)
    func interrupts(transport: String) throws {
      try withMount(options: "transport=\(transport)") { mount in
        for name in ["trace", "trace_raw"] {
          for signal in ["TERM", "KILL"] {
            try shell(
              "cat '\(mount.controlFile(name))' >/dev/null & kill -\(signal) $!; wait $!; true",
              limitSeconds: 20
            ).checked()
          }
        }
        // A program that surely waits.
        let script = """
          import os, signal, subprocess, sys, select
          reader = subprocess.Popen(['cat', sys.argv[1]], stdout=subprocess.PIPE)
          reader.stdout.readline()
          while open('/proc/%d/stat' % reader.pid).read().split()[2] == 'R': pass
          reader.send_signal(signal.SIGTERM)
          reader.wait(10)
          """
        for _ in 0..<3 {
          try shell(
            "python3 -c \"\(script)\" '\(mount.controlFile("trace"))' & pid=$!; "
              + "while kill -0 $pid 2>/dev/null; do stat '\(mount.disk)' >/dev/null; done; wait $pid",
            limitSeconds: 30
          ).checked()
        }
      }
    }

    @Test("can be polled", .needs(.fuse, .directIO), arguments: Transport.present)
    func polled(transport: String) throws {
      try withMount(options: "transport=\(transport)") { mount in
        let script = """
          import os, select, subprocess, sys
          control, disk = sys.argv[1:]
          stream = os.open(control + '/trace', os.O_RDONLY | os.O_NONBLOCK)
          def drain():
              while True:
                  try:
                      if not os.read(stream, 65536): return
                  except BlockingIOError: return
          poll = select.poll()
          poll.register(stream, select.POLLIN)
          for round in range(5):
              drain()
              while poll.poll(0): drain()
              writer = subprocess.Popen(
                  ['dd', 'if=/dev/zero', 'of=' + disk, 'bs=4k', 'count=1', 'oflag=direct', 'conv=notrunc'],
                  stderr=subprocess.DEVNULL)
              seen = b''
              while b' reply ' not in seen or b' op=write ' not in seen:
                  assert poll.poll(5000), 'nobody told of events'
                  try: seen += os.read(stream, 65536)
                  except BlockingIOError: pass
              writer.wait()
          """
        try run(
          ["python3", "-c", script, mount.controlFile(""), mount.disk], limitSeconds: 60
        ).checked()
      }
    }

    @Test("shows what it has lost, where it lost it, and counts it", .needs(.fuse, .directIO))
    func losses() throws {
      try withMount(options: "backend=null") { mount in
        let script = """
          import os, subprocess, sys
          stream = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
          subprocess.run(
              ['dd', 'if=' + sys.argv[2], 'of=/dev/null', 'bs=4k', 'count=60000', 'iflag=direct'],
              stderr=subprocess.DEVNULL, check=True)
          text = b''
          while True:
              try: text += os.read(stream, 1 << 20)
              except BlockingIOError: break
          lost = [int(line.split(b'events=')[1]) for line in text.splitlines() if b' lost ' in line]
          print(sum(lost), len(text.splitlines()) - len(lost))
          """
        let result = try run(
          ["python3", "-c", script, mount.controlFile("trace"), mount.disk], limitSeconds: 100
        ).checked()
        let words = result.output.split(separator: " ").compactMap { Int($0.trimmingSuffix()) }
        try #require(words.count == 2)
        #expect(words[0] > 0 && words[0] + words[1] >= 60_000 * 8, "\(result.output)")
        #expect(try mount.statistics()["trace_dropped"] == words[0])
      }
    }

    @Test("belongs to its owner alone", .needs(.fuse, .root))
    func rights() throws {
      try withMount(options: "allow_other") { mount in
        for name in ["trace", "trace_raw"] {
          let path = mount.controlFile(name)
          #expect(try shell("stat -c %a '\(path)'").checked().output == "400\n")
          let other = try shell("setpriv --reuid 65534 --clear-groups head -c 1 '\(path)'")
          #expect(other.exitCode != 0 && other.errors.contains("Permission denied"))
        }
      }
    }

    @Test(
      "that the command follows pins no page", .needs(.fuse, .root, .pinCounters),
      arguments: Transport.present)
    func pinsNothing(transport: String) throws {
      try withMount(options: "transport=\(transport)", imageSizeBytes: 1 << 20) { mount in
        let program = try extractfs()
        var least = Int.max
        for _ in 0..<60 where least > 0 {
          let before = try KernelPins.read()
          let result = try run([program, "trace", mount.directory.path, "--seconds", "0.02"])
            .checked()
          #expect(result.output.contains(" start "))
          least = min(least, try KernelPins.read().acquired - before.acquired)
        }
        #expect(least == 0)
      }
    }
  }
}

extension Substring {
  fileprivate func trimmingSuffix() -> String {
    String(self).trimmingCharacters(in: .whitespacesAndNewlines)
  }
}

/// Whether programs are there; without them a test is skipped.
func hasCommands(_ names: String...) -> Bool {
  names.allSatisfy { name in
    (try? run(["sh", "-c", "command -v \(name)"]).exitCode) == 0
  }
}
