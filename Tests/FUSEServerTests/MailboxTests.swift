// Letters between threads: none is lost, none comes twice, and the worker is woken.

import DirectIO
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import FUSEServer

@Suite("A mailbox")
struct MailboxTests {
  /// Posts from several threads while one consumes as a worker does.
  @Test("delivers each letter once to a worker that sleeps in between", .timeLimit(.minutes(2)))
  func deliversEach() throws {
    let mailbox = try Mailbox()
    let (posters, letters) = (4, 25_000)
    for poster in 0..<posters {
      startDetachedThread {
        var sent = 0
        while sent < letters {
          // Now one, now a few at once.
          let count = min(1 + sent % 3, letters - sent)
          mailbox.post((0..<count).map { .serve(Slot(poster * letters + sent + $0)) })
          sent += count
        }
      }
    }
    var seen = [Bool](repeating: false, count: posters * letters)
    var left = seen.count
    while left > 0 {
      for letter in try Self.awaitLetters(in: mailbox) {
        guard case .serve(let slot) = letter else {
          Issue.record("a letter of another kind came")
          return
        }
        #expect(!seen[slot.number], "letter \(slot) came twice")
        seen[slot.number] = true
        left -= 1
      }
    }
    // It may still say that it is filled: what a poster notes after its letters were taken.
    #expect(mailbox.open().isEmpty)
  }

  /// Sleeps as a worker does until there are letters.
  private static func awaitLetters(in mailbox: Mailbox) throws -> [Letter] {
    while true {
      let letters = mailbox.open()
      if !letters.isEmpty { return letters }
      if mailbox.fallAsleep() {
        var bell = pollfd(fd: mailbox.bell, events: Int16(POLLIN), revents: 0)
        let secondsUntilHung: Int32 = 30
        if unsafe poll(&bell, 1, secondsUntilHung * 1000) == 0 {
          throw TestFailure("the worker sleeps; letters are there: \(mailbox.isFilled)")
        }
        mailbox.wakeUp()
        mailbox.clearBell()
      }
    }
  }

  /// Each letter is answered before the next is sent, so that both sides fall asleep again and again, and one bell
  /// that is not rung would end all.
  @Test("wakes its worker for each of many letters that come alone", .timeLimit(.minutes(2)))
  func wakesEach() throws {
    let (here, there) = (try Mailbox(), try Mailbox())
    let rounds = 20_000
    startDetachedThread {
      // Should this side sleep too long, the other will say so.
      for _ in 0..<rounds { here.post((try? Self.awaitLetters(in: there)) ?? []) }
    }
    for round in 0..<rounds {
      there.post(.commit(Slot(round)))
      let answer = try Self.awaitLetters(in: here)
      guard answer.count == 1, case .commit(let slot)? = answer.first,
        slot.number == round
      else {
        Issue.record("round \(round) was answered with \(answer)")
        return
      }
    }
    #expect(!here.isFilled && !there.isFilled)
  }

  @Test("lets nobody sleep over a letter")
  func refusesSleep() throws {
    let mailbox = try Mailbox()
    mailbox.wakeUp()
    mailbox.post(.commit(3))
    #expect(!mailbox.fallAsleep())
    guard case .commit(3)? = mailbox.open().first else {
      Issue.record("the letter did not come")
      return
    }
    #expect(mailbox.fallAsleep())
  }

  @Test("rings only for a worker that sleeps")
  func ringsForSleepers() throws {
    let mailbox = try Mailbox()
    var bell = pollfd(fd: mailbox.bell, events: Int16(POLLIN), revents: 0)
    mailbox.wakeUp()
    mailbox.post(.resume(1))
    #expect(unsafe poll(&bell, 1, 0) == 0)
    _ = mailbox.open()
    #expect(mailbox.fallAsleep())
    mailbox.post(.resume(2))
    #expect(unsafe poll(&bell, 1, 0) == 1)
    mailbox.clearBell()
    #expect(unsafe poll(&bell, 1, 0) == 0)
  }
}

/// Starts a thread that nobody joins.
func startDetachedThread(_ body: @escaping @Sendable () -> Void) {
  let thread = startThread(name: "test", body)
  pthread_detach(thread)
}
