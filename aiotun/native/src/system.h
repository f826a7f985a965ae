/* What systems do in different ways: the order of bytes, protocol numbers, aligned memory, and
   descriptors of which read(2) gives one frame and write(2) takes one. No other file of this
   folder includes a header of a system, except udp.h, which is for Linux alone. */

#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/uio.h>
#include <unistd.h>

/* Return aligned memory. The size is a multiple of the alignment. */
static inline void *
allocate_aligned(size_t alignment, size_t size)
{
    return aligned_alloc(alignment, size);
}

static inline void
free_aligned(void *memory)
{
    free(memory);
}

/* A piece of what one system call writes. */
typedef struct iovec Part;

static inline Part
part(const void *from, size_t size)
{
    return (Part){(void *)from, size};
}

enum { FAMILY_SIZE = 4 };

/* The 4 bytes that some systems put in front of a packet: a number for IPv4 and one for IPv6.
   `any` is false for systems that put nothing there. */
typedef struct {
    bool any;
    uint8_t v4[FAMILY_SIZE], v6[FAMILY_SIZE];
} Families;

static const Families NO_FAMILIES = {0};

/* Read a frame and return its size. Return -1 if none waits, at an error, and at the end of the
   descriptor. */
static inline ptrdiff_t
read_frame(int fd, const Families *families, uint8_t *buffer, size_t room)
{
    uint8_t family[FAMILY_SIZE];
    const struct iovec parts[] = {{family, FAMILY_SIZE}, {buffer, room}};
    ssize_t size;
    do
        size = families->any ? readv(fd, parts, 2) : read(fd, buffer, room);
    while (size < 0 && errno == EINTR);
    if (size <= 0)
        return -1;
    if (!families->any)
        return size;
    return size < FAMILY_SIZE ? 0 : size - FAMILY_SIZE;
}

/* Write the parts as one frame. Return whether the system took all; errno tells why it did not. */
static inline bool
write_parts(int fd, const Part *parts, int count)
{
    ssize_t written;
    do
        written = writev(fd, parts, count);
    while (written < 0 && errno == EINTR);
    return written >= 0;
}

static inline bool
write_frame(int fd, const void *frame, size_t size)
{
    ssize_t written;
    do
        written = write(fd, frame, size);
    while (written < 0 && errno == EINTR);
    return written >= 0;
}

/* Write a packet behind its family. A packet that is not an IP packet is not written. */
static inline bool
write_behind_family(int fd, const Families *families, const uint8_t *packet, size_t size)
{
    const int version = size ? packet[0] >> 4 : 0;
    const uint8_t *family = version == 4 ? families->v4 : version == 6 ? families->v6 : NULL;
    return family && write_parts(fd, (Part[]){part(family, FAMILY_SIZE), part(packet, size)}, 2);
}
