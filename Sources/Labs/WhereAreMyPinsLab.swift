// The first lab is about a mount, so its story is told by the executable; its page is here with the others.

import Memory

extension Lab {
  /// One direct transfer through a mount, and what each layer holds meanwhile.
  static let whereAreMyPins = Lab(
    name: "where-are-my-pins", title: "three layers pin pages for one read",
    page: """
      The question. One direct read by an application on this filesystem pins pages three times, in three places, \
      and a report that mixes them up explains nothing. client: fuse.ko pins the application's own buffer (since \
      6.9; before, it took references). sim: the model pins the pages of the request's buffer, as a kernel \
      filesystem would pin the application's. backing: the kernel pins the daemon's buffer while the daemon's own \
      O_DIRECT transfer of the image runs.

      Kernel counters: nr_foll_pin_acquired and nr_foll_pin_released in /proc/vmstat, from "mm/gup: /proc/vmstat: \
      pin_user_pages (FOLL_PIN) reporting" (5.7); they are of the whole machine, and are made current by writing to \
      /proc/sys/vm/stat_refresh. fuse.ko pins since "fs/fuse: Fix missing FOLL_PIN for direct-io" (6.9).

      What to look for: sim shows 256 pages pinned and released for a mebibyte, if each request is as long as that; \
      the kernel's counters show client and backing together, and as many acquired as released. The lab needs \
      /dev/fuse and the right to mount. Nothing is injected.
      """
  ) { _, story in
    story.give(up: "this lab needs a mount, which only the command line makes")
  }
}
