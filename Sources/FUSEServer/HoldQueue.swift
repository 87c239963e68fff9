// Letters that workers get later: for writes that are kept in flight on purpose.

import DirectIO
import Dispatch
import Glibc
import Memory

/// A thread that posts letters when their time has come. As many wait as there are request slots.
final class HoldQueue: Sendable {
  private struct Waiting: Sendable {
    let dueNanoseconds: Int
    let mailbox: Mailbox
    let body: @Sendable (Worker) -> Void
  }

  private let waiting = Guarded<[Waiting]>([])
  private let filled = DispatchSemaphore(value: 0)
  private let hasThread = Guarded(false)

  /// Posts `body` to a worker after so many milliseconds.
  func post(
    after milliseconds: Int, to mailbox: Mailbox, _ body: @escaping @Sendable (Worker) -> Void
  ) {
    let due = monotonicNanoseconds() + milliseconds * 1_000_000
    waiting.withLock {
      $0.append(Waiting(dueNanoseconds: due, mailbox: mailbox, body: body))
    }
    let isFirst = hasThread.withLock { has in
      defer { has = true }
      return !has
    }
    if isFirst { _ = startThread(name: "extractfs-hold") { [self] in run() } }
    filled.signal()
  }

  private func run() {
    while true {
      filled.wait()
      // The hold may have been changed meanwhile, so the next is looked for.
      let next = waiting.withLock { list -> Waiting? in
        let place = list.indices.min { list[$0].dueNanoseconds < list[$1].dueNanoseconds }
        return place.map { list.remove(at: $0) }
      }
      guard let next else { continue }
      let left = next.dueNanoseconds - monotonicNanoseconds()
      if left > 0 {
        var pause = timespec(tv_sec: left / 1_000_000_000, tv_nsec: left % 1_000_000_000)
        unsafe nanosleep(&pause, nil)
      }
      next.mailbox.post(.run(next.body))
    }
  }
}
