/*
 * Reads one block of a mounted image by a pass-through request, and says how the daemon reached the buffer.
 *
 *   cc -I ../../Sources/CPassThrough -o passthrough passthrough.c && ./passthrough DIR/disk LBA >block
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "extractfs_passthrough.h"

int main(int count, char **words) {
  if (count != 3) {
    fprintf(stderr, "usage: %s DISK LBA\n", words[0]);
    return 64;
  }
  static struct extractfs_passthrough call = {
      .header = {.version = EXTRACTFS_PASSTHROUGH_VERSION, .operation = EXTRACTFS_PASSTHROUGH_READ, .blocks = 1}};
  call.header.lba = strtoull(words[2], NULL, 10);
  int disk = open(words[1], O_RDONLY);
  if (disk < 0 || ioctl(disk, EXTRACTFS_PASSTHROUGH, &call) != 0) {
    fprintf(stderr, "%s: %s\n", words[1], strerror(errno));
    return 1;
  }
  fwrite(call.buffer, 1, call.header.block_size, stdout);
  fprintf(stderr, "%u bytes mapped, %u copied\n", call.header.mapped_bytes, call.header.copied_bytes);
  return 0;
}
