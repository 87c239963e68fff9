// The same transfer under the rules of each era: what is taken on its pages, and that all of it is given back.

import Block
import DirectIO
import IOVector
import Memory
import TestSupport
import Testing

@Suite("An era")
struct EraTests {
  /// What one transfer of 8 pages counted.
  private struct Counts: Equatable {
    var pins = 0
    var references = 0
    var listed = 0
    var bouncedBytes = 0
  }

  private static let pages = 8
  private static let kinds: [IOVIter.Kind] = [.ubuf, .iovec, .kvec, .bvec, .xarray, .pipe]

  /// What the series says.
  private func expected(_ kind: IOVIter.Kind, _ era: Era) -> Counts {
    if era == .get {
      return kind == .kvec
        ? Counts(bouncedBytes: Self.pages * pageSize) : Counts(references: Self.pages)
    }
    return kind == .ubuf || kind == .iovec ? Counts(pins: Self.pages) : Counts(listed: Self.pages)
  }

  private func counts(_ fixture: EngineFixture, kind: IOVIter.Kind) -> Counts {
    let number = Int(kind.rawValue)
    return Counts(
      pins: fixture.counters.sum(.pinAcquired, kind: number),
      references: fixture.counters.sum(.getAcquired, kind: number),
      listed: fixture.counters.sum(.pagesListed, kind: number),
      bouncedBytes: fixture.counters.sum(.bouncedBytes))
  }

  private func request(
    isWrite: Bool, kind: IOVIter.Kind, era: Era, segments: Int = 1
  ) -> DirectRequest {
    DirectRequest(
      isWrite: isWrite, unique: 1, inode: 2, fileOffset: 8192, deviceOffset: 8192,
      length: Self.pages * pageSize, dataOffset: 0,
      shape: RequestShape(kind: kind, era: era, segments: segments))
  }

  @Test("decides what is taken, exactly, for every kind", arguments: Era.allCases, kinds)
  func takes(era: Era, kind: IOVIter.Kind) throws {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 5)
    let fixture = try EngineFixture(device: device)
    // A pipe takes data in only, and with it all kinds are compared at reads.
    try fixture.transfer(request(isWrite: false, kind: kind, era: era))
    let found = counts(fixture, kind: kind)
    #expect(found == expected(kind, era))
    let all = fixture.counters
    #expect(all.sum(.simPinAcquired) == found.pins && all.sum(.simGetAcquired) == found.references)
    #expect(all.sum(.simPagesListed) == found.listed)
  }

  @Test(
    "of a request holds to its end, whatever the next request follows",
    arguments: [[.get, .v8, .merged], [.get, .v6_12, .v7_3]] as [[Era]])
  func changes(eras: [Era]) throws {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 5)
    let fixture = try EngineFixture(device: device)
    for (slot, era) in eras.enumerated() {
      fixture.start(slot, request(isWrite: false, kind: .ubuf, era: era))
    }
    // All three are under way: 8 references, 2 times 8 pins.
    let page = { fixture.buffers.payloadPage(Slot($0)) }
    #expect(fixture.map.table.referenceCount(of: page(0)) == 2)
    #expect(fixture.map.table.referenceCount(of: page(1)) == 1025)
    #expect(fixture.map.table.referenceCount(of: page(2)) == 1025)
    var ended = 0
    while ended < 3 { ended += fixture.turn().count }
    #expect(fixture.isBalanced)
    #expect(fixture.counters.sum(.simGetReleased) == 8)
    #expect(fixture.counters.sum(.simPinReleased) == 16)
  }

  @Test(
    "gives the second hold on a page back at once where segments merge in it",
    arguments: Era.allCases)
  func samePageMerges(era: Era) throws {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 5)
    let fixture = try EngineFixture(device: device)
    // 64 segments of a block each: eight to a page, seven of which join the one before.
    try fixture.transfer(request(isWrite: true, kind: .iovec, era: era, segments: 64))
    let all = fixture.counters
    #expect(all.sum(.samePageMerges) == (era.rules.contains(.mergesPieces) ? 56 : 0))
    #expect(all.sum(era == .get ? .simGetAcquired : .simPinAcquired) == 64)
    #expect(all.sum(era == .get ? .simGetReleased : .simPinReleased) == 64)
  }
}

@Suite("Peer-to-peer memory")
struct PeerToPeerTests {
  /// A read of four pages of which the third is peer-to-peer memory.
  private func read(
    allowed: Bool, era: Era, isPassThrough: Bool
  ) throws -> (error: Errno?, isBalanced: Bool) {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 5)
    device.limits.allowsPeerToPeerDMA = allowed
    let fixture = try EngineFixture(device: device)
    fixture.map.table.markPeerToPeer(fixture.engines[0].payloadPage(0).advanced(by: 2))
    let error = fixture.result(
      of: DirectRequest(
        isWrite: false, unique: 1, inode: 2, fileOffset: 0, deviceOffset: 0, length: 4 * pageSize,
        dataOffset: 0, shape: RequestShape(era: era), isPassThrough: isPassThrough))
    return (error, fixture.isBalanced)
  }

  @Test(
    "is refused with EREMOTEIO unless the queue takes it", arguments: Era.allCases, [false, true])
  func refused(era: Era, isPassThrough: Bool) throws {
    let refused = try read(allowed: false, era: era, isPassThrough: isPassThrough)
    #expect(refused.error == .remoteIO && refused.isBalanced)
    let allowed = try read(allowed: true, era: era, isPassThrough: isPassThrough)
    #expect(allowed.error == nil && allowed.isBalanced)
  }
}
