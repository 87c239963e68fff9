// Text as bytes, put together without strings: a trace can bring a million lines a second.

extension [UInt8] {
  /// Adds text that the program has in itself.
  @inline(__always) public mutating func add(_ text: StaticString) {
    text.withUTF8Buffer { unsafe append(contentsOf: $0) }
  }

  /// Adds text that was made.
  public mutating func add(text: String) { append(contentsOf: text.utf8) }

  /// Adds a number in decimal digits.
  public mutating func add(_ number: Int) {
    if number < 0 { append(UInt8(ascii: "-")) }
    add(number.magnitude)
  }

  /// Adds a number in decimal digits.
  public mutating func add(_ number: UInt64) { add(UInt(number)) }

  /// Adds a number in decimal digits.
  public mutating func add(_ number: UInt) {
    if number < 10 { return append(UInt8(48 + number)) }
    var digits = InlineArray<20, UInt8>(repeating: 0)
    var place = 20
    var rest = number
    while rest > 0 {
      place -= 1
      let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
      digits[place] = UInt8(48 + digit)
      rest = quotient
    }
    for index in place..<20 { append(digits[index]) }
  }

  /// Adds nanoseconds as microseconds with three places.
  public mutating func add(microseconds nanoseconds: Int) {
    let whole = Swift.max(nanoseconds, 0)
    add(whole / 1000)
    append(UInt8(ascii: "."))
    add(threeDigits: whole % 1000)
  }

  /// Adds nanoseconds as seconds with nine places.
  public mutating func add(seconds nanoseconds: Int) {
    let whole = Swift.max(nanoseconds, 0)
    add(whole / 1_000_000_000)
    append(UInt8(ascii: "."))
    add(threeDigits: whole / 1_000_000 % 1000)
    add(threeDigits: whole / 1000 % 1000)
    add(threeDigits: whole % 1000)
  }

  private mutating func add(threeDigits number: Int) {
    append(UInt8(48 + number / 100))
    append(UInt8(48 + number / 10 % 10))
    append(UInt8(48 + number % 10))
  }

  /// Adds a string of JSON: quoted, with what must not stand in one escaped.
  public mutating func add(quoted text: String) {
    append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""): add("\\\"")
      case UInt8(ascii: "\\"): add("\\\\")
      case 0..<32:
        add("\\u00")
        append(UInt8(48 + byte / 16))
        append(byte % 16 < 10 ? 48 + byte % 16 : 87 + byte % 16)
      default: append(byte)
      }
    }
    append(UInt8(ascii: "\""))
  }
}
