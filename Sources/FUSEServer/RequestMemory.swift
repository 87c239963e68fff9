// The memory of a mount: one arena, cut into request slots, with the page table over it.

import DirectIO
import IOVector
import Memory

/// Where everything lies in the arena, and the model's view of it.
///
/// Page 0 is the zero page. Each slot is a page for the protocol's header, then the payload, which starts on a page,
/// then a page of room for a shift. The slots in everyday use have their memory from the start. Behind them lies what
/// gets memory when it is first used: the bounce buffers, and spare slots, which only many requests at once reach.
public final class RequestMemory: Sendable {
  /// The page table with the arena's memory.
  public let map: MemoryMap
  /// The client's address space: every page present and writable.
  public let space: AddressSpace
  /// Slots of each worker, spare ones included.
  public let slotsPerWorker: Int
  /// The most bytes of one request.
  public let maxIOBytes: Int
  /// Whether the arena is in huge pages.
  public let isHuge: Bool

  /// Slots of all workers; a worker's lie side by side, the spare ones last.
  public let slotCount: Int

  private let payloadPages: [Page]
  private let bouncePages: Int
  private let firstBouncePage: Int

  /// Where the client's address space begins: page 0 of the arena is at 4 GiB.
  public static let userBase: UInt64 = 1 << 32

  /// Maps the arena.
  /// - Parameters:
  ///   - workers: how many workers there will be.
  ///   - slotsPerWorker: requests that one worker has at once every day.
  ///   - spareSlotsPerWorker: slots that have memory only once they are used.
  ///   - maxIOBytes: the largest request, a multiple of the page size.
  /// - Throws: `.noMemory`.
  public init(
    workers: Int, slotsPerWorker dense: Int, spareSlotsPerWorker spare: Int = 0, maxIOBytes: Int
  ) throws(Errno) {
    slotsPerWorker = dense + spare
    self.maxIOBytes = maxIOBytes
    let slotPages = 1 + max(maxIOBytes, MessageLayout.minimumReceive) / pageSize + 1
    let bouncePages = maxIOBytes / pageSize + 2
    slotCount = workers * (dense + spare)
    let populated = (1 + workers * dense * slotPages) * pageSize
    let arena = try Arena(
      byteCount: populated,
      lazyByteCount: (slotCount * bouncePages + workers * spare * slotPages) * pageSize)
    firstBouncePage = arena.populatedByteCount / pageSize
    self.bouncePages = bouncePages
    let firstSpare = firstBouncePage + slotCount * bouncePages
    payloadPages = (0..<slotCount).map { slot in
      let (worker, place) = slot.quotientAndRemainder(dividingBy: dense + spare)
      return place < dense
        ? Page(1 + (worker * dense + place) * slotPages + 1)
        : Page(firstSpare + (worker * spare + place - dense) * slotPages + 1)
    }
    isHuge = !arena.hugePageIndexes.isEmpty
    map = MemoryMap(arena: arena, zeroPage: Page(0))
    let entries = (0..<arena.byteCount / pageSize).map {
      PageTableEntry(page: Page($0), protection: .readWrite)
    }
    space = AddressSpace([(firstPage: Self.userBase >> 12, entries: entries)])
  }

  /// The first page of a slot's payload.
  func payloadPage(_ slot: Slot) -> Page { payloadPages[slot.number] }

  /// Bytes of a payload.
  var payloadBytes: Int { max(maxIOBytes, MessageLayout.minimumReceive) }

  /// A slot's payload: room for the largest request, and for what the kernel wants room for.
  func payload(_ slot: Slot) -> MemoryWindow {
    window(slot, from: 0, length: payloadBytes)
  }

  /// Bytes of a slot, from a place on that counts from the payload's start; a page lies before that and one behind it.
  func window(_ slot: Slot, from offset: Int, length: Int) -> MemoryWindow {
    unsafe MemoryWindow(
      map.table.memory(
        at: payloadPage(slot).advanced(by: -1), offset: pageSize + offset, length: length))
  }

  /// A slot's memory from the page before the payload on: room for a whole message from an aligned place.
  func messageRoom(_ slot: Slot, byteCount: Int) -> MemoryWindow {
    window(
      slot, from: -pageSize, length: max(pageSize + MessageLayout.minimumReceive, byteCount))
  }

  /// The first page of a slot's bounce buffer.
  func bouncePage(_ slot: Slot) -> Page { Page(firstBouncePage + slot.number * bouncePages) }
}
