/* liburing: what C insists upon, then the library's own header. */
#pragma once
/* fd_set first, as Swift's own module of the C library has it: _GNU_SOURCE renames its member, and two modules
   that differ in it cannot be imported together. Then the feature tests are made once more. */
#include <sys/select.h>
#undef _FEATURES_H
#define _GNU_SOURCE
#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A word that the kernel writes: Swift has no relaxed load of plain memory. */
static inline unsigned extractfs_load_relaxed(const unsigned *word) {
  return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* The word by which the kernel learns of new entries: what was written to them before is seen with it. */
static inline void extractfs_store_release(unsigned *word, unsigned value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
static inline unsigned extractfs_load_acquire(const unsigned *word) {
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* io_uring_register(2): liburing 2.3 knows no call for opcodes that are newer, and syscall(2) is variadic. */
static inline long extractfs_register(unsigned ring, unsigned opcode, void *argument, unsigned count) {
  return syscall(__NR_io_uring_register, ring, opcode, argument, count);
}
