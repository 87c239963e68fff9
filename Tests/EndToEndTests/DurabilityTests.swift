// What a write asks for besides the data: durability at the answer, and the right word for the end of the device.

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  @Suite("A direct write")
  struct DurabilityTests {
    /// The ways to ask for a durable answer.
    enum Demand: String, CaseIterable {
      case openDataSynchronous, openSynchronous, dataSynchronous, synchronous

      var openFlags: OpenFlags {
        switch self {
        case .openDataSynchronous: [.write, .direct, OpenFlags(rawValue: O_DSYNC)]
        case .openSynchronous: [.write, .direct, OpenFlags(rawValue: O_SYNC)]
        default: [.write, .direct]
        }
      }

      var flags: Int {
        switch self {
        case .dataSynchronous: TransferFlags.dataSynchronous
        case .synchronous: TransferFlags.synchronous
        default: 0
        }
      }
    }

    /// Flushes of the image, and writes that were durable by themselves.
    private func durableWrites(_ mount: Mount) throws -> Int {
      let figures = try mount.statistics()
      return (figures["flushes"] ?? 0) + (figures["fua_writes"] ?? 0)
    }

    @Test(
      "is durable when it is answered, if it asks for that", .needs(.fuse, .directIO),
      arguments: Transport.present.flatMap { name in Demand.allCases.map { (name, $0) } },
      WriteInterface.allCases)
    func isDurable(mounted: (transport: String, demand: Demand), by interface: WriteInterface)
      throws
    {
      let (transport, demand) = mounted
      try withMount(options: "transport=\(transport)", imageSizeBytes: 1 << 20) { mount in
        let disk = try OpenFile(mount.disk, demand.openFlags)
        let data = AlignedBuffer(count: 8192)
        // A part of a block has a read before it, and several blocks are one request all the same.
        for (number, count) in [4096, 512, 100, 8192, 4096, 513, 4096, 1].enumerated() {
          let before = try durableWrites(mount)
          let moved = try interface.write(
            disk, from: data, count: count, at: number * 8192, flags: demand.flags)
          try #require(moved == count)
          #expect(try durableWrites(mount) > before, "\(count) bytes")
        }
      }
    }

    @Test(
      "that does not ask for it costs no flush", .needs(.fuse, .directIO),
      arguments: Transport.present, WriteInterface.allCases)
    func isCheap(transport: String, by interface: WriteInterface) throws {
      try withMount(options: "transport=\(transport)", imageSizeBytes: 1 << 20) { mount in
        let disk = try OpenFile(mount.disk, [.write, .direct])
        let before = try durableWrites(mount)
        _ = try interface.write(disk, from: AlignedBuffer(count: 4096), count: 4096, at: 0)
        #expect(try durableWrites(mount) == before)
      }
    }

    @Test(
      "finds no space at and past the end of the device, and may fill what lies before it",
      .needs(.fuse, .directIO), arguments: Transport.present, WriteInterface.allCases)
    func endsAtTheEnd(transport: String, by interface: WriteInterface) throws {
      let end = 1 << 20
      try withMount(options: "transport=\(transport)", imageSizeBytes: end) { mount in
        let disk = try OpenFile(mount.disk, [.write, .direct])
        let data = AlignedBuffer(count: 16384)
        data.fill(with: 7)
        for (offset, count) in [
          (end, 4096), (end, 1), (end + 4096, 512), (end + 100, 100), (1 << 40, 4096),
          (end - 4096, 8192), (end - 512, 16384), (end - 100, 200), (end - 1, 2),
        ] {
          let moved = try interface.write(disk, from: data, count: count, at: offset)
          let fits = moved > 0 && offset + moved <= end
          #expect(moved == -Int(ENOSPC) || fits, "\(count) bytes at \(offset): \(moved)")
          #expect(try disk.sizeBytes() == end)
        }
        #expect(try OpenFile(mount.image.path).sizeBytes() == end)
      }
    }

    @Test(
      "and every other kind finds no space past the end", .needs(.fuse, .directIO),
      arguments: Transport.present,
      [
        "dd if=/dev/zero of=disk bs=4096 seek=256 count=1 conv=notrunc",
        "dd if=/dev/zero of=disk bs=4096 seek=255 count=2 conv=notrunc",
        "dd if=/dev/zero of=disk bs=1000 seek=1048 count=2 conv=notrunc,fsync",
        "dd if=/dev/zero of=disk bs=1M seek=1 count=1 conv=notrunc oflag=direct",
        "dd if=/dev/zero of=disk bs=64k count=20 conv=notrunc oflag=direct",
        "dd if=/dev/zero of=disk bs=512 count=1 conv=notrunc oflag=append",
        "cat /dev/zero | head -c 5000 | dd of=disk bs=5000 iflag=fullblock conv=notrunc oflag=append",
      ])
    func everyKindEnds(transport: String, command: String) throws {
      try withMount(options: "transport=\(transport)", imageSizeBytes: 1 << 20) { mount in
        let result = try shell(command, in: mount.directory)
        #expect(result.exitCode != 0 && result.errors.contains("No space left"), "\(result)")
        #expect(try OpenFile(mount.disk).sizeBytes() == 1 << 20)
      }
    }
  }
}
