/* Reading a descriptor of which read(2) gives one frame, without blocking. */

#pragma once

#include <Python.h>

#include "split.h"
#include "system.h"

/* The largest frame: virtio_net_hdr, Ethernet header, VLAN tag, IP packet. */
enum { FRAME_MAX = VIRTIO_SIZE + 14 + 4 + PACKET_MAX };

/* One call reads so many large frames at most. */
enum { LARGE_MAX = 4 };

/* One wake-up receives so many trains of large datagrams. */
enum { TRAINS_KEPT = 8 };

/* What is kept from one call to the next. The GIL guards it. */
typedef struct {
    Recent recent[2]; /* one of a TUN and one of a TAP: a segment of one is none of the other */
    PyObject *large[LARGE_MAX]; /* the frames that read_frames read last */
    PyObject *trains[TRAINS_KEPT]; /* the trains that receive_trains received last */
} Kept;

/* What one call read. The caller makes the list before it looks at the descriptor: making it may
   run finalizers, which may close the descriptor. From that look to the last read no finalizer
   runs. */
typedef struct {
    PyObject *packets; /* a list of bytes */
    PyObject *malformed; /* the frame at which reading ended, or NULL */
    Py_ssize_t bytes, frames, super_packets;
} Reading;

static void
reading_clear(Reading *reading)
{
    Py_CLEAR(reading->packets);
    Py_CLEAR(reading->malformed);
}

/* Return the size of the packet in a frame, which may end within its header. */
static Py_ssize_t
packet_size(Py_ssize_t frame_size)
{
    return frame_size > VIRTIO_SIZE ? frame_size - VIRTIO_SIZE : 0;
}

/* Read a frame, and release the GIL meanwhile. */
static ptrdiff_t
read_frame_unlocked(Channel channel, const Families *families, uint8_t *buffer)
{
    ptrdiff_t size;
    Py_BEGIN_ALLOW_THREADS
    size = read_frame(channel, families, buffer, FRAME_MAX);
    Py_END_ALLOW_THREADS
    return size;
}

/* Read and split frames until there are `limit` packets or more. Return false with an exception
   set. */
static bool
read_packets(Reading *reading, Kept *kept, Channel channel, Py_ssize_t limit, bool tap)
{
    uint8_t buffer[FRAME_MAX];
    Recent *recent = &kept->recent[tap];
    recent->next = recent->cursor = 0;
    Plan plan = ONE_PACKET;
    while (plan != MALFORMED && PyList_GET_SIZE(reading->packets) < limit) {
        const ptrdiff_t size = read_frame_unlocked(channel, &NO_FAMILIES, buffer);
        if (size < 0)
            break;
        reading->frames++;
        if (!split(reading->packets, recent, buffer, (size_t)size, tap, &plan))
            return false;
        if (plan == SEGMENTS)
            reading->super_packets++;
        if (plan == MALFORMED) {
            reading->malformed = PyBytes_FromStringAndSize((const char *)buffer, size);
            if (!reading->malformed)
                return false;
        }
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(reading->packets); i++)
        reading->bytes += PyBytes_GET_SIZE(PyList_GET_ITEM(reading->packets, i));
    return true;
}

/* Return bytes with room for the largest frame. If nobody else holds an earlier frame any more,
   its memory is used again: glibc would give memory of that size back to the system, and take it
   again page by page (M_TRIM_THRESHOLD in mallopt(3)). */
static PyObject *
take_room(PyObject **kept)
{
    PyObject *room = *kept;
    *kept = NULL;
    if (room && Py_REFCNT(room) == 1)
        return room;
    Py_XDECREF(room);
    return PyBytes_FromStringAndSize(NULL, FRAME_MAX);
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

/* Read at most `limit` frames into a list, as they are. An empty frame is the last one. Return
   false with an exception set. */
static bool
read_frames(PyObject *frames, Kept *kept, Channel channel, const Families *families,
            Py_ssize_t limit)
{
    size_t large = 0;
    bool done = true;
    while (done && large < LARGE_MAX && PyList_GET_SIZE(frames) < limit) {
        PyObject **place = &kept->large[large];
        PyObject *room = take_room(place);
        if (!room) {
            done = false;
            break;
        }
        char *buffer = PyBytes_AS_STRING(room);
        const ptrdiff_t size = read_frame_unlocked(channel, families, (uint8_t *)buffer);
        if (size > FRAME_MAX / 2) {
            shrink_room(room, size);
            done = append(frames, Py_NewRef(room));
            large++;
        }
        else if (size >= 0)
            done = append(frames, PyBytes_FromStringAndSize(buffer, size));
        keep_room(place, room);
        if (size <= 0) /* an empty frame ends the call, and so does the lack of one */
            break;
    }
    return done;
}
