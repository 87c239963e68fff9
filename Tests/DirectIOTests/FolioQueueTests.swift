// Requests presented as queues of folios: listed where the era knows them, copied before.

import DirectIO
import IOVector
import Memory
import Testing

@Suite("A request in a queue of folios")
struct FolioQueueRequestTests {
  @Test("is listed from 6.12 on, and copied before", arguments: Era.allCases, [0, 512, 3584])
  func transfers(era: Era, dataOffset: Int) throws {
    let device = ScriptedDevice(byteCount: 1 << 20, blockSize: 512, seed: 5)
    let fixture = try EngineFixture(device: device)
    for isWrite in [true, false] {
      try fixture.transfer(
        DirectRequest(
          isWrite: isWrite, unique: 1, inode: 2, fileOffset: 8192, deviceOffset: 8192,
          length: 8 * pageSize, dataOffset: dataOffset, shape: RequestShape(kind: .folioq, era: era)
        ))
    }
    let all = fixture.counters
    let isKnown = era.rules.contains(.knowsFolioQueues)
    #expect((all.sum(.simPagesListed) > 0) == isKnown)
    #expect(all.sum(.bouncedBytes) == (isKnown ? 0 : 2 * 8 * pageSize))
    #expect(all.sum(.simPinAcquired) == 0 && all.sum(.simGetAcquired) == 0)
    #expect(fixture.isBalanced)
  }
}
