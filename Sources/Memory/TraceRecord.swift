// One event of a request's life, as it lies in the ring and travels to its reader.

/// A step of a request; the raw values stand in traces that are kept, so they never change.
public enum TraceStep: UInt8, CaseIterable, Sendable {
  /// A stream begins: `request` is the wall clock of the moment in nanoseconds since 1970, `inode` the version of the
  /// layout, `offset` the image's bytes, `length` a logical block's.
  case start = 1
  /// Events were overwritten before they could be read: `length` says how many.
  case lost = 2
  /// A request has come.
  case arrive = 3
  /// It waits for a thaw.
  case hold = 4
  /// The thaw has let it go.
  case thaw = 5
  /// It waits for its file's gate.
  case park = 6
  /// The gate has let it in.
  case enter = 7
  /// Pages were extracted from its iterator: kind, mode, pages.
  case extract = 8
  /// A bio was made of them: place, length, and in `pages` its segments.
  case build = 9
  /// Page parts were merged into segments that stood there: `pages` says how many.
  case merge = 10
  /// The bio was cut on its way: `pages` says into how many more.
  case split = 11
  /// The bio is the device's; `pages` says on how many its bytes lie.
  case submit = 12
  /// The device is through with it; latency since the submission.
  case complete = 13
  /// Its pages were released: mode, pages.
  case release = 14
  /// The request's I/O is through; latency since its arrival.
  case finish = 15
  /// Its answer has left; latency since its arrival.
  case reply = 16
  /// All that was acknowledged is being made durable, for no request in particular.
  case flush = 17
  /// The mount was frozen.
  case freeze = 18
  /// What was taken was not given back exactly once; `pages` more, or `length` too many.
  case defect = 19
  /// A program changed its buffer while a write from it was under way: `length` bytes differ, the first at `offset`.
  case unstable = 20

  /// As reports name it.
  public var name: String { String(describing: self) }
}

/// One event. 64 bytes: a cache line in the ring, and the unit of the raw stream, whose words are little-endian.
///
/// What a step does not have is 0. `arrive` alone tells who asked; a reader joins the others by request. A bio is
/// named by its worker and its place in that worker's pool.
public struct TraceRecord: Equatable, Sendable, BitwiseCopyable {
  /// Words of a record.
  @inlinable public static var wordCount: Int { 8 }
  /// Bytes of a record.
  @inlinable public static var byteCount: Int { 64 }
  /// The version of this layout.
  @inlinable public static var version: UInt64 { 1 }

  /// CLOCK_MONOTONIC in nanoseconds.
  public var timeNanoseconds: Int
  /// The FUSE request's number.
  public var request: UInt64
  /// The inode.
  public var inode: UInt64
  /// Byte offset in the file.
  public var offset: Int
  /// Bytes in the low 40 bits, pages above.
  @usableFromInline var amount: UInt64 = 0
  /// Device sector of 512 bytes in the low 48 bits, the bio's place in its pool above.
  @usableFromInline var place: UInt64 = 0
  /// Of `arrive` the thread in the low half and the user above; else a latency in nanoseconds.
  @usableFromInline var detail: UInt64 = 0
  /// Step, operation, kind and mode, worker, error, flags, from the lowest bits on.
  @usableFromInline var what: UInt64

  /// Puts an event together; what it has besides is set afterwards.
  @inlinable public init(
    _ step: TraceStep, at timeNanoseconds: Int, request: UInt64 = 0, inode: UInt64 = 0,
    offset: Int = 0, length: Int = 0
  ) {
    self.timeNanoseconds = timeNanoseconds
    self.request = request
    self.inode = inode
    self.offset = offset
    what = UInt64(step.rawValue)
    self.length = length
  }

  /// Reads a record from its words.
  /// - Returns: nil if the step is none that this version knows.
  @inlinable public init?(word: (Int) -> UInt64) {
    what = word(7)
    guard TraceStep(rawValue: UInt8(truncatingIfNeeded: what)) != nil else { return nil }
    timeNanoseconds = Int(bitPattern: UInt(word(0)))
    request = word(1)
    inode = word(2)
    offset = Int(bitPattern: UInt(word(3)))
    amount = word(4)
    place = word(5)
    detail = word(6)
  }

  /// A word, for who writes the record.
  @inlinable public func word(_ index: Int) -> UInt64 {
    switch index {
    case 0: UInt64(UInt(bitPattern: timeNanoseconds))
    case 1: request
    case 2: inode
    case 3: UInt64(UInt(bitPattern: offset))
    case 4: amount
    case 5: place
    case 6: detail
    default: what
    }
  }
}

extension TraceRecord {
  @inlinable func bits(_ word: UInt64, _ shift: UInt64, _ width: UInt64) -> Int {
    Int(truncatingIfNeeded: word >> shift & (1 << width &- 1))
  }

  @inlinable
  func setting(_ word: UInt64, _ shift: UInt64, _ width: UInt64, _ value: Int) -> UInt64 {
    let mask = (1 as UInt64) << width &- 1
    return word & ~(mask << shift) | (UInt64(truncatingIfNeeded: value) & mask) << shift
  }

  /// The step.
  @inlinable public var step: TraceStep {
    TraceStep(rawValue: UInt8(truncatingIfNeeded: what)) ?? .lost
  }
  /// Bytes.
  @inlinable public var length: Int {
    get { bits(amount, 0, 40) }
    set { amount = setting(amount, 0, 40, min(max(newValue, 0), 1 << 40 &- 1)) }
  }
  /// Pages, or what the step counts instead.
  @inlinable public var pages: Int {
    get { bits(amount, 40, 24) }
    set { amount = setting(amount, 40, 24, min(max(newValue, 0), 1 << 24 &- 1)) }
  }
  /// Place on the device, in sectors of 512 bytes.
  @inlinable public var sector: UInt64 {
    get { place & (1 << 48 &- 1) }
    set { place = place & ~(1 << 48 &- 1) | newValue & (1 << 48 &- 1) }
  }
  /// The bio's place in its worker's pool.
  @inlinable public var bio: Int {
    get { bits(place, 48, 16) }
    set { place = setting(place, 48, 16, newValue) }
  }
  /// The thread that asked, of `arrive`.
  @inlinable public var thread: Int32 {
    get { Int32(truncatingIfNeeded: detail) }
    set { detail = detail & ~0xffff_ffff | UInt64(UInt32(bitPattern: newValue)) }
  }
  /// The user who asked, of `arrive`.
  @inlinable public var user: UInt32 {
    get { UInt32(truncatingIfNeeded: detail >> 32) }
    set { detail = detail & 0xffff_ffff | UInt64(newValue) << 32 }
  }
  /// Nanoseconds, of `complete`, `finish` and `reply`.
  @inlinable public var latencyNanoseconds: Int {
    get { Int(truncatingIfNeeded: detail) }
    set { detail = UInt64(truncatingIfNeeded: max(newValue, 0)) }
  }
  /// Of bios the kernel's number of the operation (`enum req_op`); of requests that of FUSE.
  @inlinable public var operation: UInt8 {
    get { UInt8(truncatingIfNeeded: what >> 8) }
    set { what = setting(what, 8, 8, Int(newValue)) }
  }
  /// The iterator's kind: place in `countedKindNames`.
  @inlinable public var kind: Int {
    get { bits(what, 16, 4) }
    set { what = setting(what, 16, 4, newValue) }
  }
  /// What was taken on the pages: `.pin`, `.get`, or nothing.
  @inlinable public var mode: FollFlags {
    get { FollFlags(rawValue: UInt32(bits(what, 20, 4))) }
    set { what = setting(what, 20, 4, Int(newValue.cleanupMode.rawValue)) }
  }
  /// The worker in whose ring it lies.
  @inlinable public var worker: Int {
    get { bits(what, 24, 8) }
    set { what = setting(what, 24, 8, newValue) }
  }
  /// Why it failed: an errno, or 0.
  @inlinable public var error: Int {
    get { bits(what, 32, 16) }
    set { what = setting(what, 32, 16, newValue) }
  }
  /// What the step says besides.
  @inlinable public var flags: TraceFlags {
    get { TraceFlags(rawValue: UInt16(truncatingIfNeeded: what >> 48)) }
    set { what = setting(what, 48, 16, Int(newValue.rawValue)) }
  }
}

/// What an event says besides.
public struct TraceFlags: OptionSet, Sendable, BitwiseCopyable {
  /// The bits.
  public let rawValue: UInt16
  /// Wraps the bits.
  @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }
  /// The answer must be durable (O_DSYNC), the bio has FUA.
  @inlinable public static var durable: TraceFlags { TraceFlags(rawValue: 1) }
  /// It comes from a program's direct I/O.
  @inlinable public static var direct: TraceFlags { TraceFlags(rawValue: 2) }
  /// The kernel writes its pages back.
  @inlinable public static var writeback: TraceFlags { TraceFlags(rawValue: 4) }
  /// The bio's pages are the engine's own: nothing was extracted for it.
  @inlinable public static var bounced: TraceFlags { TraceFlags(rawValue: 8) }
  /// The bio goes through the host's page cache.
  @inlinable public static var cached: TraceFlags { TraceFlags(rawValue: 16) }
  /// The bio is made of the zero page.
  @inlinable public static var zeroes: TraceFlags { TraceFlags(rawValue: 32) }
  /// The bio's pages lie in a buffer that is registered with the kernel, so that no transfer pins them.
  @inlinable public static var registered: TraceFlags { TraceFlags(rawValue: 64) }
}
