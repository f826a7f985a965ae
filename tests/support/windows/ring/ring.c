/* native/src/system/ring.h against a model of wintun.dll, by random steps: ring SEED.

   All memory has exactly its size, so the address sanitizer sees who goes beyond. */

#include "system/system.h"

#include <stdio.h>

enum { STEPS = 4000, WAITING_MAX = 8, PACKET_MAX = 70000, PARTS_MAX = 3 };

typedef struct {
    BYTE *packets[WAITING_MAX];
    DWORD sizes[WAITING_MAX];
    int waiting;
    BYTE *received; /* and not released yet */
    BYTE *allocated;
    DWORD allocated_size;
    BYTE expected[PARTS_MAX * PACKET_MAX];
    int full, sent;
} Session;

static Ring ring;
static uint64_t state;

static uint32_t
below(uint32_t end) /* xorshift64* */
{
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return (uint32_t)((state * 0x2545F4914F6CDD1DULL) >> 32) % end;
}

/* Mostly small, at times at the limits. */
static size_t
some_size(void)
{
    switch (below(4)) {
    case 0: return below(64);
    case 1: return below(2000);
    case 2: return 65500 + below(100);
    default: return below(PACKET_MAX);
    }
}

static BYTE *
filled(size_t size)
{
    BYTE *data = malloc(size ? size : 1);
    for (size_t i = 0; i < size; i++)
        data[i] = (BYTE)below(256);
    if (size)
        data[0] = (BYTE)((below(2) ? 0x45 : below(2) ? 0x60 : data[0]));
    return data;
}

static BYTE *
receive(void *handle, DWORD *size)
{
    Session *session = handle;
    assert(ring.lock.shared == 1 && !session->received);
    if (!session->waiting) {
        last_error = below(2) ? ERROR_NO_MORE_ITEMS : ERROR_HANDLE_EOF;
        return NULL;
    }
    *size = session->sizes[0];
    return session->received = session->packets[0];
}

static void
release(void *handle, const BYTE *packet)
{
    Session *session = handle;
    assert(ring.lock.shared == 1 && packet == session->received);
    session->received = NULL;
}

static BYTE *
allocate(void *handle, DWORD size)
{
    Session *session = handle;
    assert(ring.lock.shared == 1 && !session->allocated && size <= 0xFFFF);
    if (session->full)
        return NULL;
    session->allocated_size = size;
    return session->allocated = malloc(size);
}

static void
send_packet(void *handle, const BYTE *packet)
{
    Session *session = handle;
    assert(ring.lock.shared == 1 && packet == session->allocated);
    assert(!memcmp(packet, session->expected, session->allocated_size));
    free(session->allocated);
    session->allocated = NULL;
    session->sent++;
}

static void
push(Session *session)
{
    if (session->waiting == WAITING_MAX)
        return;
    const size_t size = some_size();
    session->packets[session->waiting] = filled(size);
    session->sizes[session->waiting++] = (DWORD)size;
}

static void
read_one(Session *session, Channel channel)
{
    const size_t room = some_size();
    BYTE *buffer = filled(room);
    const ptrdiff_t taken = read_frame(channel, &NO_FAMILIES, buffer, room);
    if (channel == -1 || !ring.session || !session->waiting)
        assert(taken == (channel != -1 && ring.session && last_error == ERROR_NO_MORE_ITEMS
                             ? NONE_WAITS
                             : NOT_PLAIN));
    else {
        BYTE *packet = session->packets[0];
        const size_t size = session->sizes[0];
        assert((size_t)taken == (size < room ? size : room) && !session->received);
        assert(!memcmp(buffer, packet, (size_t)taken));
        free(packet);
        session->waiting--;
        memmove(session->packets, session->packets + 1, sizeof *session->packets * (WAITING_MAX - 1));
        memmove(session->sizes, session->sizes + 1, sizeof *session->sizes * (WAITING_MAX - 1));
    }
    free(buffer);
}

static void
write_one(Session *session, Channel channel)
{
    Part parts[PARTS_MAX];
    BYTE *data[PARTS_MAX];
    const int count = 1 + (int)below(PARTS_MAX), sent = session->sent;
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        const size_t length = some_size();
        data[i] = filled(length);
        parts[i] = part(data[i], length);
        memcpy(session->expected + size, data[i], length);
        size += length;
    }
    session->full = !below(4);
    const int version = parts[0].iov_len ? data[0][0] >> 4 : 0;
    const bool valid = size <= 0xFFFF && ((version == 4 && size >= 20) || (version == 6 && size >= 40));
    const bool taken = write_parts(channel, parts, count);
    assert(taken == (valid && ring.session && channel != -1 && !session->full));
    assert(session->sent == sent + taken && !session->allocated);
    for (int i = 0; i < count; i++)
        free(data[i]);
}

int
main(int count, char **arguments)
{
    static Session session;
    state = count > 1 ? strtoull(arguments[1], NULL, 10) * 2 + 1 : 1;
    ring = (Ring){{0}, &session, receive, release, allocate, send_packet};
    for (int step = 0; step < STEPS; step++) {
        const Channel channel = below(16) ? (Channel)&ring : -1;
        if (!below(32))
            ring.session = ring.session ? NULL : &session;
        switch (below(3)) {
        case 0: push(&session); break;
        case 1: read_one(&session, channel); break;
        default: write_one(&session, channel);
        }
        assert(ring.lock.shared == 0);
    }
    while (session.waiting)
        free(session.packets[--session.waiting]);
    printf("%d sent\n", session.sent);
    return session.sent ? 0 : 1;
}
