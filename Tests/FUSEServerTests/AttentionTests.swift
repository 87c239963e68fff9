// When an idle worker looks around, and the way of answers of a thread.

import DirectIO
import Glibc
import Synchronization
import Testing

@testable import FUSEServer

@Suite("Attention")
struct AttentionTests {
  /// Longer than any test.
  private static let forever = Int.max / 4

  @Test("is never paid where spin is 0")
  func isOff() {
    let pulses = Pulses(workerCount: 2)
    let windows = Pulses(workerCount: 2)
    var attention = Attention(worker: 0, pulses: pulses, windows: windows, maximumNanoseconds: 0)
    attention.noteWork()
    pulses.beat(1, at: monotonicNanoseconds())
    #expect(!attention.isPaid)
    #expect(pulses.beat(of: 0) == 0)
  }

  @Test("is paid after a request that came soon, and by the neighbour too")
  func keepsCompany() {
    let pulses = Pulses(workerCount: 2)
    let windows = Pulses(workerCount: 2)
    var first = Attention(
      worker: 0, pulses: pulses, windows: windows, maximumNanoseconds: Self.forever)
    let second = Attention(worker: 1, pulses: pulses, windows: windows, maximumNanoseconds: 1 << 40)
    pulses.beat(0, at: 0)
    first.noteIdle()
    first.noteWork()
    #expect(pulses.beat(of: 0) > 0)
    #expect(first.isPaid)
    #expect(second.isPaid)
  }

  @Test("is each worker's own where there are many")
  func isOwnAmongMany() {
    let pulses = Pulses(workerCount: 3)
    let windows = Pulses(workerCount: 3)
    var first = Attention(worker: 0, pulses: pulses, windows: windows, maximumNanoseconds: 1 << 40)
    let second = Attention(worker: 1, pulses: pulses, windows: windows, maximumNanoseconds: 1)
    first.noteWork()
    #expect(first.isPaid)
    #expect(!second.isPaid)
  }

  @Test("ends at once with news")
  func endsWithNews() {
    let pulses = Pulses(workerCount: 1)
    let windows = Pulses(workerCount: 1)
    let attention = Attention(
      worker: 0, pulses: pulses, windows: windows, maximumNanoseconds: Self.forever)
    var looks = 0
    let found = attention.lookAround {
      looks += 1
      return true
    }
    #expect(found && looks == 1)
  }

  @Test("ends without news when the last request is too long ago")
  func endsWithoutNews() {
    let pulses = Pulses(workerCount: 1)
    let windows = Pulses(workerCount: 1)
    let attention = Attention(worker: 0, pulses: pulses, windows: windows, maximumNanoseconds: 1)
    #expect(!attention.lookAround { false })
  }
}

@Suite("The way of a thread's answers")
struct AnswerRouteTests {
  @Test("is what was set, on its own thread only")
  func isPerThread() {
    CurrentThread.route = AnswerRoute(descriptor: 12)
    let others = Others()
    let thread = startThread(name: "test") {
      others.descriptor.store(
        Int(CurrentThread.route.descriptor), ordering: .sequentiallyConsistent)
    }
    pthread_join(thread, nil)
    #expect(others.descriptor.load(ordering: .sequentiallyConsistent) == -1)
    #expect(CurrentThread.route.descriptor == 12)
    CurrentThread.route = .none
    #expect(CurrentThread.route.descriptor == -1)
    #expect(CurrentThread.route.slot == -1)
  }
}

extension AnswerRouteTests {
  /// Only its identity is looked at, so anything that can be counted stands for a worker, which needs a mount.
  private final class StandIn {}

  @Test("is a descriptor, or a slot of a worker, and never a mixture of both")
  func isOneOrTheOther() throws {
    let standIn = StandIn()
    let worker = unsafe unsafeBitCast(standIn, to: Worker.self)
    defer { CurrentThread.route = .none }
    for number: Int32 in [0, 1, 7, .max - 1, .max] {
      CurrentThread.route = AnswerRoute(slot: Slot(Int(number)), of: worker)
      let bySlot = CurrentThread.route
      #expect(bySlot.slot == number && bySlot.descriptor == -1)
      #expect(unsafe bySlot.worker === worker)
      CurrentThread.route = AnswerRoute(descriptor: number)
      let byDescriptor = CurrentThread.route
      #expect(byDescriptor.slot == -1 && byDescriptor.descriptor == number)
      #expect(unsafe byDescriptor.worker == nil)
    }
    withExtendedLifetime(standIn) {}
  }
}

/// What another thread saw.
private final class Others: Sendable {
  let descriptor = Atomic<Int>(0)
}
