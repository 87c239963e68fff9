// A lab about a mount, so its story is told by the executable; its page is here with the others.

import Memory

extension Lab {
  /// A program that changes its buffer while a direct write from it is under way.
  static let unstableBuffer = Lab(
    name: "unstable-buffer", title: "a buffer that changes while it is written",
    page: """
      The incident. A direct write has no copy: the device reads the program's own buffer, when it likes. A program that \
      goes on changing the buffer meanwhile (PostgreSQL's hint bits, a guest of QEMU's) has one half of a page from \
      before and one from after on the disk, and where the filesystem has reckoned a checksum, or writes to two mirrors, \
      they do not agree: btrfs then reports corruption that no disk has made. Pins do not help: they keep the page where \
      it is, not what it says.

      Kernel commit: "btrfs: always fallback to buffered write if the inode requires checksum" (6.15), which gave up \
      direct writes there for this reason.

      What to look for: of a program that leaves its buffer alone nothing is found; of one that changes some bytes every \
      write is found, with the range that has changed, whatever is taken on the pages. The lab needs /dev/fuse, the right \
      to mount, and to read another thread's memory. Nothing is injected, but that writes are kept in flight longer.
      """
  ) { _, story in
    story.give(up: "this lab needs a mount, which only the command line makes")
  }
}
