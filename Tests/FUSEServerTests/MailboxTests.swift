// Letters between threads: none is lost, none comes twice, and the worker is woken.

import Glibc
import Synchronization
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
          mailbox.post((0..<count).map { .serve(poster * letters + sent + $0) })
          sent += count
        }
      }
    }
    var seen = [Bool](repeating: false, count: posters * letters)
    var left = seen.count
    while left > 0 {
      for letter in mailbox.open() {
        guard case .serve(let slot) = letter else {
          Issue.record("a letter of another kind came")
          return
        }
        #expect(!seen[slot], "letter \(slot) came twice")
        seen[slot] = true
        left -= 1
      }
      if left > 0 && mailbox.fallAsleep() {
        var bell = pollfd(fd: mailbox.bell, events: Int16(POLLIN), revents: 0)
        _ = unsafe poll(&bell, 1, -1)
        mailbox.wakeUp()
        mailbox.clearBell()
      }
    }
    #expect(!mailbox.isFilled)
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
