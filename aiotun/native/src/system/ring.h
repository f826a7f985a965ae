/* Windows: a channel is the address of a Ring, a session of Wintun. */

#pragma once

#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>

#include <malloc.h>
#include <string.h>

static inline void *
allocate_aligned(size_t alignment, size_t size)
{
    return _aligned_malloc(size, alignment);
}

static inline void
free_aligned(void *memory)
{
    _aligned_free(memory);
}

/* platforms/windows/wintun.py makes it, and keeps it while frames are read and written. The
   functions are those of wintun.dll; any thread may call them while there is a session. It
   ends, and becomes NULL, while the lock is held exclusively. */
typedef struct {
    SRWLOCK lock;
    void *session;
    BYTE *(WINAPI *receive)(void *session, DWORD *size);
    void (WINAPI *release)(void *session, const BYTE *packet);
    BYTE *(WINAPI *allocate)(void *session, DWORD size);
    void (WINAPI *send)(void *session, const BYTE *packet);
} Ring;

/* NULL where the twin is to do everything. */
static inline Ring *
ring_of(Channel channel)
{
    return channel == -1 ? NULL : (Ring *)channel;
}

/* A piece of what one write takes, named as POSIX does. */
typedef struct {
    const void *iov_base;
    size_t iov_len;
} Part;

static inline Part
part(const void *from, size_t size)
{
    return (Part){from, size};
}

/* The size of the next frame, or NONE_WAITS or NOT_PLAIN. What does not fit into the room is lost.
   Wintun puts no family in front. */
static inline ptrdiff_t
read_frame(Channel channel, const Families *families, uint8_t *buffer, size_t room)
{
    Ring *ring = ring_of(channel);
    DWORD size;
    (void)families;
    ptrdiff_t taken = NOT_PLAIN;
    if (!ring)
        return NOT_PLAIN;
    AcquireSRWLockShared(&ring->lock);
    BYTE *packet = ring->session ? ring->receive(ring->session, &size) : NULL;
    if (packet) {
        taken = (ptrdiff_t)(size < room ? size : room);
        memcpy(buffer, packet, (size_t)taken);
        ring->release(ring->session, packet);
    }
    else if (ring->session && GetLastError() == ERROR_NO_MORE_ITEMS)
        taken = NONE_WAITS;
    ReleaseSRWLockShared(&ring->lock);
    return taken;
}

typedef void *ReceiveMany;

/* A ring has no such call. */
static inline int
receive_many(Channel channel, ReceiveMany call, uint8_t *rooms, size_t size, size_t *sizes, int count)
{
    (void)channel, (void)call, (void)rooms, (void)size, (void)sizes, (void)count;
    return NOT_PLAIN;
}

/* Events are waited for in Python (platforms/windows/queue.py). */
static inline bool
wait_for_frame(Channel channel, const Wait *wait, bool *signalled)
{
    (void)channel, (void)wait;
    return *signalled = false;
}

/* Whether all was taken. What is no IP packet is not: the driver drops it, or ends the session. */
static inline bool
write_parts(Channel channel, const Part *parts, int count)
{
    Ring *ring = ring_of(channel);
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    const int version = parts->iov_len ? *(const uint8_t *)parts->iov_base >> 4 : 0;
    const size_t least = version == 4 ? 20 : version == 6 ? 40 : SIZE_MAX;
    if (!ring || size < least || size > 0xFFFF)
        return false;
    AcquireSRWLockShared(&ring->lock);
    BYTE *packet = ring->session ? ring->allocate(ring->session, (DWORD)size) : NULL;
    if (packet) {
        BYTE *to = packet;
        for (int i = 0; i < count; to += parts[i++].iov_len)
            memcpy(to, parts[i].iov_base, parts[i].iov_len);
        ring->send(ring->session, packet);
    }
    ReleaseSRWLockShared(&ring->lock);
    return packet != NULL;
}

static inline bool
write_frame(Channel channel, const void *frame, size_t size)
{
    return write_parts(channel, &(Part){frame, size}, 1);
}
