/* What C insists upon before libfuse 3.14's low-level API can be included, and nothing else. */
#pragma once
/* fd_set first, as Swift's own module of the C library has it: _GNU_SOURCE renames its member, and two modules
   that differ in it cannot be imported together. Then the feature tests are made once more. */
#include <sys/select.h>
#undef _FEATURES_H
#define _GNU_SOURCE
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <sys/ioctl.h>

/* Swift cannot import a macro that computes an ioctl number. */
static const unsigned long EXTRACTFS_FUSE_DEV_IOC_CLONE = FUSE_DEV_IOC_CLONE;
