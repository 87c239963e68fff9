// Programs that change their buffers while direct writes from them are under way, and programs that do not.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("Unstable buffers")
  struct UnstableBufferTests {
    /// A program that writes eight times from one buffer by a call, while another thread of it changes some bytes, or
    /// does not.
    private func program(_ mount: Mount, call: String, isStable: Bool) -> [String] {
      let script = """
        import ctypes, mmap, os, sys, threading, time
        path, call, stable = sys.argv[1:]
        descriptor = os.open(path, os.O_WRONLY | os.O_DIRECT)
        buffer = mmap.mmap(-1, 65536)
        view = memoryview(buffer)
        done = False
        def change():
            count = 0
            while not done:
                count += 1
                view[5000:5004] = count.to_bytes(4, 'little')
                view[20000] = count & 255
        changer = threading.Thread(target=change)
        if stable == 'no':
            changer.start()
            while view[20000] == 0: pass
        for round in range(8):
            if call == 'pwrite': count = os.pwrite(descriptor, view, 65536 * round)
            if call == 'pwritev':
                count = os.pwritev(descriptor, [view[:4096], view[4096:]], 65536 * round)
            if call == 'write': count = os.write(descriptor, view)
            assert count == 65536
        done = True
        if stable == 'no': changer.join()
        """
      return ["python3", "-c", script, mount.disk, call, isStable ? "yes" : "no"]
    }

    private func found(_ mount: Mount) throws -> [[Substring]] {
      try mount.read("unstable").split(separator: "\n").filter { !$0.hasPrefix("#") }
        .map { $0.split(separator: " ") }
    }

    @Test(
      "are found, with program, file and ranges, always while writes are held",
      .needs(.fuse, .directIO, .root), arguments: Transport.present, ["pwrite", "pwritev", "write"])
    func unstable(transport: String, call: String) throws {
      try withMount(options: "transport=\(transport),watch=buffers,hold=150") { mount in
        try run(program(mount, call: call, isStable: false)).checked()
        let figures = try mount.statistics()
        #expect(figures["unstable_buffers"] == 8 && figures["buffers_not_watched"] == 0)
        #expect(figures["buffers_watched"] == 8)
        let lines = try found(mount)
        #expect(lines.count == 8)
        for (round, line) in lines.enumerated() {
          let start = 65536 * round
          #expect(line[2] == "python3" && line[4] == "\(start)" && line[5] == "65536", "\(line)")
          #expect(line[8].hasSuffix("/disk"))
          let ranges = line[7].split(separator: ",").map {
            $0.split(separator: "+").compactMap { Int($0) }
          }
          #expect(
            ranges.allSatisfy { (5000..<5004).contains($0[0] - start) || $0[0] - start == 20000 })
          #expect(ranges.count <= 2)
        }
      }
    }

    @Test(
      "are never seen of a program that leaves its buffer alone", .needs(.fuse, .directIO, .root),
      arguments: Transport.present, ["pwrite", "pwritev", "write"])
    func stable(transport: String, call: String) throws {
      try withMount(options: "transport=\(transport),hold=5,misalign=512") { mount in
        try mount.control("set watch=buffers")
        try run(program(mount, call: call, isStable: true)).checked()
        let figures = try mount.statistics()
        #expect(figures["buffers_watched"] == 8 && figures["unstable_buffers"] == 0)
        #expect(try found(mount).isEmpty)
      }
    }

    @Test("are not looked at when that is off", .needs(.fuse, .directIO, .root))
    func off() throws {
      try withMount { mount in
        try run(program(mount, call: "pwrite", isStable: false)).checked()
        let figures = try mount.statistics()
        #expect(figures["buffers_watched"] == 0 && figures["buffers_not_watched"] == 0)
        #expect(try mount.read("config").contains("watch=off\n"))
      }
    }

    @Test(
      "of asynchronous writes cannot be looked at, and are counted",
      .needs(.fuse, .directIO, .root),
      arguments: ["libaio", "io_uring"])
    func asynchronous(engine: String) throws {
      try withMount(options: "watch=buffers") { mount in
        try shell(
          "fio --name=x --filename='\(mount.disk)' --size=1M --bs=4k --rw=write --direct=1 --ioengine=\(engine) --iodepth=4 --allow_file_create=0"
        ).checked()
        let figures = try mount.statistics()
        #expect(figures["buffers_not_watched"] == 256 && figures["unstable_buffers"] == 0)
      }
    }
  }
}
