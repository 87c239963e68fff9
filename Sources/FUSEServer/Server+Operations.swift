// One method for each request that libfuse decodes: ask the volume or the control directory, answer once.

import CFuse3
import Glibc
import Memory
import Volumes

extension Server {
  /// How long the kernel may believe a volume's names and attributes, in seconds. Nobody else changes them.
  private static var cacheSeconds: Double { 3600 }

  /// Bits of `open_flags` of FUSE_OPEN's answer.
  private enum OpenFlags {
    static let directIO: UInt32 = 1 << 0
    /// Newer than libfuse 3.14's `fuse_file_info`, so the answer is made here.
    static let parallelDirectWrites: UInt32 = 1 << 6
  }

  /// What an open file of the volume has as its handle: whether it may be written to by ioctl.
  enum OpenHandle {
    static let readOnly: UInt64 = 0
    static let writable: UInt64 = 1
  }

  // MARK: Setup

  /// Agrees with the kernel on sizes and abilities.
  func negotiate(_ connection: inout fuse_conn_info) {
    connection.max_write = UInt32(configuration.maxIOBytes)
    connection.max_readahead = UInt32(configuration.maxIOBytes)
    connection.max_background = UInt32(max(64, configuration.slotsPerWorker * 2))
    connection.congestion_threshold = connection.max_background * 3 / 4
    let wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS
    let unwanted =
      FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE
      | FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA
    connection.want = (connection.want | UInt32(wanted)) & ~UInt32(unwanted)
    connection.want &= connection.capable
    connection.time_gran = 1
  }

  /// Room in the volume, as statfs(2) wants it.
  func fileSystemStatistics() -> statvfs {
    let room = volume.statistics()
    var result = statvfs()
    result.f_bsize = UInt(room.blockSize)
    result.f_frsize = UInt(room.blockSize)
    result.f_blocks = UInt(room.blocks)
    result.f_bfree = UInt(room.freeBlocks)
    result.f_bavail = UInt(room.freeBlocks)
    result.f_files = UInt(room.files)
    result.f_namemax = 255
    return result
  }

  // MARK: Names

  /// FUSE_LOOKUP.
  func lookup(parent: UInt64, name: String, _ request: fuse_req_t) {
    let isControl =
      parent == ControlDirectory.inode
      || (parent == FUSE_ROOT_ID && name == ControlDirectory.name && control.visibility != .off)
    if !isControl {
      unsafe attempt(request) { () throws(Errno) in
        unsafe try replyEntry(
          volume.lookup(parent: parent, name: name), seconds: Self.cacheSeconds, request)
      }
      return
    }
    unsafe onControlQueue(request) { [self] request throws(Errno) in
      let attributes =
        parent == ControlDirectory.inode
        ? try control.lookup(name: name) : try control.attributes(of: ControlDirectory.inode)
      unsafe replyEntry(attributes, seconds: 0, request)
    }
  }

  /// FUSE_GETATTR.
  func attributes(of inode: UInt64, _ request: fuse_req_t) {
    if !ControlDirectory.owns(inode) {
      unsafe attempt(request) { () throws(Errno) in
        unsafe replyAttributes(try volume.attributes(of: inode), seconds: 1, request)
      }
      return
    }
    unsafe onControlQueue(request) { [self] request throws(Errno) in
      var attributes = try control.attributes(of: inode)
      attributes.size = max(attributes.size, openControls.largestSize(of: inode))
      unsafe replyAttributes(attributes, seconds: 0, request)
    }
  }

  /// FUSE_SETATTR. Control files take a truncate, so that a shell's `>` works, and nothing else.
  func change(_ inode: UInt64, to new: stat, mask: Int32, _ request: fuse_req_t) {
    var change = AttributeChange()
    if mask & FUSE_SET_ATTR_SIZE != 0 { change.size = new.st_size }
    if mask & FUSE_SET_ATTR_MODE != 0 { change.permissions = new.st_mode & 0o7777 }
    if mask & FUSE_SET_ATTR_UID != 0 { change.user = new.st_uid }
    if mask & FUSE_SET_ATTR_GID != 0 { change.group = new.st_gid }
    if mask & FUSE_SET_ATTR_ATIME != 0 { change.accessed = Timestamp(new.st_atim) }
    if mask & FUSE_SET_ATTR_MTIME != 0 { change.modified = Timestamp(new.st_mtim) }
    if mask & FUSE_SET_ATTR_ATIME_NOW != 0 { change.accessed = .now() }
    if mask & FUSE_SET_ATTR_MTIME_NOW != 0 { change.modified = .now() }
    if ControlDirectory.owns(inode) {
      let refused = change.permissions != nil || change.user != nil || change.group != nil
      unsafe onControlQueue(request) { [self] request throws(Errno) in
        if refused { throw .notPermitted }
        unsafe replyAttributes(try control.attributes(of: inode), seconds: 0, request)
      }
      return
    }
    unsafe attempt(request) { () throws(Errno) in
      if configuration.isReadOnly { throw .readOnlyFileSystem }
      unsafe replyAttributes(try volume.change(inode, to: change), seconds: 1, request)
    }
  }

  /// FUSE_READDIR: `offset` is the number of entries already given.
  func readDirectory(_ inode: UInt64, size: Int, offset: Int, _ request: fuse_req_t) {
    unsafe attempt(request) { () throws(Errno) in
      var entries = [
        DirectoryEntry(name: ".", inode: inode, type: .directory),
        DirectoryEntry(name: "..", inode: UInt64(FUSE_ROOT_ID), type: .directory),
      ]
      entries +=
        ControlDirectory.owns(inode) ? control.entries() : try volume.entries(of: inode)
      if inode == FUSE_ROOT_ID && control.visibility == .visible {
        entries.append(
          DirectoryEntry(
            name: ControlDirectory.name, inode: ControlDirectory.inode, type: .directory))
      }
      unsafe replyDirectory(entries, size: size, offset: offset, request)
    }
  }

  private func replyDirectory(
    _ entries: [DirectoryEntry], size: Int, offset: Int, _ request: fuse_req_t
  ) {
    let bytes = UnsafeMutableBufferPointer<CChar>.allocate(capacity: max(size, 1))
    defer { unsafe bytes.deallocate() }
    var used = 0
    for (index, entry) in entries.enumerated().dropFirst(max(offset, 0)) {
      var attributes = stat()
      attributes.st_ino = UInt(entry.inode)
      attributes.st_mode = entry.type.rawValue
      let needed = unsafe fuse_add_direntry(
        request, bytes.baseAddress! + used, size - used, entry.name, &attributes, index + 1)
      if needed > size - used { break }
      used += needed
    }
    unsafe fuse_reply_buf(request, bytes.baseAddress, used)
  }

  // MARK: Files

  /// FUSE_OPEN. A control file's text is made now, and stays the same for as long as the file is open.
  func open(_ inode: UInt64, flags: Int32, _ request: fuse_req_t) {
    let writes = flags & O_ACCMODE != O_RDONLY
    if ControlDirectory.owns(inode) {
      unsafe onControlQueue(request) { [self] request throws(Errno) in
        let file = try control.file(inode)
        if writes && file.accept == nil { throw Errno(rawValue: EACCES) }
        unsafe replyOpen(
          handle: openControls.open(file.render(), inode: inode), flags: OpenFlags.directIO, request
        )
      }
      return
    }
    unsafe attempt(request) { () throws(Errno) in
      if try volume.attributes(of: inode).type == .directory { throw Errno(rawValue: EISDIR) }
      if writes && configuration.isReadOnly { throw .readOnlyFileSystem }
      unsafe replyOpen(
        handle: writes ? OpenHandle.writable : OpenHandle.readOnly,
        flags: OpenFlags.parallelDirectWrites, request)
    }
  }

  /// FUSE_FSYNC: the flush goes through the worker's queue, so that other requests go on meanwhile.
  func synchronize(_ inode: UInt64, _ request: fuse_req_t) {
    guard !ControlDirectory.owns(inode), let worker = CurrentThread.worker else {
      unsafe fuse_reply_err(request, 0)
      return
    }
    unsafe worker.startFlush(answering: request)
  }

  /// FUSE_LSEEK with SEEK_DATA or SEEK_HOLE.
  func seek(_ inode: UInt64, offset: Int, whence: Int32, _ request: fuse_req_t) {
    unsafe attempt(request) { () throws(Errno) in
      if ControlDirectory.owns(inode) { throw .invalidArgument }
      unsafe fuse_reply_lseek(request, try volume.seek(inode, offset: offset, whence: whence))
    }
  }

  /// FUSE_FALLOCATE.
  func allocate(_ inode: UInt64, mode: Int32, offset: Int, length: Int, _ request: fuse_req_t) {
    unsafe attempt(request) { () throws(Errno) in
      if ControlDirectory.owns(inode) { throw .notSupported }
      if configuration.isReadOnly { throw .readOnlyFileSystem }
      try volume.allocate(inode, mode: mode, offset: offset, length: length)
      unsafe fuse_reply_err(request, 0)
    }
  }

  // MARK: Answers

  private func replyEntry(_ file: FileAttributes, seconds: Double, _ request: fuse_req_t) {
    var entry = fuse_entry_param()
    entry.ino = file.inode
    entry.attr = stat(file, blockSize: configuration.maxIOBytes)
    entry.attr_timeout = min(seconds, 1)
    entry.entry_timeout = seconds
    unsafe fuse_reply_entry(request, &entry)
  }

  private func replyAttributes(_ file: FileAttributes, seconds: Double, _ request: fuse_req_t) {
    var attributes = stat(file, blockSize: configuration.maxIOBytes)
    unsafe fuse_reply_attr(request, &attributes, seconds)
  }

  private func replyOpen(handle: UInt64, flags: UInt32, _ request: fuse_req_t) {
    var answer = fuse_open_out(fh: handle, open_flags: flags, padding: 0)
    unsafe fuse_reply_buf(request, &answer, MemoryLayout<fuse_open_out>.size)
  }

  /// Runs `body`, which answers, or answers with the errno that it throws.
  func attempt(_ request: fuse_req_t, _ body: () throws(Errno) -> Void) {
    do { try body() } catch { unsafe fuse_reply_err(request, error.rawValue) }
  }
}

extension stat {
  fileprivate init(_ file: FileAttributes, blockSize: Int) {
    self.init()
    st_ino = UInt(file.inode)
    st_mode = file.type.rawValue | file.permissions
    st_nlink = UInt(file.linkCount)
    st_uid = file.user
    st_gid = file.group
    st_size = file.size
    st_blksize = blockSize
    st_blocks = file.blocks512
    st_atim = timespec(file.accessed)
    st_mtim = timespec(file.modified)
    st_ctim = timespec(file.changed)
  }
}

extension timespec {
  fileprivate init(_ time: Timestamp) {
    self.init(tv_sec: time.seconds, tv_nsec: time.nanoseconds)
  }
}

extension Timestamp {
  fileprivate init(_ time: timespec) {
    self.init(seconds: time.tv_sec, nanoseconds: time.tv_nsec)
  }
}
