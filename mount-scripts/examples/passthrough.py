#!/usr/bin/env python3
"""Pass-through requests to a mounted image, from Python.

usage: passthrough.py read DISK LBA BLOCKS [OFFSET] >data
       passthrough.py write DISK LBA BLOCKS [OFFSET] <data

One request; the layout is that of Sources/CPassThrough/extractfs_passthrough.h. What was mapped and what was copied
is reported on standard error.
"""
import fcntl
import os
import struct
import sys

HEADER = struct.Struct("=IIQIIIIQI20x")  # version operation lba blocks offset mapped copied device_blocks block_size
BUFFER = 12288
QUERY, READ, WRITE = 0, 1, 2
# _IOWR('x', 0x45, header and buffer), as <asm-generic/ioctl.h> has it.
NUMBER = 3 << 30 | (HEADER.size + BUFFER) << 16 | ord("x") << 8 | 0x45


def call(descriptor, operation, lba=0, blocks=0, offset=0, data=b""):
    """Sends one request; returns the header's fields and the buffer afterwards."""
    message = bytearray(HEADER.size + BUFFER)
    HEADER.pack_into(message, 0, 1, operation, lba, blocks, offset, 0, 0, 0, 0)
    message[HEADER.size + offset : HEADER.size + offset + len(data)] = data
    fcntl.ioctl(descriptor, NUMBER, message, True)
    return HEADER.unpack_from(message), message[HEADER.size :]


def main():
    if len(sys.argv) not in (5, 6) or sys.argv[1] not in ("read", "write"):
        sys.exit(__doc__)
    is_write = sys.argv[1] == "write"
    lba, blocks, offset = (int(text) for text in (sys.argv[3:] + ["0"])[:3])
    descriptor = os.open(sys.argv[2], os.O_RDWR if is_write else os.O_RDONLY)
    try:
        size = blocks * call(descriptor, QUERY)[0][8]
        if offset + size > BUFFER:
            sys.exit(f"one request has room for {BUFFER} bytes")
        data = sys.stdin.buffer.read(size) if is_write else b""
        fields, buffer = call(descriptor, WRITE if is_write else READ, lba, blocks, offset, data)
    except OSError as error:
        sys.exit(f"{sys.argv[2]}: {error.strerror}")
    if not is_write:
        sys.stdout.buffer.write(buffer[offset : offset + size])
    print(f"{fields[5]} bytes mapped, {fields[6]} copied", file=sys.stderr)


main()
