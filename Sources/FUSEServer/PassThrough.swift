// Pass-through requests: an ioctl on the volume's file that moves whole blocks between its buffer and the device.

import CFuse3
import CPassThrough
import DirectIO
import Glibc
import Memory
import Volumes

/// The header of a pass-through ioctl, checked.
struct PassThroughCall {
  var header: extractfs_passthrough_header
  let blockBytes: Int

  /// Bytes of the header, in front of the buffer.
  static var headerBytes: Int { MemoryLayout<extractfs_passthrough_header>.size }
  /// Bytes of the whole message.
  static var messageBytes: Int { headerBytes + Int(EXTRACTFS_PASSTHROUGH_BUFFER) }

  var isQuery: Bool { header.operation == UInt32(EXTRACTFS_PASSTHROUGH_QUERY) }
  var isWrite: Bool { header.operation == UInt32(EXTRACTFS_PASSTHROUGH_WRITE) }
  var byteCount: Int { Int(header.blocks) * blockBytes }
  /// Byte position on the device. Sound once `check` has passed.
  var deviceOffset: Int { firstByte + Int(header.lba) * blockBytes }
  /// Where the file's blocks begin on the device.
  private let firstByte: Int
  /// The file's inode.
  let inode: UInt64

  /// Reads a header and answers what a query asks for.
  init(_ message: MemoryWindow, of inode: UInt64, blockBytes: Int, range: Range<Int>) {
    self.inode = inode
    header = message.load(extractfs_passthrough_header.self)
    self.blockBytes = blockBytes
    firstByte = range.lowerBound
    header.block_size = UInt32(blockBytes)
    header.device_blocks = UInt64(range.count / blockBytes)
    header.mapped_bytes = 0
    header.copied_bytes = 0
  }

  /// Checks everything that the caller can get wrong.
  /// - Throws: the errno of the first thing that is.
  func check(isReadOnly: Bool, isWritable: Bool) throws(Errno) {
    let reserved = header.reserved
    guard header.version == UInt32(EXTRACTFS_PASSTHROUGH_VERSION),
      header.operation <= UInt32(EXTRACTFS_PASSTHROUGH_WRITE), reserved == (0, 0, 0, 0, 0)
    else { throw .invalidArgument }
    if isQuery { return }
    if isWrite && isReadOnly { throw .readOnlyFileSystem }
    if isWrite && !isWritable { throw Errno(rawValue: EBADF) }
    let room = Int(EXTRACTFS_PASSTHROUGH_BUFFER) - Int(header.offset)
    if header.blocks == 0 || byteCount > room { throw .invalidArgument }
    let isInside =
      header.lba < header.device_blocks
      && UInt64(header.blocks) <= header.device_blocks - header.lba
    if !isInside { throw isWrite ? .noSpace : .invalidArgument }
  }
}

extension IncomingMessage {
  /// Whether this FUSE_IOCTL would write; for a mount that is frozen.
  var isPassThroughWrite: Bool {
    // `struct fuse_ioctl_in` is as long as 32 bytes; the ioctl's own header follows.
    let start = MessageLayout.requestHeader + 32
    if opcode != Opcode.ioctl || byteCount < start + PassThroughCall.headerBytes { return false }
    return command == extractfs_passthrough_number
      && word(at: start + 4) == UInt32(EXTRACTFS_PASSTHROUGH_WRITE)
  }

  private var command: UInt32 { word(at: MessageLayout.requestHeader + 12) }
}

extension Server {
  /// FUSE_IOCTL: answers at once what is refused or asked, and starts what moves data.
  func passThrough(
    _ inode: UInt64, command: UInt32, handle: UInt64, message: MemoryWindow, room: Int,
    _ request: LibfuseRequest
  ) {
    attempt(request) { () throws(Errno) in
      guard !ControlDirectory.owns(inode), command == extractfs_passthrough_number,
        message.count == PassThroughCall.messageBytes, room == PassThroughCall.messageBytes,
        let worker = CurrentThread.worker
      else { throw .notTypewriter }
      let range = try volume.passThroughRange(of: inode)
      let call = PassThroughCall(
        message, of: inode, blockBytes: device.limits.logicalBlockSize, range: range)
      let file = OpenFile.behind(handle)
      try call.check(isReadOnly: configuration.isReadOnly, isWritable: file.isWritable)
      if call.isQuery {
        replyPassThrough(call, data: MemoryWindow(), request)
      } else {
        worker.startPassThrough(call, of: file.state, message: message, answering: request)
      }
    }
  }

  /// Answers with the header and, for a read, the whole buffer.
  func replyPassThrough(_ call: PassThroughCall, data: MemoryWindow, _ request: LibfuseRequest) {
    request.reply(ioctl: call.header, data)
  }

  /// Drops what the kernel has cached of a range that was written past it, then answers.
  func finishPassThroughWrite(_ call: PassThroughCall, of inode: UInt64, _ request: LibfuseRequest)
  {
    onInvalidationQueue(request) { [self] request throws(Errno) in
      try session.dropCached(inode, offset: call.deviceOffset, byteCount: call.byteCount)
      replyPassThrough(call, data: MemoryWindow(), request)
    }
  }
}

extension Worker {
  /// Puts the caller's buffer where requests have theirs, and starts the transfer.
  func startPassThrough(
    _ call: PassThroughCall, of state: FileState, message: MemoryWindow,
    answering request: LibfuseRequest
  ) {
    let slot = servedSlot
    // The message lies in the same slot, some bytes off: the regions overlap.
    passThroughBuffer(slot).copy(message[PassThroughCall.headerBytes..<message.count])
    slots[slot].request = request
    slots[slot].job = .passThrough
    slots[slot].passThrough = call
    counters.add(.requestsInflight, 1)
    var shape = shape.current
    if shape.kind != .iovec { shape.kind = .ubuf }
    engine.start(
      slot,
      DirectRequest(
        isWrite: call.isWrite, unique: slots[slot].unique, inode: state.inode,
        fileOffset: call.deviceOffset, deviceOffset: call.deviceOffset, length: call.byteCount,
        dataOffset: slots[slot].dataOffset + Int(call.header.offset), shape: shape,
        isPassThrough: true, gate: state.gate))
  }

  /// Answers a pass-through request whose I/O is through, and frees its slot.
  func finishPassThrough(_ slot: Slot, error: Errno?) {
    guard var call = slots[slot].passThrough, let request = slots[slot].request
    else { preconditionFailure("a pass-through request has lost its caller") }
    slots[slot].passThrough = nil
    counters.add(.requestsInflight, -1)
    if let error {
      counters.add(.ioErrors, 1)
      return answer(slot, error: error, request)
    }
    let inode = call.inode
    let (mapped, copied) = engine.passThroughBytes(slot)
    call.header.mapped_bytes = UInt32(mapped)
    call.header.copied_bytes = UInt32(copied)
    answer(slot) {
      if call.isWrite {
        noteWritten(inode, at: call.deviceOffset, byteCount: call.byteCount)
        server.finishPassThroughWrite(call, of: inode, request)
      } else {
        server.replyPassThrough(call, data: passThroughBuffer(slot), request)
      }
    }
  }

  /// The caller's buffer in a slot, shifted as all requests of the mount are.
  private func passThroughBuffer(_ slot: Slot) -> MemoryWindow {
    memory.window(
      slot, from: slots[slot].dataOffset, length: Int(EXTRACTFS_PASSTHROUGH_BUFFER))
  }
}
