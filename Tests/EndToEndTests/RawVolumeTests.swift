// The image as one file: size, holes and refusals.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("The raw volume")
  struct RawVolumeTests {
    private func expectFailure(
      _ codes: CInt..., sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
    ) throws {
      let failure = try #require(
        throws: SystemFailure.self, sourceLocation: sourceLocation, performing: body)
      #expect(codes.contains(failure.code), "\(failure)", sourceLocation: sourceLocation)
    }

    @Test("shows the image as a file of its size, and nothing else", .needs(.fuse))
    func listing() throws {
      try withMount(imageSizeBytes: 5 << 20) { mount throws in
        #expect(
          try FileManager.default.contentsOfDirectory(atPath: mount.directory.path) == ["disk"])
        #expect(try OpenFile(mount.disk).sizeBytes() == 5 << 20)
      }
    }

    @Test("cannot be truncated or grown", .needs(.fuse))
    func truncation() throws {
      try withMount(imageSizeBytes: 1 << 20) { mount in
        let disk = try OpenFile(mount.disk, .write)
        try expectFailure(EPERM, EINVAL) { try disk.resize(to: 0) }
        try expectFailure(EPERM, EINVAL) { try disk.resize(to: 2 << 20) }
        #expect(try OpenFile(mount.image.path).sizeBytes() == 1 << 20)
      }
    }

    @Test("has no room for writes past its end", .needs(.fuse, .directIO))
    func pastTheEnd() throws {
      try withMount(imageSizeBytes: 1 << 20) { mount in
        let buffer = AlignedBuffer(count: 4096)
        for flags: OpenFlags in [.write, [.write, .direct]] {
          let disk = try OpenFile(mount.disk, flags)
          try expectFailure(ENOSPC, EFBIG, EIO) {
            try disk.write(from: buffer, count: 4096, at: 1 << 20)
            try disk.synchronize()
          }
        }
        #expect(try OpenFile(mount.image.path).sizeBytes() == 1 << 20)
      }
    }

    @Test("refuses to make, remove or rename files", .needs(.fuse))
    func fixedTree() throws {
      try withMount(imageSizeBytes: 1 << 20) { mount throws in
        let path = mount.directory.path
        for command in [
          "touch '\(path)/new'", "mkdir '\(path)/new'", "rm -f '\(path)/disk'",
          "mv '\(path)/disk' '\(path)/new'", "ln -s x '\(path)/new'",
        ] {
          #expect(try shell(command).exitCode != 0, "\(command)")
        }
        #expect(try OpenFile(mount.disk).sizeBytes() == 1 << 20)
      }
    }

    @Test("reports the image's own data and holes", .needs(.fuse, .directIO))
    func seeking() throws {
      try withMount(imageSizeBytes: 16 << 20) { mount in
        let buffer = AlignedBuffer(count: 1 << 20)
        buffer.fill(with: 1)
        let disk = try OpenFile(mount.disk, [.write, .direct])
        try disk.write(from: buffer, count: buffer.count, at: 4 << 20)
        try disk.synchronize()
        let image = try OpenFile(mount.image.path)
        #expect(try image.nextData(from: 0) == 4 << 20)
        #expect(try disk.nextData(from: 0) == 4 << 20)
        #expect(try disk.nextHole(from: 4 << 20) == image.nextHole(from: 4 << 20))
        #expect(try disk.nextHole(from: 0) == 0)
        #expect(try disk.nextData(from: 6 << 20) == nil)
      }
    }

    @Test("passes punched holes on to the image", .needs(.fuse, .directIO))
    func punching() throws {
      try withMount(imageSizeBytes: 4 << 20) { mount in
        let buffer = AlignedBuffer(count: 4 << 20)
        buffer.fill(with: 0xA5)
        let disk = try OpenFile(mount.disk, .write)
        try disk.write(from: buffer, count: buffer.count, at: 0)
        try disk.synchronize()
        try run(["fallocate", "-p", "-o", "1048576", "-l", "1048576", mount.disk]).checked()
        #expect(try OpenFile(mount.image.path).nextHole(from: 0) == 1 << 20)
        for offset in stride(from: 1 << 20, to: 2 << 20, by: 1) { buffer[offset] = 0 }
        let found = AlignedBuffer(count: 4 << 20)
        for path in [mount.disk, mount.image.path] {
          try OpenFile(path).read(into: found, count: found.count, at: 0)
          #expect(found.firstDifference(from: buffer, count: found.count) == nil, "\(path)")
        }
      }
    }

    @Test("refuses writes when mounted ro, and leaves the image as it was", .needs(.fuse))
    func readOnly() throws {
      try withMount(options: "ro", imageSizeBytes: 1 << 20) { mount in
        try expectFailure(EROFS) { _ = try OpenFile(mount.disk, .write) }
        let buffer = AlignedBuffer(count: 1 << 20)
        #expect(try OpenFile(mount.disk).read(into: buffer, count: buffer.count, at: 0) == 1 << 20)
        #expect(try OpenFile(mount.image.path).nextData(from: 0) == nil)
      }
    }

    @Test("reads nothing past the end, and all before it", .needs(.fuse, .directIO))
    func endOfFile() throws {
      let odd = (1 << 20) + 512 * 3
      try withMount(imageSizeBytes: odd) { mount in
        let buffer = AlignedBuffer(count: 1 << 16)
        for flags: OpenFlags in [[], .direct] {
          let disk = try OpenFile(mount.disk, flags)
          #expect(try disk.read(into: buffer, count: buffer.count, at: 1 << 20) == 512 * 3)
          #expect(try disk.read(into: buffer, count: buffer.count, at: odd) == 0)
        }
      }
    }
  }
}
