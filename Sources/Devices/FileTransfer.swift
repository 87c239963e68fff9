// Moving a bio's bytes with preadv and pwritev, to the last byte: EINTR and short transfers end here.

import Block
import CSystem
import Glibc
import Memory

extension Bio {
  /// Flags of pwritev2(2) that a bio asks for: a write that is to be durable when it is through.
  var transferFlags: Int32 { isWrite && flags.contains(.fua) ? 2 : 0 }  // RWF_DSYNC
}

/// Tables of segments for the kernel, each as long as a bio can have.
@safe struct SegmentTable: ~Copyable {
  let vectors: UnsafeMutablePointer<iovec>
  static var capacity: Int { 256 }

  init(count: Int = 1) { unsafe vectors = .allocate(capacity: count * Self.capacity) }
  deinit { unsafe vectors.deallocate() }
}

/// Writes a bio's segments into a table for the kernel.
/// - Returns: segments written.
@unsafe func fillSegments(
  _ vectors: UnsafeMutablePointer<iovec>, from bio: borrowing Bio, pages: PageTable
) -> Int {
  var position = bio.iterator
  var count = 0
  while let vector = bio.nextVector(&position) {
    precondition(count < SegmentTable.capacity, "a bio has more segments than a table")
    let bytes = unsafe pages.memory(
      at: vector.page, offset: Int(vector.offset), length: Int(vector.length))
    unsafe vectors[count] = unsafe iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
    count &+= 1
  }
  return count
}

extension ImageFile {
  /// Bytes from the start that lie in whole blocks.
  var wholeBlockBytes: Int { byteCount / blockSize * blockSize }

  /// Moves a bio from or to the image and waits for it.
  /// - Parameter skip: bytes of the bio that were moved already.
  /// - Returns: the error, or nil.
  func transfer(
    _ bio: borrowing Bio, skip: Int = 0, segments: borrowing SegmentTable, pages: PageTable
  ) -> Errno? {
    var count = unsafe fillSegments(segments.vectors, from: bio, pages: pages)
    var first = unsafe segments.vectors
    var offset = Int(bio.sector) << 9
    // Past the last whole block O_DIRECT cannot go: that part is clipped to the image and goes buffered.
    let isBuffered = offset + bio.byteCount > wholeBlockBytes || bio.flags.contains(.cached)
    var left = min(bio.byteCount, byteCount - offset)
    var toSkip = skip
    while left > 0 {
      unsafe dropBytes(toSkip, &first, &count)
      offset += toSkip
      left -= toSkip
      if left == 0 { break }
      unsafe clip(first, &count, to: left)
      let moved = unsafe moveOnce(
        isWrite: bio.isWrite, isBuffered ? bufferedDescriptor : descriptor, first, count, offset,
        flags: bio.transferFlags)
      switch moved {
      case .success(0): return bio.isWrite ? .noSpace : .ioError
      case .success(let bytes): toSkip = bytes
      case .failure(.interrupted), .failure(.wouldBlock): toSkip = 0
      case .failure(let error): return error
      }
    }
    return nil
  }

  private func moveOnce(
    isWrite: Bool, _ descriptor: Int32, _ vectors: UnsafeMutablePointer<iovec>, _ count: Int,
    _ offset: Int, flags: Int32
  ) -> Result<Int, Errno> {
    let moved: Int
    if count == 1 && flags == 0 {
      // One segment is the usual case, and a plain call spares the kernel the copy of the table.
      let segment = unsafe vectors.pointee
      moved =
        unsafe isWrite
        ? pwrite(descriptor, segment.iov_base, segment.iov_len, offset)
        : pread(descriptor, segment.iov_base, segment.iov_len, offset)
    } else {
      moved =
        unsafe isWrite
        ? pwritev2(descriptor, vectors, Int32(count), offset, flags)
        : preadv2(descriptor, vectors, Int32(count), offset, flags)
    }
    return moved >= 0 ? .success(moved) : .failure(Errno(rawValue: errno))
  }

  /// Moves the start of a segment list by some bytes.
  private func dropBytes(
    _ bytes: Int, _ first: inout UnsafeMutablePointer<iovec>, _ count: inout Int
  ) {
    var left = bytes
    while left > 0 && count > 0 {
      let length = unsafe first.pointee.iov_len
      if left < length {
        unsafe first.pointee.iov_base = unsafe first.pointee.iov_base! + left
        unsafe first.pointee.iov_len = length - left
        return
      }
      left -= length
      unsafe first += 1
      count -= 1
    }
  }

  /// Cuts a segment list to some bytes.
  private func clip(_ first: UnsafeMutablePointer<iovec>, _ count: inout Int, to bytes: Int) {
    var left = bytes
    for index in 0..<count {
      if unsafe first[index].iov_len >= left {
        unsafe first[index].iov_len = left
        count = index + 1
        return
      }
      unsafe left -= first[index].iov_len
    }
  }
}
