// Any system call, by its number: tests ask the kernel itself, past what the C library makes of an answer.

import CSystem
import Glibc

/// What a system call can be given.
public protocol SystemCallArgument {
  /// Calls `body` with the machine word that stands for the argument; it is good only that long.
  func withWord(_ body: (Int) -> Int) -> Int
}

extension Int: SystemCallArgument {
  /// The number itself.
  public func withWord(_ body: (Int) -> Int) -> Int { body(self) }
}

extension CInt: SystemCallArgument {
  /// The number itself.
  public func withWord(_ body: (Int) -> Int) -> Int { body(Int(self)) }
}

extension UInt32: SystemCallArgument {
  /// The number itself.
  public func withWord(_ body: (Int) -> Int) -> Int { body(Int(self)) }
}

extension String: SystemCallArgument {
  /// The address of the text, ended by a zero byte.
  public func withWord(_ body: (Int) -> Int) -> Int {
    unsafe withCString { body(Int(bitPattern: $0)) }
  }
}

extension [UInt8]: SystemCallArgument {
  /// The address of the bytes, which the call only reads.
  public func withWord(_ body: (Int) -> Int) -> Int {
    unsafe withUnsafeBytes { body(Int(bitPattern: $0.baseAddress)) }
  }
}

extension AlignedBuffer: SystemCallArgument {
  /// The address of the first byte.
  public func withWord(_ body: (Int) -> Int) -> Int {
    unsafe withBytes(0..<count) { body(Int(bitPattern: $0.baseAddress)) }
  }
}

extension OpenFile: SystemCallArgument {
  /// The descriptor.
  public func withWord(_ body: (Int) -> Int) -> Int { body(Int(descriptor)) }
}

/// syscall(2), which is variadic: the C library's calling conventions for words are the same either way.
private typealias SystemCallFunction =
  @convention(c) (Int, Int, Int, Int, Int, Int, Int) -> Int

private let systemCallFunction: SystemCallFunction = {
  guard let address = unsafe dlsym(nil, "syscall") else { preconditionFailure("no syscall(2)") }
  return unsafe unsafeBitCast(address, to: SystemCallFunction.self)
}()

/// Makes a system call.
/// - Parameter number: one of `SYS_…`.
/// - Throws: `SystemFailure` with the errno.
@discardableResult
public func system(
  _ number: CInt, _ arguments: any SystemCallArgument...
) throws(SystemFailure) -> Int {
  precondition(arguments.count <= 6, "no system call takes so many arguments")
  var words = [Int](repeating: 0, count: 6)
  let result = call(Int(number), arguments[...], &words)
  if result == -1 { throw SystemFailure("system call \(number) with \(arguments)") }
  return result
}

/// Makes a call again for as long as it fails with one of these errors.
@discardableResult
public func retrying<Result>(_ codes: CInt..., call: () throws -> Result) throws -> Result {
  while true {
    do { return try call() } catch let failure as SystemFailure where codes.contains(failure.code) {
      sched_yield()
    }
  }
}

/// Turns one argument after the other into a word, and makes the call when all are.
private func call(
  _ number: Int, _ arguments: ArraySlice<any SystemCallArgument>, _ words: inout [Int]
) -> Int {
  guard let last = arguments.last else {
    return systemCallFunction(
      number, words[0], words[1], words[2], words[3], words[4], words[5])
  }
  var copy = words
  return last.withWord { word in
    copy[arguments.count - 1] = word
    return call(number, arguments.dropLast(), &copy)
  }
}

/// Runs `body` on a thread of its own with the rights of another user: Linux keeps credentials by thread.
public func asUser(_ user: Int, _ body: @escaping @Sendable () throws -> Void) throws {
  try onThreads(1) { _ in
    try system(SYS_setgroups, 0, 0)
    try system(SYS_setresgid, user, user, user)
    try system(SYS_setresuid, user, user, user)
    try body()
  }
}

/// Runs `body` on a thread of its own that stays on one CPU.
public func onCPU(_ number: Int, _ body: @escaping @Sendable () throws -> Void) throws {
  try onThreads(1) { _ in
    try stayOnCPU(number)
    try body()
  }
}

/// Keeps the calling thread, and what it starts, on one CPU.
public func stayOnCPU(_ number: Int) throws {
  let mask = AlignedBuffer(count: 128)
  mask[number / 8] = 1 << (number % 8)
  try system(SYS_sched_setaffinity, 0, mask.count, mask)
}

/// The CPUs on which this process may run.
public func allowedCPUs() throws -> [Int] {
  let mask = AlignedBuffer(count: 128)
  let count = try system(SYS_sched_getaffinity, 0, mask.count, mask)
  return (0..<count * 8).filter { mask[$0 / 8] & (1 << ($0 % 8)) != 0 }
}

extension AlignedBuffer {
  /// The number that lies at an offset, in the machine's own order of bytes.
  public func load<Number: FixedWidthInteger & BitwiseCopyable>(
    _ offset: Int, as type: Number.Type = Number.self
  ) -> Number {
    unsafe withBytes(offset..<offset + MemoryLayout<Number>.size) {
      unsafe $0.loadUnaligned(as: type)
    }
  }

  /// Puts a number at an offset, in the machine's own order of bytes.
  public func store<Number: FixedWidthInteger & BitwiseCopyable>(
    _ number: Number, at offset: Int
  ) {
    unsafe withBytes(offset..<offset + MemoryLayout<Number>.size) {
      unsafe $0.storeBytes(of: number, as: Number.self)
    }
  }

  /// The address of a byte, for a structure that the kernel follows.
  public func address(of offset: Int = 0) -> UInt64 {
    UInt64(UInt(bitPattern: withWord { $0 + offset }))
  }

  /// The bytes in a range.
  public func bytes(_ range: Range<Int>) -> [UInt8] {
    unsafe withBytes(range) { unsafe [UInt8]($0) }
  }
}
