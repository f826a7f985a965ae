/* What each system has in its own way, so far as POSIX has it: the order of bytes, protocol
   numbers, aligned memory, and descriptors of which read(2) gives one frame and write(2) takes
   one. Other files of this folder name no header of a system but this one (and udp.h, Linux' own). */

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

/* The size is a multiple of the alignment. */
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

/* The size of the next frame; 0 at the end of a descriptor that has one; below 0 with errno set. */
static ptrdiff_t
read_frame(int fd, uint8_t *buffer, size_t room)
{
    ssize_t size;
    do
        size = read(fd, buffer, room);
    while (size < 0 && errno == EINTR);
    return size;
}

/* Whether the frame was taken; errno tells why not. */
static bool
write_frame(int fd, const void *frame, size_t size)
{
    ssize_t written;
    do
        written = write(fd, frame, size);
    while (written < 0 && errno == EINTR);
    return written >= 0;
}

static bool
write_parts(int fd, const Part *parts, int count)
{
    ssize_t written;
    do
        written = writev(fd, parts, count);
    while (written < 0 && errno == EINTR);
    return written >= 0;
}
