/* POSIX: a channel is a descriptor. */

#pragma once

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

/* The size of the next frame, or -1: none waits, an error, or the end of a descriptor. What does not
   fit into the room is lost. */
static inline ptrdiff_t
read_frame(Channel fd, const Families *families, uint8_t *buffer, size_t room)
{
    uint8_t family[FAMILY_SIZE];
    ssize_t size;
    do
        size = families->any ? readv((int)fd, (Part[]){part(family, FAMILY_SIZE), part(buffer, room)}, 2)
                             : read((int)fd, buffer, room);
    while (size < 0 && errno == EINTR);
    if (size <= 0)
        return -1;
    if (!families->any)
        return size;
    return size < FAMILY_SIZE ? 0 : size - FAMILY_SIZE;
}

/* macOS' struct msghdr_x and recvmsg_x, which stand in a private header of xnu alone
   (bsd/sys/socket_private.h). platforms/darwin/recvmsg_x.py finds the function, and tries it. */
typedef struct {
    void *name;
    socklen_t name_size;
    Part *parts;
    int part_count;
    void *control;
    socklen_t control_size;
    int flags;
    size_t size;
} MessageX;

typedef ssize_t (*ReceiveMany)(int fd, MessageX *messages, unsigned count, int flags);

/* Receive `count` frames at most, RECEIVED_MAX of them, each into a room of `size` bytes with all that
   stands in front. Return how many came; `sizes` are theirs. */
static inline int
receive_many(Channel fd, ReceiveMany call, uint8_t *rooms, size_t size, size_t *sizes, int count)
{
    MessageX messages[RECEIVED_MAX] = {0};
    Part parts[RECEIVED_MAX];
    for (int i = 0; i < count; i++) {
        parts[i] = part(rooms + (size_t)i * size, size);
        messages[i].parts = &parts[i];
        messages[i].part_count = 1;
    }
    ssize_t received;
    do
        received = call((int)fd, messages, (unsigned)count, 0);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return 0;
    if (received < count) /* nobody has promised that it is not more */
        count = (int)received;
    for (int i = 0; i < count; i++)
        sizes[i] = messages[i].size;
    return count;
}

/* Whether all was taken. If not, the twin tries again, and tells why. */
static inline bool
write_parts(Channel fd, const Part *parts, int count)
{
    ssize_t written;
    do
        written = writev((int)fd, parts, count);
    while (written < 0 && errno == EINTR);
    return written >= 0;
}

static inline bool
write_frame(Channel fd, const void *frame, size_t size)
{
    ssize_t written;
    do
        written = write((int)fd, frame, size);
    while (written < 0 && errno == EINTR);
    return written >= 0;
}
