import Testing

@testable import Trace

@Suite("Numbers as text")
struct ByteTextTests {
  @Test("are what printing them gives", arguments: [0, 1, 9, 10, 42, 1_000_000, -7, .max, .min])
  func numbers(number: Int) {
    var text: [UInt8] = []
    text.add(number)
    #expect(String(decoding: text, as: UTF8.self) == "\(number)")
  }

  @Test(
    "have three places as microseconds",
    arguments: [
      (0, "0.000"), (1, "0.001"), (999, "0.999"), (1000, "1.000"), (12_345_678, "12345.678"),
    ])
  func microseconds(nanoseconds: Int, expected: String) {
    var text: [UInt8] = []
    text.add(microseconds: nanoseconds)
    #expect(String(decoding: text, as: UTF8.self) == expected)
  }

  @Test(
    "have nine places as seconds",
    arguments: [(0, "0.000000000"), (1, "0.000000001"), (1_002_003_004, "1.002003004")])
  func seconds(nanoseconds: Int, expected: String) {
    var text: [UInt8] = []
    text.add(seconds: nanoseconds)
    #expect(String(decoding: text, as: UTF8.self) == expected)
  }
}
