// The image through io_uring: bios of many requests under way at once, one system call for a batch.

import Block
import CUring
import Glibc
import Memory
import Ring
import Synchronization

/// The image file, by io_uring.
public final class UringDevice: FileDevice, @unchecked Sendable {
  // Guard of the unchecked Sendable: as of `FileDevice`; what is not constant is made for sharing.
  /// The image in memory, if it lies there.
  private let mapped: MappedImage?
  /// The memory that is registered with the kernel once for all queues.
  private let buffers: SharedBuffers

  /// Serves an image. Where io_uring could only hand transfers on to a kernel thread, they are made by the worker
  /// itself, with preadv2 and pwritev2; all else goes through the ring all the same.
  /// - Parameters:
  ///   - image: the image.
  ///   - mapsMemory: whether an image that lies in memory is mapped. Who asks for that calls `relax` when idle.
  ///   - noteRefusal: told once if transfers cannot use registered buffers, and why.
  public init(
    image: ImageFile, mapsMemory: Bool,
    noteRefusal: @escaping @Sendable (Errno) -> Void = { _ in }
  ) {
    buffers = SharedBuffers(noteRefusal: noteRefusal)
    let isInline = !image.supportsNoWait()
    mapped = isInline && mapsMemory ? MappedImage(image) : nil
    let caching = image.isDirect ? "O_DIRECT" : "buffered"
    super.init(
      image: image,
      name: mapped != nil
        ? "memory mapped (tmpfs)"
        : isInline ? "io_uring, inline transfers (\(caching))" : "io_uring (\(caching))",
      isImmediate: isInline)
  }

  /// Why io_uring cannot be used here, or nil if it can.
  public static func unavailability() -> String? {
    var ring = unsafe io_uring()
    let result = unsafe io_uring_queue_init(2, &ring, 0)
    if result < 0 { return unsafe String(cString: strerror(-result)) }
    unsafe io_uring_queue_exit(&ring)
    return nil
  }

  /// Makes the calling thread's queue on that thread's ring. Without a ring it waits for each bio.
  public override func makeQueue(
    pool: BioPool, depth: Int, context: MemoryContext, ring: AnyObject?
  ) throws(Errno) -> any DeviceQueue {
    guard let ring = ring as? IORing else {
      return SynchronousQueue(
        image: image, mapped: mapped, pool: pool, depth: depth, context: context)
    }
    return try UringQueue(
      image: image, isImmediate: isImmediate, mapped: mapped, buffers: buffers, pool: pool,
      context: context, ring: ring)
  }

  /// Whether a mapping holds memory in this process.
  public override var canRelax: Bool { mapped != nil }
  /// Gives up what the mapping of the image holds in this process.
  public override func relax() { mapped?.relax() }
}
