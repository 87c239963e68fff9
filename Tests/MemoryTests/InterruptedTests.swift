// System calls that a signal cut short.

import Glibc
import Memory
import Testing

@Suite("A call that was interrupted")
struct InterruptedTests {
  @Test("is made again until it is not, and its answer is the last one's")
  func repeats() {
    var answers: [(Int, Int32)] = [(-1, EINTR), (-1, EINTR), (7, 0), (-1, EIO)]
    let next = {
      let (answer, number) = answers.removeFirst()
      errno = number
      return answer
    }
    #expect(retryingInterrupted(next) == 7)
    #expect(answers.count == 1)
    #expect(retryingInterrupted(next) == -1)
    #expect(errno == EIO)
  }
}
