/*
 * Pass-through requests to a mounted image: whole blocks, past the filesystem and the page cache.
 *
 *   int disk = open("DIR/disk", O_RDWR);
 *   static struct extractfs_passthrough call = {
 *     .header = { .version = 1, .operation = EXTRACTFS_PASSTHROUGH_READ, .lba = 8, .blocks = 16 } };
 *   if (ioctl(disk, EXTRACTFS_PASSTHROUGH, &call) == 0) use(call.buffer);
 *
 * The data lies in the buffer from `offset` on. Where its address and its segments suit the device, the daemon maps it:
 * its pages are extracted, pinned and handed to the device as they are; what the device cannot take is copied. Which
 * bytes went which way stands in `mapped_bytes` and `copied_bytes`. At an offset that is a multiple of 512 data is mapped.
 *
 * Errors: EINVAL for a version, operation, size, offset or reserved field that makes no sense, and for a read beyond
 * the last block; ENOSPC for a write beyond it; EROFS on a read-only mount; EBADF for a write through a
 * descriptor that was not opened for writing; ENOTTY for any other file; ENOMEM where the mount's max_io is below
 * 16384; EIO, or what the device says.
 *
 * A FUSE server without the rights of a device driver is given the structure, and no more than the structure: 16383
 * bytes at most. Longer transfers are several calls.
 */
#pragma once
#include <stdint.h>
#include <sys/ioctl.h>

#define EXTRACTFS_PASSTHROUGH_VERSION 1
/* Operations. QUERY moves nothing and tells the sizes. */
#define EXTRACTFS_PASSTHROUGH_QUERY 0
#define EXTRACTFS_PASSTHROUGH_READ 1
#define EXTRACTFS_PASSTHROUGH_WRITE 2
/* Bytes of the buffer: three pages. */
#define EXTRACTFS_PASSTHROUGH_BUFFER 12288

struct extractfs_passthrough_header {
  uint32_t version;       /* in: EXTRACTFS_PASSTHROUGH_VERSION */
  uint32_t operation;     /* in */
  uint64_t lba;           /* in: the first block */
  uint32_t blocks;        /* in: how many, at least 1 */
  uint32_t offset;        /* in: where the data starts in the buffer, bytes */
  uint32_t mapped_bytes;  /* out */
  uint32_t copied_bytes;  /* out */
  uint64_t device_blocks; /* out: whole blocks of the device */
  uint32_t block_size;    /* out: bytes of a block */
  uint32_t reserved[5];   /* in: 0 */
};

struct extractfs_passthrough {
  struct extractfs_passthrough_header header;
  unsigned char buffer[EXTRACTFS_PASSTHROUGH_BUFFER];
};

#define EXTRACTFS_PASSTHROUGH _IOWR('x', 0x45, struct extractfs_passthrough)

/* For Swift, which cannot compute the number, and cannot call variadic functions. */
static const unsigned int extractfs_passthrough_number = EXTRACTFS_PASSTHROUGH;
static inline int extractfs_passthrough_call(int descriptor, void *message) {
  return ioctl(descriptor, EXTRACTFS_PASSTHROUGH, message);
}
