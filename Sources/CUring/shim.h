/* liburing: what C insists upon, then the library's own header. */
#pragma once
/* fd_set first, as Swift's own module of the C library has it: _GNU_SOURCE renames its member, and two modules
   that differ in it cannot be imported together. Then the feature tests are made once more. */
#include <sys/select.h>
#undef _FEATURES_H
#define _GNU_SOURCE
#include <liburing.h>

/* A word that the kernel writes: Swift has no relaxed load of plain memory. */
static inline unsigned extractfs_load_relaxed(const unsigned *word) {
  return __atomic_load_n(word, __ATOMIC_RELAXED);
}
