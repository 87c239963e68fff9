// An image that lies in memory, which FUSE over io_uring serves by copying from and to a mapping of it.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("An image on tmpfs")
  struct MemoryImageTests {
    /// Mounts a sparse image on tmpfs.
    private func withMemoryMount(
      sizeBytes: Int, _ options: String, _ body: (Mount) throws -> Void
    ) throws {
      try withMemoryDirectory { directory in
        let image = directory.appending(path: "image")
        try makeSparseFile(image, sizeBytes: sizeBytes)
        try withMount(options: options, image: image, body)
      }
    }

    private func blocks(of image: URL) throws -> Int {
      try Int(
        run(["stat", "-c", "%b", image.path]).checked().output
          .trimmingCharacters(in: .whitespacesAndNewlines)) ?? -1
    }

    @Test("is served from a mapping", .needs(.fuse, .fuseRing, .memoryFilesystem))
    func isMapped() throws {
      try withMemoryMount(sizeBytes: 1 << 20, "transport=uring") { mount in
        let config = try mount.read("config")
        #expect(config.contains("device=memory mapped"))
      }
    }

    @Test(
      "matches a plain file under random operations", .needs(.fuse, .memoryFilesystem),
      arguments: ["", "iter=bvec,segs=3,misalign=512", "backend=sync"])
    func matchesPlainFile(options: String) throws {
      try withMemoryDirectory { directory in
        let image = directory.appending(path: "image")
        let shadow = directory.appending(path: "shadow")
        try makeSparseFile(image, sizeBytes: 4 << 20)
        try withMount(options: options, image: image) { mount in
          var operations = RandomOperations(
            subject: mount.disk, shadow: shadow.path, seed: 11, operations: 5000)
          operations.threads = 3
          try operations.run()
          #expect(try mount.statistics().imbalances == [])
        }
        #expect(try firstDifference(between: image.path, and: shadow.path) == nil)
      }
    }

    @Test("gets no blocks from being read", .needs(.fuse, .memoryFilesystem))
    func readsHoles() throws {
      try withMemoryMount(sizeBytes: 8 << 20, "") { mount in
        try shell("dd if='\(mount.disk)' of=/dev/null bs=4k iflag=direct").checked()
        #expect(try blocks(of: mount.image) == 0)
      }
    }

    @Test("gives up what was punched out of it", .needs(.fuse, .memoryFilesystem))
    func punches() throws {
      try withMemoryMount(sizeBytes: 1 << 20, "") { mount in
        let disk = mount.disk
        try shell("dd if=/dev/urandom of='\(disk)' bs=4k oflag=direct conv=notrunc count=256")
          .checked()
        #expect(try blocks(of: mount.image) == 2048)
        try shell("fallocate --punch-hole --offset 0 --length 512KiB '\(disk)'").checked()
        try shell("dd if='\(disk)' of=/dev/null bs=4k iflag=direct").checked()
        #expect(try blocks(of: mount.image) == 1024)
        try shell("cmp --bytes=524288 '\(disk)' /dev/zero").checked()
      }
    }

    @Test(
      "that is cut by somebody else gives errors beyond its end, and data before it",
      .needs(.fuse, .memoryFilesystem))
    func survivesCut() throws {
      try withMemoryMount(sizeBytes: 1 << 20, "") { mount in
        let disk = mount.disk
        try shell("dd if=/dev/urandom of='\(disk)' bs=4k oflag=direct conv=notrunc count=256")
          .checked()
        try shell("head -c 524288 '\(mount.image.path)' > '\(mount.image.path).front'").checked()
        try shell("truncate --size=512K '\(mount.image.path)'").checked()
        for page in [128, 200, 255] {
          let read = try shell(
            "dd if='\(disk)' of=/dev/null bs=4k skip=\(page) count=1 iflag=direct")
          #expect(read.exitCode != 0 && read.errors.contains("Input/output error"), "\(read)")
        }
        try shell(
          "dd if='\(disk)' bs=4k count=128 iflag=direct | cmp - '\(mount.image.path).front'"
        ).checked()
        #expect(try mount.statistics().imbalances == [])
      }
    }
  }
}
