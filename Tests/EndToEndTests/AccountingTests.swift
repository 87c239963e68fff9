// What the model counts for I/O of known size.

import TestSupport
import Testing

extension EndToEnd {
  @Suite("A 64 MiB direct write")
  struct AccountingTests {
    /// 64 MiB in pages of 4 KiB.
    private let pages = 16384

    /// By how much figures grow over one dd, and whether the ledger then balances.
    private func figures(
      options: String, control: String? = nil, _ names: [String]
    ) throws -> [String: Int] {
      try withMount(options: options) { mount in
        if let control { try mount.control(control) }
        let before = try mount.statistics()
        try shell(
          "dd if=/dev/zero of='\(mount.disk)' bs=1M count=64 oflag=direct conv=notrunc"
        ).checked()
        let after = try mount.statistics()
        #expect(after.imbalances == [])
        #expect(try after.change(of: "bytes_written", since: before) == 64 << 20)
        return try .init(
          uniqueKeysWithValues: names.map { ($0, try after.change(of: $0, since: before)) })
      }
    }

    @Test("pins and unpins each page once", .needs(.fuse, .directIO))
    func pins() throws {
      let found = try figures(
        options: "",
        [
          "sim_nr_foll_pin_acquired", "sim_nr_foll_pin_released", "sim_nr_foll_get_acquired",
          "sim_pages_listed",
        ])
      #expect(
        found == [
          "sim_nr_foll_pin_acquired": pages, "sim_nr_foll_pin_released": pages,
          "sim_nr_foll_get_acquired": 0, "sim_pages_listed": 0,
        ])
    }

    @Test("takes nothing and lists each page with iter=bvec", .needs(.fuse, .directIO))
    func lists() throws {
      let found = try figures(
        options: "iter=bvec",
        ["sim_nr_foll_pin_acquired", "sim_nr_foll_get_acquired", "sim_pages_listed"])
      #expect(
        found == [
          "sim_nr_foll_pin_acquired": 0, "sim_nr_foll_get_acquired": 0, "sim_pages_listed": pages,
        ])
    }

    @Test("takes and drops a reference to each page with cleanup=get", .needs(.fuse, .directIO))
    func references() throws {
      let found = try figures(
        options: "cleanup=get",
        ["sim_nr_foll_pin_acquired", "sim_nr_foll_get_acquired", "sim_nr_foll_get_released"])
      #expect(
        found == [
          "sim_nr_foll_pin_acquired": 0, "sim_nr_foll_get_acquired": pages,
          "sim_nr_foll_get_released": pages,
        ])
    }

    @Test("follows a change of iterator kind through control", .needs(.fuse, .directIO))
    func followsControl() throws {
      let found = try figures(
        options: "iter=ubuf", control: "set iter=bvec",
        ["sim_nr_foll_pin_acquired", "sim_pages_listed"])
      #expect(found == ["sim_nr_foll_pin_acquired": 0, "sim_pages_listed": pages])
    }

    @Test(
      "does the same through every backend that stores or drops data", .needs(.fuse, .directIO),
      arguments: ["uring", "sync", "memory", "null"])
    func backends(backend: String) throws {
      let found = try figures(
        options: "backend=\(backend)", ["sim_nr_foll_pin_acquired", "sim_nr_foll_pin_released"])
      #expect(
        found == ["sim_nr_foll_pin_acquired": pages, "sim_nr_foll_pin_released": pages])
    }
  }

  @Suite("The kernel's pin counters")
  struct KernelCounterTests {
    /// One buffered pass over the whole image: what the model and the kernel counted for it.
    private func pins(backend: String) throws -> (model: Int, kernel: Int) {
      let sizeBytes = 16 << 20
      return try withMount(options: "backend=\(backend),iter=ubuf", imageSizeBytes: sizeBytes) {
        mount in
        // Real blocks: a hole is read without touching the device, and so without its pins.
        let buffer = AlignedBuffer(count: 1 << 20)
        buffer.fill(with: 0x5A)
        let image = try OpenFile(mount.image.path, .write)
        for offset in stride(from: 0, to: sizeBytes, by: buffer.count) {
          try image.write(from: buffer, count: buffer.count, at: offset)
        }
        try image.synchronize()
        let disk = try OpenFile(mount.disk)
        let (modelBefore, kernelBefore) = (try mount.statistics(), try KernelPins.read())
        for offset in stride(from: 0, to: sizeBytes, by: buffer.count) {
          try disk.read(into: buffer, count: buffer.count, at: offset)
        }
        let (modelAfter, kernelAfter) = (try mount.statistics(), try KernelPins.read())
        return (
          model: try modelAfter.change(of: "sim_nr_foll_pin_acquired", since: modelBefore),
          kernel: kernelAfter.acquired - kernelBefore.acquired
        )
      }
    }

    /// The counters are the whole machine's, so another process may disturb a try, but hardly five.
    @Test(
      "agree with the model's for a buffered client",
      .needs(.fuse, .directIO, .pinningFilesystem, .root, .pinCounters),
      arguments: ["uring", "sync"])
    func agree(backend: String) throws {
      var found: [(model: Int, kernel: Int)] = []
      for _ in 0..<5 {
        let figures = try pins(backend: backend)
        found.append(figures)
        if figures.model == figures.kernel { break }
      }
      let last = try #require(found.last)
      #expect(last.model == last.kernel, "after \(found)")
      #expect(last.model >= (16 << 20) / 4096)
    }
  }
}
