/* Reading a descriptor of which read(2) gives one frame, without blocking. */

#pragma once

#include <Python.h>

#include <errno.h>
#include <unistd.h>

#include "segment.h"

/* The largest frame: virtio_net_hdr, Ethernet header, VLAN tag, IP packet. */
enum { FRAME_MAX = VIRTIO_SIZE + 14 + 4 + PACKET_MAX };

/* Large frames that one call reads. */
enum { LARGE_MAX = 4 };

/* What is kept from one call to the next. */
typedef struct {
    Recent recent;
    PyObject *large[LARGE_MAX]; /* frames as read_frames read them last */
} Kept;

/* NULL where no GIL guards it. */
static inline Recent *
recent_of(Kept *kept)
{
#ifdef Py_GIL_DISABLED
    (void)kept;
    return NULL;
#else
    return &kept->recent;
#endif
}

/* What one call read. */
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

/* Of the packet in a frame, which may end within its header. */
static Py_ssize_t
packet_size(Py_ssize_t frame_size)
{
    return frame_size > VIRTIO_SIZE ? frame_size - VIRTIO_SIZE : 0;
}

/* Without the GIL. */
static ssize_t
read_frame_unlocked(int fd, uint8_t *buffer)
{
    ssize_t size;
    do
        size = read(fd, buffer, FRAME_MAX);
    while (size < 0 && errno == EINTR);
    return size;
}

static ssize_t
read_frame(int fd, uint8_t *buffer)
{
    ssize_t size;
    Py_BEGIN_ALLOW_THREADS
    size = read_frame_unlocked(fd, buffer);
    Py_END_ALLOW_THREADS
    return size;
}

/* Read and split until there are `limit` packets or more; false with an exception set. */
static bool
read_packets(Reading *reading, Kept *kept, int fd, Py_ssize_t limit, bool tap)
{
    uint8_t buffer[FRAME_MAX];
    Recent *recent = recent_of(kept);
    if (recent) {
        recent->next = recent->cursor = 0;
        recent->tap = tap;
    }
    *reading = (Reading){.packets = PyList_New(0)};
    SplitResult result = reading->packets ? ONE_PACKET : FAILED;
    while (result > MALFORMED && PyList_GET_SIZE(reading->packets) < limit) {
        const ssize_t size = read_frame(fd, buffer);
        if (size <= 0) /* an error, or the end of a descriptor that has one */
            break;
        reading->frames++;
        result = split(reading->packets, recent, buffer, (size_t)size, tap);
        if (result == SEGMENTS)
            reading->super_packets++;
        if (result == MALFORMED) {
            reading->malformed = PyBytes_FromStringAndSize((const char *)buffer, size);
            if (!reading->malformed)
                result = FAILED;
        }
    }
    if (result == FAILED) {
        reading_clear(reading);
        return false;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(reading->packets); i++)
        reading->bytes += PyBytes_GET_SIZE(PyList_GET_ITEM(reading->packets, i));
    return true;
}

/* Bytes with room for the largest frame: those of an earlier one that nobody else holds any
   more, as glibc gives free memory of that size back to the system and takes it again page by
   page (M_TRIM_THRESHOLD in mallopt(3)). The GIL guards them; without it none are kept. */
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
#ifdef Py_GIL_DISABLED
    (void)kept;
    Py_DECREF(stolen);
#else
    Py_XSETREF(*kept, stolen);
#endif
}

/* Bytes of that many from now on. */
static void
shrink_room(PyObject *room, Py_ssize_t size)
{
    Py_SET_SIZE(room, size);
    PyBytes_AS_STRING(room)[size] = 0;
    forget_hash(room);
}

/* Read `limit` frames at most, as they are; NULL with an exception set. */
static PyObject *
read_frames(Kept *kept, int fd, Py_ssize_t limit)
{
    PyObject *frames = PyList_New(0);
    size_t large = 0;
    bool done = frames;
    while (done && large < LARGE_MAX && PyList_GET_SIZE(frames) < limit) {
        PyObject **place = &kept->large[large];
        PyObject *room = take_room(place);
        if (!room) {
            done = false;
            break;
        }
        char *buffer = PyBytes_AS_STRING(room);
        const ssize_t size = read_frame(fd, (uint8_t *)buffer);
        if (size > FRAME_MAX / 2) {
            shrink_room(room, size);
            done = append(frames, Py_NewRef(room));
            large++;
        }
        else if (size > 0)
            done = append(frames, PyBytes_FromStringAndSize(buffer, size));
        keep_room(place, room);
        if (size <= 0)
            break;
    }
    if (!done)
        Py_CLEAR(frames);
    return frames;
}
