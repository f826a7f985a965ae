/* What is kept from one call to the next, above all the memory of frames. */

#pragma once

#include <Python.h>

#include "objects.h"
#include "offload/split.h"

/* The largest frame: virtio_net_hdr, Ethernet header, VLAN tag, IP packet. */
enum { FRAME_MAX = VIRTIO_SIZE + 14 + 4 + PACKET_MAX };

/* One call reads so many large frames at most: they stay in the processor's cache until they are
   written. */
enum { LARGE_MAX = 4 };

static inline bool
is_large(ptrdiff_t size)
{
    return size > FRAME_MAX / 2;
}

/* One call reads so many frames at most: all that wait in a TUN or TAP, whose queue is as long as 500
   where nobody says otherwise (TUN_READQ_SIZE in drivers/net/tun.c). Most of those that are not large
   are packets of a usual MTU, which a room takes. */
enum { ROOMS = 512, ROOM_SIZE = 2048 };

/* One wake-up receives so many trains of large datagrams. */
enum { TRAINS_KEPT = 8 };

/* Addresses of UDP, each as the system has it and as an object. */
enum { ADDRESSES_KEPT = 256, ADDRESS_MAX = 28 };
typedef struct {
    uint8_t told[ADDRESS_MAX];
    PyObject *object; /* it may be NULL */
} KeptAddress;

/* Bytes of frames that one call reads before it writes them back. */
enum { GATHERED_MAX = LARGE_MAX * FRAME_MAX };

/* What is kept from one call of a thread to its next. The GIL guards it. */
typedef struct {
    unsigned long thread;
    Recent recent[2]; /* one of a TUN and one of a TAP: a segment of one is none of the other */
    PyObject *rooms[ROOMS], *large[LARGE_MAX]; /* the frames that read_frames read last */
    PyObject *trains[TRAINS_KEPT]; /* the trains that receive_trains received last */
    KeptAddress addresses[ADDRESSES_KEPT]; /* that datagrams came from and to, by what told of them */
    KeptAddress targets[ADDRESSES_KEPT];   /* that datagrams were sent to, by the object */
    uint8_t *received;             /* RECEIVED_MAX rooms of FRAME_MAX, or NULL */
    uint8_t *gathered;             /* GATHERED_MAX bytes, or NULL */
    PyObject *rewritten;           /* the large frame that a Rewrite made last */
} Kept;

/* So many threads have something of their own: what one has read, and is about to write, is there
   still when others have read meanwhile. */
enum { THREADS_KEPT = 4 };
typedef struct {
    Kept each[THREADS_KEPT];
    unsigned next; /* the one that the next new thread takes over, whoever has it */
} KeptByThread;

/* Return what is kept for the calling thread. */
static Kept *
kept_here(KeptByThread *kept)
{
    const unsigned long thread = PyThread_get_thread_ident();
    for (size_t i = 0; i < THREADS_KEPT; i++)
        if (kept->each[i].thread == thread)
            return &kept->each[i];
    Kept *found = &kept->each[kept->next++ % THREADS_KEPT];
    found->thread = thread;
    return found;
}

static void
kept_clear(Kept *kept)
{
    for (size_t tap = 0; tap < 2; tap++) {
        Py_CLEAR(kept->recent[tap].room);
        for (size_t i = 0; i < RECENT_MAX; i++)
            Py_CLEAR(kept->recent[tap].segments[i]);
    }
    for (size_t i = 0; i < ROOMS; i++)
        Py_CLEAR(kept->rooms[i]);
    for (size_t i = 0; i < LARGE_MAX; i++)
        Py_CLEAR(kept->large[i]);
    for (size_t i = 0; i < TRAINS_KEPT; i++)
        Py_CLEAR(kept->trains[i]);
    for (size_t i = 0; i < ADDRESSES_KEPT; i++) {
        Py_CLEAR(kept->addresses[i].object);
        Py_CLEAR(kept->targets[i].object);
    }
    free(kept->received);
    kept->received = NULL;
    free(kept->gathered);
    kept->gathered = NULL;
    Py_CLEAR(kept->rewritten);
}

/* Return bytes with so much room. If nobody else holds an earlier frame any more, its memory is used
   again: that spares an allocation for each packet, and glibc would give memory for the largest
   frames back to the system, and take it again page by page (M_TRIM_THRESHOLD in mallopt(3)). */
static PyObject *
take_room(PyObject **kept, Py_ssize_t size)
{
    PyObject *room = *kept;
    *kept = NULL;
    if (room && Py_REFCNT(room) == 1)
        return room;
    Py_XDECREF(room);
    return PyBytes_FromStringAndSize(NULL, size);
}

static void
keep_room(PyObject **kept, PyObject *stolen)
{
    Py_XSETREF(*kept, stolen);
}

/* Make the bytes so many bytes long. */
static void
shrink_room(PyObject *room, Py_ssize_t size)
{
    Py_SET_SIZE(room, size);
    PyBytes_AS_STRING(room)[size] = 0;
    forget_hash(room);
}
