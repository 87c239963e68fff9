// Requests about open files and directories, but for the data itself.

import CFuse3
import CSystem
import Glibc
import Memory
import Volumes

/// Bits of `open_flags` of FUSE_OPEN's answer; include/uapi/linux/fuse.h.
enum OpenFlags {
  /// `FOPEN_DIRECT_IO`.
  static let directIO: UInt32 = 1 << 0
  /// `FOPEN_KEEP_CACHE`.
  static let keepCache: UInt32 = 1 << 1
  /// `FOPEN_NOFLUSH`. Without it Linux 6.1 takes the inode's lock at every close(2), and waits for a write that a freeze
  /// holds. Nothing is lost: pages are changed through mappings only, and the end of a mapping writes them back.
  static let noFlush: UInt32 = 1 << 5
  /// `FOPEN_PARALLEL_DIRECT_WRITES`: newer than libfuse 3.14's `fuse_file_info`, so the answer is made here.
  static let parallelDirectWrites: UInt32 = 1 << 6
  /// `FOPEN_NONSEEKABLE` and `FOPEN_STREAM`: reads go on where the last one ended, wherever the program thinks it is.
  static let stream: UInt32 = 1 << 2 | 1 << 4
  /// For files of the volume. Nobody else changes them, so what the kernel has cached stays right from one open to the
  /// next; without that, an open would first write changed pages back and so wait while the mount is frozen.
  static let ofVolume = parallelDirectWrites | keepCache | noFlush
}

extension Server {
  // MARK: Opening and closing

  /// FUSE_OPEN.
  func open(_ inode: UInt64, flags: Int32, _ request: LibfuseRequest) {
    if ControlDirectory.owns(inode) {
      attempt(request) { () throws(Errno) in try openControl(inode, flags, request) }
      return
    }
    let caller = request.caller
    onVolume(request) { [self] request throws(Errno) in
      if try volume.attributes(of: inode).type == .directory { throw .isDirectory }
      let handle = try openVolumeFile(inode, flags: flags, by: caller)
      replyOpen(handle, flags: OpenFlags.ofVolume, request)
    }
  }

  /// A control file that is read goes through the kernel's cache, so that reading pins nobody's pages. One that is both
  /// written and read must bring each reply anew.
  private func openControl(_ node: UInt64, _ flags: Int32, _ request: LibfuseRequest) throws(Errno)
  {
    let access = flags & O_ACCMODE
    if access != O_RDONLY, try control.file(node).accept == nil { throw .accessDenied }
    if let stream = try control.file(node).stream {
      let handle = try streams.open(stream)
      return replyOpen(handle, flags: OpenFlags.directIO | OpenFlags.stream, request)
    }
    _ = try control.text(node)
    replyOpen(0, flags: access == O_RDWR ? OpenFlags.directIO : 0, request)
  }

  /// Opens a file of the volume.
  /// - Returns: what the kernel is to call it by.
  func openVolumeFile(
    _ inode: UInt64, flags: Int32, by caller: Caller
  ) throws(Errno) -> UInt64 {
    let writes = flags & O_ACCMODE != O_RDONLY
    if writes && configuration.isReadOnly { throw .readOnlyFileSystem }
    let handle = try volume.open(inode, flags: flags, by: caller)
    return openFiles.open(inode, volumeHandle: handle, isWritable: writes)
  }

  /// FUSE_OPENDIR.
  func openDirectory(_ inode: UInt64, _ request: LibfuseRequest) {
    if ControlDirectory.owns(inode) {
      replyOpen(0, flags: 0, request)
      return
    }
    let caller = request.caller
    onVolume(request) { [self] request throws(Errno) in
      let handle = try volume.open(inode, flags: O_RDONLY | O_DIRECTORY, by: caller)
      replyOpen(
        openFiles.open(inode, volumeHandle: handle, isWritable: false), flags: 0, request)
    }
  }

  private func replyOpen(_ handle: UInt64, flags: UInt32, _ request: LibfuseRequest) {
    request.reply(structure: fuse_open_out(fh: handle, open_flags: flags, padding: 0))
  }

  /// FUSE_RELEASE and FUSE_RELEASEDIR.
  func closeFile(_ inode: UInt64, handle: UInt64, _ request: LibfuseRequest) {
    if ControlDirectory.owns(inode) {
      if handle != 0 { streams.close(handle) }
      request.reply()
      return
    }
    onVolume(request) { [self] request throws(Errno) in
      volume.close(inode, handle: openFiles.close(handle))
      request.reply()
    }
  }

  /// FUSE_POLL: a stream is ready when there are events.
  ///
  /// For any other file the answer is ENOSYS, after which the kernel asks no more, for no file of the mount, and takes
  /// all for ready: io_uring polls a file before each read and write, and one request more for each would halve its
  /// speed. Only while somebody polls a stream, others are told that they are ready, at that price.
  ///
  /// Kernel: `fuse_file_poll()`, fs/fuse/file.c, and `io_file_supports_nowait()`, io_uring/rw.c, v6.18.
  func poll(
    _ inode: UInt64, file handle: UInt64, waiter: TraceStreams.PollHandle?,
    _ request: LibfuseRequest
  ) {
    if ControlDirectory.owns(inode) && handle != 0 {
      return request.reply(events: streams.poll(handle, handle: waiter))
    }
    if !streams.arePolled { return request.reply(.notImplemented) }
    request.reply(events: UInt32(POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM))
  }

  // MARK: Listing

  /// Places in a listing: `.`, `..`, the control directory where it is visible, then the volume's own cookies.
  private enum ListingPlace {
    static let parent = 1
    static let control = 2
    static let volume = 3
  }

  /// FUSE_READDIR and FUSE_READDIRPLUS: `offset` is the place behind the last entry that was given.
  func list(
    _ inode: UInt64, handle: UInt64, room: Int, from offset: Int, withAttributes: Bool,
    _ request: LibfuseRequest
  ) {
    onVolume(request) { [self] request throws(Errno) in
      var listing = Listing(room: room, withAttributes: withAttributes)
      var isFull = false
      func add(_ name: FileName, _ inode: UInt64, _ type: FileType, next: Int) {
        if !isFull {
          isFull = !listing.add(name, VolumeEntry(stub(inode, type)), 0, next: next, request)
        }
      }
      if offset < ListingPlace.parent {
        add(FileName("."), inode, .directory, next: ListingPlace.parent)
      }
      if offset < ListingPlace.control {
        let parent =
          ControlDirectory.owns(inode) ? UInt64(FUSE_ROOT_ID) : try volume.parent(of: inode)
        add(FileName(".."), parent, .directory, next: ListingPlace.control)
      }
      if offset < ListingPlace.volume && inode == UInt64(FUSE_ROOT_ID)
        && control.visibility == .visible
      {
        add(ControlDirectory.name, ControlDirectory.inode, .directory, next: ListingPlace.volume)
      }
      if !isFull {
        let cookie = UInt64(max(0, offset - ListingPlace.volume))
        let entries = try gather(inode, handle: handle, from: cookie, room: room)
        addEntries(entries, of: inode, to: &listing, withAttributes, request)
      }
      listing.reply(request)
    }
  }

  /// As many entries as may fit; the volume's lock is not held while they are described.
  private func gather(
    _ inode: UInt64, handle: UInt64, from cookie: UInt64, room: Int
  ) throws(Errno) -> [DirectoryEntry] {
    let limit = room / 32 + 1
    var entries: [DirectoryEntry] = []
    let take: (DirectoryEntry) -> Bool = { entry in
      if entries.count >= limit { return false }
      entries.append(entry)
      return true
    }
    if ControlDirectory.owns(inode) {
      control.list(from: cookie, take)
    } else {
      let file = OpenFile.behind(handle)
      try volume.list(inode, handle: file.volumeHandle, from: cookie, take)
    }
    return entries
  }

  private func addEntries(
    _ entries: [DirectoryEntry], of inode: UInt64, to listing: inout Listing,
    _ withAttributes: Bool, _ request: LibfuseRequest
  ) {
    let looksUp = withAttributes && !ControlDirectory.owns(inode)
    for entry in entries {
      let next = Int(clamping: entry.cookie) + ListingPlace.volume
      var described = VolumeEntry(stub(entry.inode, entry.type))
      var node: UInt64 = 0
      if looksUp {
        do throws(Errno) {
          described = try volume.lookup(entry.name, in: inode)
          node = described.attributes.inode
        } catch {
          // It has gone since, or cannot be described: then the kernel looks it up by itself.
        }
      }
      if !listing.add(entry.name, described, node, next: next, request) {
        if node != 0 { forget(node, lookups: 1) }
        return
      }
    }
  }

  /// What a listing without attributes tells of an inode.
  private func stub(_ inode: UInt64, _ type: FileType) -> FileAttributes {
    FileAttributes(
      inode: inode, type: type, permissions: 0, user: 0, group: 0, size: 0,
      time: Timestamp(seconds: 0, nanoseconds: 0))
  }

  // MARK: Finding data

  /// FUSE_LSEEK with SEEK_DATA or SEEK_HOLE.
  ///
  /// What was written through a mapping is in the kernel's pages until it writes them back; only then has the volume
  /// data there. Where somebody may have such a mapping, the kernel is told to write back and forget those pages first.
  func seek(_ inode: UInt64, offset: Int, whence: Int32, _ request: LibfuseRequest) {
    if ControlDirectory.owns(inode) {
      request.reply(.invalidArgument)
      return
    }
    let isMapped = openFiles.mayBeMapped(inode)
    onInvalidationQueue(request) { [self] request throws(Errno) in
      if isMapped { try session.dropCached(inode, offset: offset, byteCount: 0) }
      request.reply(position: try volume.seek(inode, offset: offset, whence: whence))
    }
  }
}

/// The answer to a READDIR under construction.
private struct Listing {
  private var bytes: [UInt8]
  private let withAttributes: Bool
  private var used = 0

  init(room: Int, withAttributes: Bool) {
    bytes = [UInt8](repeating: 0, count: room)
    self.withAttributes = withAttributes
  }

  /// Adds an entry.
  /// - Parameter node: 0 for an entry that was not looked up.
  /// - Returns: false if there is no more room.
  mutating func add(
    _ name: FileName, _ entry: VolumeEntry, _ node: UInt64, next: Int, _ request: LibfuseRequest
  ) -> Bool {
    let needed = MemoryWindow.on(&bytes) { all in
      let room = all[used..<all.count]
      return withAttributes
        ? request.add(
          name, fuse_entry_param(node, entry, nameSeconds: node == 0 ? 0 : 3600), next: next,
          to: room)
        : request.add(
          name, inode: entry.attributes.inode, entry.attributes.type, next: next, to: room)
    }
    if needed > bytes.count - used { return false }
    used += needed
    return true
  }

  func reply(_ request: LibfuseRequest) { request.reply(Array(bytes[..<used])) }
}
