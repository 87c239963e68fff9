// A frozen mount and the page cache: what a mapping has changed is held, not lost.

import CSystem
import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("Mapped pages that a frozen mount cannot take yet")
  struct WritebackTests {
    private static let pages = 512

    /// Pages of the mapping lie eight pages apart, so that each is a request.
    private static let stepBytes = 8 * 4096

    /// To be called by a thread of its own: with little memory the kernel writes back early, and who changes a page that
    /// is on its way waits until it has arrived.
    private func fill(_ mapping: FileMapping) {
      let data = AlignedBuffer(count: 4096)
      for page in 0..<Self.pages {
        data.fill(with: UInt8(page % 255 + 1))
        mapping.write(from: data, count: 4096, at: page * Self.stepBytes)
      }
    }

    /// Pages whose bytes did not reach the image.
    private func lostPages(_ mount: Mount) throws -> Int {
      let image = try OpenFile(mount.image.path)
      return try (0..<Self.pages).count { page in
        let found = try image.content(count: 4096, at: page * Self.stepBytes)
        return !holdsOnly(UInt8(page % 255 + 1), found)
      }
    }

    /// Asks for the thaw on one CPU, from this process: a program started now would close what this process has open,
    /// and to close a file is to wait for its changed pages.
    private func thaw(_ mount: Mount, cpu: Int) throws {
      let asking = Background { _ in
        try stayOnCPU(cpu)
        try mount.control("thaw")
      }
      try asking.wait(limitSeconds: 20)
    }

    /// Runs `body` with the kernel's view of a mount that is frozen already, and its disk, opened before that: to open
    /// a file is to wait for its changed pages as well.
    private func withFrozenMount(
      _ options: String, _ body: (Mount, OpenFile, FuseConnection) throws -> Void
    ) throws {
      try withMount(options: options, imageSizeBytes: 32 << 20, limitSeconds: 60) { mount in
        try FuseConnection.of(mount) { connection in
          let disk = try OpenFile(mount.disk, .write)
          try mount.control("freeze")
          try body(mount, disk, connection)
        }
      }
    }

    @Test(
      "all reach the image after the thaw, and msync sees no error",
      .needs(.fuse, .directIO, .root), arguments: Transport.present,
      ["max_io=1M", "queue_depth=2,workers=1", "max_io=64K,queue_depth=4"])
    func areHeld(transport: String, options: String) throws {
      try withFrozenMount("\(options),transport=\(transport)") { mount, disk, connection in
        let cpu = try allowedCPUs()[0]
        let client = Background { _ in
          try stayOnCPU(cpu)
          let mapping = try FileMapping(of: disk, count: Self.pages * Self.stepBytes)
          fill(mapping)
          try mapping.synchronize(count: Self.pages * Self.stepBytes, at: 0)
        }
        try connection.awaitStandstill(orEndOf: [client])
        #expect(try lostPages(mount) == Self.pages, "written while frozen")
        try thaw(mount, cpu: cpu)
        try client.wait(limitSeconds: 30)
        #expect(try lostPages(mount) == 0)
      }
    }

    @Test(
      "all reach the image when nobody waits for them but the kernel's own writeback",
      .needs(.fuse, .directIO, .root), arguments: Transport.present)
    func areHeldForTheKernel(transport: String) throws {
      try withFrozenMount("transport=\(transport)") { mount, disk, connection in
        let mapping = try FileMapping(of: disk, count: Self.pages * Self.stepBytes)
        let starter = Background { _ in
          fill(mapping)
          // SYNC_FILE_RANGE_WRITE: started, and not waited for.
          try system(SYS_sync_file_range, disk, 0, 0, 2)
        }
        try connection.awaitStandstill(orEndOf: [starter])
        try thaw(mount, cpu: allowedCPUs()[0])
        try starter.wait(limitSeconds: 30)
        try mapping.synchronize(count: Self.pages * Self.stepBytes, at: 0)
        #expect(try lostPages(mount) == 0)
      }
    }

    /// Programs' own writes fill every place that the transport has; writeback comes on top, and then the thaw.
    @Test(
      "all reach the image though 64 programs wait in front of them",
      .needs(.fuse, .directIO, .root), arguments: Transport.present,
      ["max_io=1M", "queue_depth=2,workers=1"])
    func areHeldBehindPrograms(transport: String, options: String) throws {
      try withFrozenMount("\(options),transport=\(transport)") { mount, disk, connection in
        let cpu = try allowedCPUs()[0]
        let mapping = try FileMapping(of: disk, count: Self.pages * Self.stepBytes)
        let direct = try OpenFile(mount.disk, [.write, .direct])
        let writers = (0..<64).map { writer in
          Background { _ in
            try stayOnCPU(cpu)
            do {
              try direct.fill(7, count: 4096, at: (16 << 20) + writer * 4096)
            } catch let failure as SystemFailure where failure.code == EAGAIN {}
          }
        }
        let syncer = Background { _ in
          try stayOnCPU(cpu)
          fill(mapping)
          try disk.synchronize()
        }
        try connection.awaitStandstill(orEndOf: writers + [syncer])
        try thaw(mount, cpu: cpu)
        for client in writers + [syncer] { try client.wait(limitSeconds: 30) }
        #expect(try lostPages(mount) == 0)
      }
    }
  }
}
