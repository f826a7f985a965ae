/* POSIX: a channel is a descriptor. */

#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
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

/* What a call of the system that gave no frame says. */
static inline ptrdiff_t
no_frame(ssize_t size)
{
    return size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? NONE_WAITS : NOT_PLAIN;
}

/* The size of the next frame, or NONE_WAITS or NOT_PLAIN. What does not fit into the room is lost. */
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
        return no_frame(size);
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
   stands in front. Return how many came, whose sizes are put there, or NONE_WAITS or NOT_PLAIN. */
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
    if (received <= 0)
        return (int)no_frame(received);
    if (received < count) /* nobody has promised that it is not more */
        count = (int)received;
    for (int i = 0; i < count; i++)
        sizes[i] = messages[i].size;
    return count;
}

/* Wait until a frame may be read: return whether it may. `*signalled` is whether a signal ended the
   wait. */
static inline bool
wait_for_frame(Channel fd, const Wait *wait, bool *signalled)
{
    struct pollfd polled[1 + INTERRUPTS_MAX] = {{.fd = (int)fd, .events = POLLIN}};
    for (int i = 0; i < wait->count; i++)
        polled[1 + i] = (struct pollfd){.fd = wait->interrupts[i], .events = POLLIN};
    const int found = poll(polled, (nfds_t)(1 + wait->count), wait->milliseconds);
    *signalled = found < 0 && errno == EINTR;
    for (int i = 0; i < wait->count; i++)
        if (polled[1 + i].revents)
            return false;
    return found > 0;
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
