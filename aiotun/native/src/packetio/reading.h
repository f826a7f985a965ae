/* Reading a descriptor of which read(2) gives one frame, without blocking. */

#pragma once

#include <Python.h>

#include "../kept.h"
#include "../offload/split.h"
#include "../system/system.h"

/* The GIL is released once for so many frames at most. */
enum { BATCH_MAX = 128 };

/* What one call read. The caller makes the list before it looks at the descriptor: making it may
   run finalizers, which may close the descriptor. From that look to the last read no finalizer
   runs. */
typedef struct {
    PyObject *packets; /* a list of bytes */
    PyObject *malformed; /* the frame at which reading ended, or NULL */
    Py_ssize_t count, bytes; /* of packets, those within super-packets too */
    Py_ssize_t frames, super_packets;
    Py_ssize_t lost, lost_bytes; /* what of it is not in `packets`: there was no memory for it */
    bool more; /* the batch ended because it has enough of super-packets: more may wait */
    const Wait *wait; /* for the first frame, or NULL: it is there or not */
    bool nothing;     /* no frame waited */
    bool signalled;   /* and a signal ended the wait for one: handlers in Python are to run */
} Reading;

static void
reading_clear(Reading *reading)
{
    Py_CLEAR(reading->packets);
    Py_CLEAR(reading->malformed);
}

/* Count a frame that is handed on as it is. This does not need the GIL. */
static void
count_frame(Reading *reading, const uint8_t *frame, size_t size, bool tap)
{
    const Weight weight = weigh(frame, size, tap);
    reading->frames++;
    reading->super_packets += size > 1 && frame[1] != GSO_NONE;
    reading->count += (Py_ssize_t)weight.packets;
    reading->bytes += (Py_ssize_t)weight.bytes;
}

/* Note a frame that was read, and for which there is no memory. */
static void
lose_frame(Reading *reading, const uint8_t *frame, size_t size, bool tap)
{
    const Weight weight = weigh(frame, size, tap);
    reading->lost += (Py_ssize_t)weight.packets;
    reading->lost_bytes += (Py_ssize_t)weight.bytes;
}

/* Count packets that came as they are, or were split, and those that were lost. */
static void
count_packets(Reading *reading)
{
    const Py_ssize_t there = PyList_GET_SIZE(reading->packets);
    reading->count = there + reading->lost;
    reading->bytes = reading->lost_bytes;
    for (Py_ssize_t i = 0; i < there; i++)
        reading->bytes += PyBytes_GET_SIZE(PyList_GET_ITEM(reading->packets, i));
}

/* Begin to replace the segments. Return the room, a new reference, or NULL with an exception set. */
static PyObject *
renew(Recent *recent)
{
    PyObject *room = take_room(&recent->room, GATHERED_MAX);
    keep_room(&recent->room, Py_XNewRef(room));
    recent->next = recent->cursor = 0;
    return room;
}

/* Wait for the first frame, if a first read found that none is there and the caller waits. Return
   whether one may be there now. This does not need the GIL. */
static bool
has_waited(Reading *reading, Channel channel, ptrdiff_t found)
{
    return found == NONE_WAITS && reading->wait &&
           wait_for_frame(channel, reading->wait, &reading->signalled);
}

/* Read the first frame, as `read_frame` does. This does not need the GIL. */
static ptrdiff_t
read_first(Reading *reading, Channel channel, const Families *families, uint8_t *frame)
{
    ptrdiff_t size = read_frame(channel, families, frame, FRAME_MAX);
    if (has_waited(reading, channel, size))
        size = read_frame(channel, families, frame, FRAME_MAX);
    reading->nothing = size == NONE_WAITS;
    return size;
}

/* Read frames, one behind the other, until they have `limit` packets, are BATCH_MAX, end behind `last`,
   or one is malformed. Put their sizes there, and return how many they are; `*more` is whether another
   may wait. This does not need the GIL. */
static int
read_run(Reading *reading, Channel channel, uint8_t *frame, const uint8_t *last, size_t limit, bool tap,
         ptrdiff_t *sizes, bool *more)
{
    int count = 0;
    for (size_t packets = 0; packets < limit && count < BATCH_MAX && frame <= last;) {
        const ptrdiff_t size = reading->frames || count
                                   ? read_frame(channel, &NO_FAMILIES, frame, FRAME_MAX)
                                   : read_first(reading, channel, &NO_FAMILIES, frame);
        if (size < 0) {
            *more = false;
            break;
        }
        sizes[count++] = size;
        VirtioNetHeader header;
        Layout layout;
        const Plan plan = plan_split(frame, (size_t)size, tap, &header, &layout);
        if (plan == MALFORMED) {
            *more = false;
            break;
        }
        packets += plan == SEGMENTS ? weigh(frame, (size_t)size, tap).packets : 1;
        frame += size;
    }
    return count;
}

/* Read and split frames until there are `limit` packets or more. The GIL is released once for all
   frames that the room takes: where several threads read and write, each release may cost a change of
   threads. Return false with an exception set. */
static bool
read_packets(Reading *reading, Kept *kept, Channel channel, Py_ssize_t limit, bool tap)
{
    Recent *recent = &kept->recent[tap];
    PyObject *room = renew(recent);
    if (!room)
        return false;
    uint8_t *next = (uint8_t *)PyBytes_AS_STRING(room);
    const uint8_t *last = next + GATHERED_MAX - FRAME_MAX;
    ptrdiff_t sizes[BATCH_MAX];
    bool done = true, more = true;
    while (done && more && PyList_GET_SIZE(reading->packets) < limit) {
        const size_t wanted = (size_t)(limit - PyList_GET_SIZE(reading->packets));
        int count;
        Py_BEGIN_ALLOW_THREADS
        count = read_run(reading, channel, next, last, wanted, tap, sizes, &more);
        Py_END_ALLOW_THREADS
        const uint8_t *frame = next;
        for (int i = 0; i < count; frame += sizes[i++]) {
            /* Another thread may have begun to read meanwhile, into another room. */
            const bool stays = recent->room == room && frame + sizes[i] <= last;
            const Py_ssize_t before = PyList_GET_SIZE(reading->packets);
            Plan plan;
            reading->frames++;
            if (!done) { /* since an earlier one */
                lose_frame(reading, frame, (size_t)sizes[i], tap);
                continue;
            }
            done = split(reading->packets, recent, frame, (size_t)sizes[i], tap, stays, &plan);
            if (plan == SEGMENTS) {
                reading->super_packets++;
                if (stays)
                    next = (uint8_t *)frame + sizes[i];
            }
            if (plan == MALFORMED) {
                reading->malformed = PyBytes_FromStringAndSize((const char *)frame, sizes[i]);
                done = reading->malformed;
            }
            if (!done) {
                shorten(reading->packets, before);
                lose_frame(reading, frame, (size_t)sizes[i], tap);
            }
        }
    }
    Py_DECREF(room);
    count_packets(reading);
    reading->more = reading->super_packets && reading->count >= limit;
    return done;
}

/* Return a frame that was read into a room: the room itself, unless the frame leaves most of it empty,
   and there is memory for less. */
static PyObject *
frame_in(PyObject *room, Py_ssize_t room_size, Py_ssize_t size)
{
    if (size <= room_size / 2) {
        PyObject *frame = PyBytes_FromStringAndSize(PyBytes_AS_STRING(room), size);
        if (frame)
            return frame;
        PyErr_Clear();
    }
    shrink_room(room, size);
    return Py_NewRef(room);
}

/* Receive at most `limit` frames, each behind its family, in one call. An empty frame is the last one.
   The rooms are for the largest frames, so that none is cut off; the system gives the memory of what
   was once in use. Return false with an exception set. */
static bool
receive_frames(Reading *reading, Kept *kept, Channel channel, ReceiveMany call, Py_ssize_t limit)
{
    uint8_t *rooms = kept->received; /* others may run while the GIL is released */
    kept->received = NULL;
    if (!rooms && !(rooms = malloc((size_t)RECEIVED_MAX * FRAME_MAX))) {
        PyErr_NoMemory();
        return false;
    }
    size_t sizes[RECEIVED_MAX];
    const int most = limit < RECEIVED_MAX ? (int)limit : RECEIVED_MAX;
    int received;
    Py_BEGIN_ALLOW_THREADS
    received = receive_many(channel, call, rooms, FRAME_MAX, sizes, most);
    if (has_waited(reading, channel, received))
        received = receive_many(channel, call, rooms, FRAME_MAX, sizes, most);
    reading->nothing = received == NONE_WAITS;
    Py_END_ALLOW_THREADS
    bool done = true, empty = false;
    for (int i = 0; done && i < received; i++) {
        const char *frame = (const char *)rooms + (size_t)i * FRAME_MAX;
        const size_t size = sizes[i] < FRAME_MAX ? sizes[i] : FRAME_MAX;
        if (size > FAMILY_SIZE)
            done = append(reading->packets,
                          PyBytes_FromStringAndSize(frame + FAMILY_SIZE,
                                                    (Py_ssize_t)(size - FAMILY_SIZE)));
        else
            empty |= size; /* nothing at all is the end of a descriptor: it comes again */
    }
    free(kept->received);
    kept->received = rooms;
    return done && (!empty || append(reading->packets, PyBytes_FromStringAndSize(NULL, 0)));
}

/* Read at most `limit` frames, as they are. An empty frame is the last one. Each is read
   into room for the largest, and moved if it fits into less: that takes less time than a readv(2) into
   two rooms. The GIL is released once for several frames: four times as many each time, since it
   costs time to get rooms ready, and mostly few frames wait. Where there is a call for many, it is
   made instead. What a frame needs of memory it has before it is read: so none is lost. Return false
   with an exception set. */
static bool
read_frames(Reading *reading, Kept *kept, Channel channel, ReceiveMany call,
            const Families *families, Py_ssize_t limit)
{
    if (call)
        return receive_frames(reading, kept, channel, call, limit);
    PyObject *rooms[ROOMS];
    ptrdiff_t sizes[ROOMS], size = 1;
    Py_ssize_t used = 0, wanted = 1;
    size_t large = 0;
    bool done = true;
    if (limit > ROOMS)
        limit = ROOMS;
    while (done && size > 0 && large < LARGE_MAX && used < limit) {
        const Py_ssize_t end = wanted < limit - used ? used + wanted : limit;
        PyObject **place = &kept->large[large], *largest = take_room(place, FRAME_MAX);
        Py_ssize_t taken = used, read = used;
        for (done = largest && reserve(reading->packets, end); done && taken < end; taken++)
            done = (rooms[taken] = take_room(&kept->rooms[taken], ROOM_SIZE));
        if (done) {
            uint8_t *frame = (uint8_t *)PyBytes_AS_STRING(largest);
            Py_BEGIN_ALLOW_THREADS
            do {
                size = read ? read_frame(channel, families, frame, FRAME_MAX)
                            : read_first(reading, channel, families, frame);
                if (size > 0 && size <= ROOM_SIZE)
                    memcpy(PyBytes_AS_STRING(rooms[read]), frame, (size_t)size);
                sizes[read++] = size;
            } while (size > 0 && size <= ROOM_SIZE && read < end);
            Py_END_ALLOW_THREADS
        }
        for (Py_ssize_t i = used; i < taken; i++) {
            PyObject *room = rooms[i];
            if (done && i < read && sizes[i] > ROOM_SIZE) {
                large += is_large(sizes[i]);
                done = append(reading->packets, frame_in(largest, FRAME_MAX, sizes[i]));
            }
            else if (done && i < read && sizes[i] >= 0)
                done = append(reading->packets, frame_in(room, ROOM_SIZE, sizes[i]));
            keep_room(&kept->rooms[i], room);
        }
        keep_room(place, largest);
        used = read;
        wanted = size > ROOM_SIZE ? 1 : 4 * wanted;
    }
    if (!done && PyList_GET_SIZE(reading->packets)) {
        PyErr_Clear(); /* of memory: next time there may be some for more */
        done = true;
    }
    return done;
}
