/*
 * Declarations that Swift's view of the C library leaves out: it is made without _GNU_SOURCE, and it cannot
 * call variadic functions. Names of the library's own functions are declared as the manual pages give them.
 */
#pragma once
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/syslog.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

ssize_t preadv2(int descriptor, const struct iovec *vectors, int count, off_t offset, int flags);
ssize_t pwritev2(int descriptor, const struct iovec *vectors, int count, off_t offset, int flags);
int fallocate(int descriptor, int mode, off_t offset, off_t length);
int statx(int directory, const char *path, int flags, unsigned int mask, struct statx *answer);

int pipe2(int ends[2], int flags);
int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int first);
int posix_spawn_file_actions_addchdir_np(posix_spawn_file_actions_t *actions, const char *path);
int pthread_setname_np(pthread_t thread, const char *name);

/* Flags that glibc has as enumerations, which Swift takes apart. */
static const int EXTRACTFS_EFD_FLAGS = EFD_CLOEXEC | EFD_NONBLOCK;
static const int EXTRACTFS_SOCK_DGRAM = SOCK_DGRAM | SOCK_CLOEXEC;
static const int EXTRACTFS_MSG_DONTWAIT = MSG_DONTWAIT;

/* posix_spawn(3): of POSIX.1-2024. */
static const int EXTRACTFS_SPAWN_SETSID = 0x80;

/* open(2): the value differs between architectures. */
#if defined(__aarch64__) || defined(__arm__)
static const int EXTRACTFS_O_DIRECT = 0200000;
#else
static const int EXTRACTFS_O_DIRECT = 040000;
#endif
static const int EXTRACTFS_O_PATH = 010000000;
static const int EXTRACTFS_AT_EMPTY_PATH = 0x1000;
/* lseek(2). */
static const int EXTRACTFS_SEEK_DATA = 3;
static const int EXTRACTFS_SEEK_HOLE = 4;
/* statx(2): newer than Debian 12's first headers. */
static const unsigned int EXTRACTFS_STATX_DIOALIGN = 0x2000;

/* FS_IOC_FIEMAP by ioctl(2), which is variadic: where a file's extents end, in bytes, at most 256 of them. Returns how
   many, or -1. */
static inline int extractfs_extent_ends(int descriptor, unsigned long long ends[256]) {
  union {
    struct fiemap map;
    char room[sizeof(struct fiemap) + 256 * sizeof(struct fiemap_extent)];
  } all = {.map = {.fm_length = ~0ULL, .fm_extent_count = 256}};
  if (ioctl(descriptor, FS_IOC_FIEMAP, &all.map) != 0) return -1;
  for (unsigned i = 0; i < all.map.fm_mapped_extents; i++)
    ends[i] = all.map.fm_extents[i].fe_logical + all.map.fm_extents[i].fe_length;
  return (int)all.map.fm_mapped_extents;
}

/* syslog(3) is variadic. */
static inline void extractfs_syslog(int priority, const char *text) {
  syslog(priority, "%s", text);
}

/* sched_setaffinity(2) for the calling thread and one CPU: the macros of cpu_set_t are out of Swift's reach. */
static inline int extractfs_run_on_cpu(unsigned cpu) {
  unsigned long mask[8192 / (8 * sizeof(unsigned long))] = {0};
  if (cpu >= sizeof mask * 8) return -1;
  mask[cpu / (8 * sizeof mask[0])] = 1UL << (cpu % (8 * sizeof mask[0]));
  return (int)syscall(SYS_sched_setaffinity, 0, sizeof mask, mask);
}

/* How many CPUs of a machine the calls below can name. */
static const int EXTRACTFS_CPU_LIMIT = 8192;

/* sched_getaffinity(2): whether the calling thread may run on a CPU. */
static inline int extractfs_may_run_on_cpu(unsigned cpu) {
  unsigned long mask[8192 / (8 * sizeof(unsigned long))] = {0};
  if (cpu >= sizeof mask * 8 || syscall(SYS_sched_getaffinity, 0, sizeof mask, mask) < 0) return 0;
  return (int)(mask[cpu / (8 * sizeof mask[0])] >> (cpu % (8 * sizeof mask[0])) & 1);
}

/* FIEMAP: ioctl(2) is variadic. The structure is linux/fiemap.h's. */
int ioctl(int descriptor, unsigned long request, ...);
static inline int extractfs_fiemap(int descriptor, void *map) {
  return ioctl(descriptor, FS_IOC_FIEMAP, map);
}

/* process_vm_readv(2), which is behind _GNU_SOURCE: one range of another program's memory. */
static inline ssize_t extractfs_read_process(
    pid_t process, unsigned long address, void *bytes, size_t count) {
  struct iovec here = {bytes, count}, there = {(void *)address, count};
  return syscall(SYS_process_vm_readv, process, &here, 1ul, &there, 1ul, 0ul);
}

/* splice(2), which is behind _GNU_SOURCE: from a stream into a pipe. */
ssize_t splice(int from, loff_t *from_offset, int to, loff_t *to_offset, size_t count, unsigned flags);
static inline ssize_t extractfs_splice(int from, int to, size_t count) {
  return splice(from, 0, to, 0, count, 0);
}

/* fork(2), which Swift withholds. The child is to make system calls and leave by _exit(2), nothing else. */
static inline pid_t extractfs_fork(void) { return fork(); }

/* close_range(2): closes all descriptors but one. */
static inline void extractfs_close_all_but(int kept) {
  if (kept > 0) syscall(SYS_close_range, 0u, (unsigned)kept - 1, 0u);
  syscall(SYS_close_range, (unsigned)kept + 1, ~0u, 0u);
}

/* prctl(2) is variadic. */
static inline int extractfs_set_name(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }

/* posix_spawn(3): flags that glibc has behind feature tests. */
static const int EXTRACTFS_SPAWN_SETSIGMASK = 0x08;
static const int EXTRACTFS_SPAWN_SETSIGDEF = 0x04;

/* Reads a byte, though nobody wants it: what the compiler may not leave out. */
static inline void extractfs_touch(const void *byte) { (void)*(const volatile char *)byte; }

/* signalfd(2). */
static const int EXTRACTFS_SFD_FLAGS = SFD_CLOEXEC | SFD_NONBLOCK;
