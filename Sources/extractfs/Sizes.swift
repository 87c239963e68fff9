// Sizes as people write them: 512, 64k, 1M, 1G.

/// Reads a byte count with an optional suffix k, M, G or T, each 1024 times the one before.
/// - Returns: nil if it is no number, negative, or too large.
func parseSize(_ text: String) -> Int? {
  let shifts: [Character: Int] = [
    "k": 10, "K": 10, "m": 20, "M": 20, "g": 30, "G": 30, "t": 40, "T": 40,
  ]
  guard let last = text.last else { return nil }
  let shift = shifts[last] ?? 0
  let digits = shift == 0 ? text[...] : text.dropLast()
  guard !digits.isEmpty, digits.allSatisfy(\.isNumber), let number = Int(digits),
    number <= Int.max >> shift
  else { return nil }
  return number << shift
}
