// Requests that are given up while they are served.

import TestSupport
import Testing

extension EndToEnd {
  @Suite("A connection aborted in the middle of fio")
  struct AbortTests {
    @Test(
      "leaves nothing pinned", .needs(.fuse, .fio, .directIO),
      arguments: ["iter=ubuf", "cleanup=get,backend=sync", "iter=iovec,segs=7,misalign=100"])
    func leavesNothingPinned(options: String) throws {
      try withMount(options: options) { mount in
        let before = try mount.statistics()
        try onThreads(2) { index in
          if index == 0 {
            let result = try run([
              "fio", "--filename=\(mount.disk)", "--direct=1",
              "--ioengine=\(Feature.asynchronousEngine)", "--iodepth=16", "--rw=randrw",
              "--bs=64k", "--size=64M", "--time_based", "--runtime=60", "--allow_file_create=0",
              "--fallocate=none", "--name=load",
            ])
            if result.exitCode == 0 { throw TestFailure("fio did not notice: \(result)") }
          } else {
            var written = 0
            while written < 100 {
              written = try mount.statistics().change(of: "requests_write", since: before)
            }
            // A forced unmount aborts the connection: every waiting request fails at once.
            try run(["umount", "-f", "-l", mount.directory.path]).checked()
          }
        }
        let end = try mount.awaitEnd()
        #expect(end.exitCode == 0, "\(end.log)")
        #expect(end.log.contains("ledger balanced, 0 pages left pinned"), "\(end.log)")
      }
    }

    @Test("is not needed for a client that is killed: its requests end", .needs(.fuse, .fio))
    func killedClient() throws {
      try withMount { mount in
        // Signals interrupt fio's requests; timeout(1) sends the one that cannot be caught.
        for _ in 0..<5 {
          let result = try run([
            "timeout", "-s", "KILL", "0.2", "fio", "--filename=\(mount.disk)", "--direct=1",
            "--ioengine=psync", "--thread", "--rw=randrw", "--bs=1M", "--size=64M", "--numjobs=2",
            "--time_based", "--runtime=60", "--allow_file_create=0", "--fallocate=none",
            "--name=load",
          ])
          #expect(result.exitCode != 0)
        }
        try mount.control("freeze")
        try mount.control("thaw")
        #expect(try mount.statistics().imbalances == [])
      }
    }
  }
}
