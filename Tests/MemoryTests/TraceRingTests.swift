// The event ring: nothing while nobody reads, everything while somebody is fast enough, a count of the rest.

import Synchronization
import Testing

@testable import Memory

@Suite("An event ring")
struct TraceRingTests {
  private func record(_ number: Int) -> TraceRecord {
    TraceRecord(.arrive, at: number, request: UInt64(number))
  }

  private func numbers(_ cursor: TraceCursor, limit: Int = 1 << 20) -> [UInt64] {
    var found: [UInt64] = []
    cursor.read(limit: limit) { if $0.step != .lost { found.append($0.request) } }
    return found
  }

  @Test("keeps every field of an event")
  func fields() throws {
    var event = TraceRecord(
      .complete, at: 123_456_789_012, request: .max, inode: 42, offset: 1 << 45, length: 1 << 38)
    event.pages = 1 << 20
    event.sector = 1 << 47
    event.bio = 65_535
    event.latencyNanoseconds = 987_654_321
    event.operation = 35
    event.kind = 6
    event.mode = .pin
    event.worker = 255
    event.error = 125
    event.flags = [.durable, .zeroes]
    let copy = try #require(TraceRecord { event.word($0) })
    #expect(copy == event)
    #expect(copy.step == .complete && copy.length == 1 << 38 && copy.pages == 1 << 20)
    #expect(copy.sector == 1 << 47 && copy.bio == 65_535 && copy.latencyNanoseconds == 987_654_321)
    #expect(copy.operation == 35 && copy.kind == 6 && copy.mode == .pin && copy.worker == 255)
    #expect(copy.error == 125 && copy.flags == [.durable, .zeroes])
    event.thread = -1
    event.user = 1000
    #expect(event.thread == -1 && event.user == 1000)
  }

  @Test("is on while there is a reader")
  func onlyRead() {
    let set = TraceSet(workerCount: 1, capacity: 16)
    #expect(!set.isOn && !set.rings[0].isOn)
    var cursor: TraceCursor? = TraceCursor(set)
    #expect(set.rings[0].isOn && cursor?.hasNews == false)
    cursor = nil
    #expect(!set.rings[0].isOn)
  }

  @Test("gives each reader all that came since it began, in the order of time")
  func readers() {
    let set = TraceSet(workerCount: 2, capacity: 16)
    let first = TraceCursor(set)
    set.rings[0].note(record(1))
    set.rings[1].note(record(2))
    let second = TraceCursor(set)
    set.rings[1].note(record(3))
    set.note(record(4))
    set.rings[0].note(record(5))
    #expect(numbers(first) == [1, 2, 3, 4, 5])
    #expect(numbers(second, limit: 2) == [3, 4])
    #expect(numbers(second) == [5])
    #expect(!first.hasNews && !second.hasNews && first.lostCount == 0)
  }

  @Test("writes over the oldest events and says how many", arguments: [17, 31, 100, 1000])
  func losses(count: Int) {
    let set = TraceSet(workerCount: 1, capacity: 16)
    let cursor = TraceCursor(set)
    for number in 1...count { set.rings[0].note(record(number)) }
    let found = numbers(cursor)
    #expect(cursor.lostCount > 0 && cursor.lostCount + found.count == count)
    #expect(found.last == UInt64(count) && found == found.sorted())
  }

  @Test("counts what is lost also for a reader that takes little at a time")
  func smallSteps() {
    let set = TraceSet(workerCount: 2, capacity: 16)
    let cursor = TraceCursor(set)
    for number in 1...50 { set.rings[number % 2].note(record(number)) }
    var found = 0
    while cursor.read(limit: 1, { if $0.step != .lost { found += 1 } }) > 0 {}
    #expect(cursor.lostCount > 0 && cursor.lostCount + found == 50)
  }

  private final class Ended: Sendable { let flag = Atomic<Bool>(false) }

  /// An event that is half written over must never be seen.
  @Test("never shows a torn event to a reader that is overtaken")
  func torn() async {
    let set = TraceSet(workerCount: 1, capacity: 8)
    let ring = set.rings[0]
    let cursor = TraceCursor(set)
    let hasEnded = Ended()
    let count = 200_000
    let writer = Task.detached {
      for number in 1...count {
        var event = TraceRecord(
          .arrive, at: number, request: UInt64(number), inode: UInt64(number), offset: number)
        event.latencyNanoseconds = number
        ring.note(event)
      }
      hasEnded.flag.store(true, ordering: .releasing)
    }
    var seen = 0
    var last = 0
    while true {
      let isLast = hasEnded.flag.load(ordering: .acquiring)
      cursor.read(limit: 64) { event in
        if event.step == .lost { return }
        seen += 1
        let number = event.timeNanoseconds
        #expect(number > last)
        #expect(
          event.request == UInt64(number) && event.inode == UInt64(number)
            && event.offset == number && event.latencyNanoseconds == number)
        last = number
      }
      if isLast && !cursor.hasNews { break }
      await Task.yield()
    }
    await writer.value
    #expect(seen + cursor.lostCount == count)
    #expect(last == count)
  }
}
