// Filters for tests: each is what one has to write, and no more.

import Block
import Memory
import Ring

/// Holds back what is through, by a timer of the thread's ring.
final class DelayFilter: FilterDevice, @unchecked Sendable {
  // Guard of the unchecked Sendable: nothing changes.
  let nanoseconds: Int

  init(next: any BlockDevice, nanoseconds: Int) {
    self.nanoseconds = nanoseconds
    super.init(next: next)
  }

  override var isImmediate: Bool { false }

  override func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: AnyObject?
  ) throws(Errno) -> any DeviceQueue {
    let behind = try next.makeQueue(pool: pool, depth: depth, context: context, ring: ring)
    guard let ring = ring as? IORing else { return behind }
    return DelayQueue(next: behind, pool: pool, ring: ring, nanoseconds: nanoseconds)
  }
}

private final class DelayQueue: FilterQueue, CompletionOwner {
  private let ring: IORing
  private let nanoseconds: Int
  private var tag: UInt64 = 0
  private var held = 0

  init(next: any DeviceQueue, pool: BioPool, ring: IORing, nanoseconds: Int) {
    self.ring = ring
    self.nanoseconds = nanoseconds
    super.init(next: next, pool: pool)
    tag = ring.addOwner(self)
  }

  deinit { ring.removeOwner(tag) }

  override var isImmediate: Bool { false }
  override var inFlightCount: Int { held + super.inFlightCount }

  override func nextCompleted() -> Bio? {
    while let bio = next.nextCompleted() {
      held += 1
      ring.timer(nanoseconds: nanoseconds, data: tag | UInt64(bio.detach().rawValue))
    }
    return super.nextCompleted()
  }

  func complete(_ data: UInt64, result: Int32) {
    held -= 1
    finish(pool.adopt(BioIndex(rawValue: UInt32(data))))
  }
}

/// Writes down every bio that comes by.
final class RecordFilter: FilterDevice, @unchecked Sendable {
  // Guard of the unchecked Sendable: a test uses it from one thread.
  struct Entry: Equatable {
    var operation: BioOperation
    var sector: UInt64
    var byteCount: Int
    var flags: BioFlags = []
  }

  var entries: [Entry] = []

  override func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: AnyObject?
  ) throws(Errno) -> any DeviceQueue {
    RecordQueue(
      filter: self,
      next: try next.makeQueue(pool: pool, depth: depth, context: context, ring: ring), pool: pool)
  }
}

private final class RecordQueue: FilterQueue {
  private let filter: RecordFilter

  init(filter: RecordFilter, next: any DeviceQueue, pool: BioPool) {
    self.filter = filter
    super.init(next: next, pool: pool)
  }

  override func submit(_ bio: consuming Bio) {
    filter.entries.append(
      .init(
        operation: bio.operation, sector: bio.sector, byteCount: bio.byteCount,
        flags: bio.flags.intersection(.request)))
    next.submit(bio)
  }
}

/// Cuts bios into parts of so many sectors, or clones them; and fails what touches one sector.
final class CutFilter: FilterDevice, @unchecked Sendable {
  // Guard of the unchecked Sendable: nothing changes.
  enum Way: Sendable, Hashable {
    case split(sectors: Int)
    case clone
    case fail(sector: UInt64, Errno)
  }
  let way: Way

  init(next: any BlockDevice, _ way: Way) {
    self.way = way
    super.init(next: next)
  }

  override func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: AnyObject?
  ) throws(Errno) -> any DeviceQueue {
    CutQueue(
      way, next: try next.makeQueue(pool: pool, depth: depth, context: context, ring: ring),
      pool: pool)
  }
}

private final class CutQueue: FilterQueue {
  private let way: CutFilter.Way

  init(_ way: CutFilter.Way, next: any DeviceQueue, pool: BioPool) {
    self.way = way
    super.init(next: next, pool: pool)
  }

  override func submit(_ bio: consuming Bio) {
    do throws(Errno) {
      switch way {
      case .split(let sectors):
        while bio.sectorCount > sectors {
          let front = try bio.split(sectors: sectors)
          front.chain(to: bio, in: chains)
          next.submit(front)
        }
        next.submit(bio)
      case .clone:
        let clone = try bio.clone()
        clone.chain(to: bio, in: chains)
        next.submit(clone)
        finish(bio)
      case .fail(let sector, let error):
        let end = bio.sector + UInt64(bio.sectorCount)
        if (bio.sector..<end).contains(sector) { return finish(bio, error) }
        next.submit(bio)
      }
    } catch {
      finish(bio, error)
    }
  }
}
