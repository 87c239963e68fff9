// The memory of a mount: one arena, cut into request slots, with the page table over it.

import DirectIO
import IOVector
import Memory

/// Where everything lies in the arena, and the model's view of it.
///
/// Page 0 is the zero page. Each slot is a page for the protocol's header, then the payload, which starts on a page,
/// then a page of room for a shift. Behind all slots lie the bounce buffers, which get memory when first used.
public final class RequestMemory: Sendable {
  /// The page table with the arena's memory.
  public let map: MemoryMap
  /// The client's address space: every page present and writable.
  public let space: AddressSpace
  /// Slots of each worker.
  public let slotsPerWorker: Int
  /// The most bytes of one request.
  public let maxIOBytes: Int
  /// Whether the arena is in huge pages.
  public let isHuge: Bool

  /// Slots of all workers; a worker's lie side by side.
  public let slotCount: Int

  private let slotPages: Int
  private let bouncePages: Int
  private let firstBouncePage: Int

  /// Where the client's address space begins: page 0 of the arena is at 4 GiB.
  public static let userBase: UInt64 = 1 << 32

  /// Maps the arena.
  /// - Parameters:
  ///   - workers: how many workers there will be.
  ///   - slotsPerWorker: requests that one worker can have at once.
  ///   - maxIOBytes: the largest request, a multiple of the page size.
  /// - Throws: `.noMemory`.
  public init(workers: Int, slotsPerWorker: Int, maxIOBytes: Int) throws(Errno) {
    self.slotsPerWorker = slotsPerWorker
    self.maxIOBytes = maxIOBytes
    slotPages = 1 + max(maxIOBytes, MessageLayout.minimumReceive) / pageSize + 1
    bouncePages = maxIOBytes / pageSize + 2
    let slots = workers * slotsPerWorker
    slotCount = slots
    let populated = (1 + slots * slotPages) * pageSize
    let arena = try Arena(
      byteCount: populated, lazyByteCount: slots * bouncePages * pageSize)
    firstBouncePage = arena.populatedByteCount / pageSize
    isHuge = !arena.hugePageIndexes.isEmpty
    map = MemoryMap(arena: arena, zeroPage: Page(0))
    let entries = (0..<arena.byteCount / pageSize).map {
      PageTableEntry(page: Page($0), protection: .readWrite)
    }
    space = AddressSpace([(firstPage: Self.userBase >> 12, entries: entries)])
  }

  /// The first page of a slot's payload.
  func payloadPage(_ slot: Int) -> Page { Page(1 + slot * slotPages + 1) }

  /// A slot's payload: room for the largest request, and for what the kernel wants room for.
  @unsafe func payload(_ slot: Int) -> UnsafeMutableRawBufferPointer {
    unsafe map.table.memory(
      at: payloadPage(slot), offset: 0, length: max(maxIOBytes, MessageLayout.minimumReceive))
  }

  /// The first page of a slot's bounce buffer.
  func bouncePage(_ slot: Int) -> Page { Page(firstBouncePage + slot * bouncePages) }
}
