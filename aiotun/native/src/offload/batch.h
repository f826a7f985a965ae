/* A batch of packets and the runs in it. GROTable and the functions that write make frames of
   them. */

#pragma once

#include <Python.h>

#include "../objects.h"
#include "coalesce.h"
#include "parts.h"

typedef struct {
    int32_t count;
    Packet *packets;
    Part *items; /* the packets' bytes, which the caller holds */
} Batch;

/* Make room for so many packets. Return false with an exception set; otherwise the caller calls
   batch_clear in the end. */
static bool
batch_begin(Batch *batch, Py_ssize_t count)
{
    const size_t each = sizeof(Packet) + sizeof(Part), room = (size_t)(count ? count : 1) * each;
    const bool fits = count <= INT32_MAX && room / each >= (size_t)count && room <= SIZE_MAX - CACHE_LINE;
    batch->packets =
        fits ? allocate_aligned(CACHE_LINE, (room + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE) : NULL;
    if (!batch->packets) {
        PyErr_NoMemory();
        return false;
    }
    batch->count = (int32_t)count;
    batch->items = (Part *)(batch->packets + count);
    return true;
}

static void
batch_clear(Batch *batch)
{
    free_aligned(batch->packets);
}

/* Add a packet of which nothing is known. */
static inline void
batch_take(Batch *batch, int32_t index, const uint8_t *data, size_t size)
{
    batch->items[index] = part(data, size);
    announce(&batch->packets[index], 1, false);
}

/* Make room for these packets, which are bytes, and add them. The caller announces them. */
static inline bool
batch_of_bytes(Batch *batch, PyObject *const *objects, Py_ssize_t count)
{
    if (!batch_begin(batch, count))
        return false;
    for (Py_ssize_t i = 0; i < count; i++)
        batch->items[i] = part(PyBytes_AS_STRING(objects[i]), (size_t)PyBytes_GET_SIZE(objects[i]));
    return true;
}

/* Find the runs of all packets that were added. Return whether there was memory for it. This does not
   need the GIL. */
static bool
batch_find_runs(Batch *batch, bool tap, Wanted wanted)
{
    if (batch->count == 1) { /* of many peers, each sends one */
        batch->packets->count = 0;
        batch->packets->merged = false;
    }
    if (batch->count < 2)
        return true;
    size_t announced = 0;
    for (int32_t i = 0; i < batch->count; i += batch->packets[i].segments)
        announced++;
    size_t slots_count = 2;
    while (slots_count * 3 < announced * 4)
        slots_count *= 2;
    Slot *slots = PyMem_RawCalloc(slots_count, sizeof(Slot));
    if (slots)
        coalesce(batch->packets, batch->items, batch->count, slots, slots_count - 1, tap, wanted);
    PyMem_RawFree(slots);
    return slots;
}

/* The same for a caller that has the GIL, which is released for the work. Return false with an
   exception set. */
static bool
batch_coalesce(Batch *batch, bool tap, Wanted wanted)
{
    bool done;
    Py_BEGIN_ALLOW_THREADS
    done = batch_find_runs(batch, tap, wanted);
    Py_END_ALLOW_THREADS
    if (!done)
        PyErr_NoMemory();
    return done;
}

/* Return the frame, as bytes, that begins with the packet `from` or the first later one, and put the place
   behind it there; NULL if there is none, or with an exception set. */
static PyObject *
batch_next_frame(const Batch *batch, int32_t *from)
{
    while (*from < batch->count && batch->packets[*from].merged)
        *from += batch->packets[*from].segments;
    if (*from >= batch->count)
        return NULL;
    Head head;
    Part parts[PARTS_MAX];
    const int count = frame_parts(batch->packets, batch->items, *from, &head, parts);
    *from += batch->packets[*from].segments;
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    PyObject *frame = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    char *to = frame ? PyBytes_AS_STRING(frame) : NULL;
    for (int i = 0; frame && i < count; i++) {
        memcpy(to, parts[i].iov_base, parts[i].iov_len);
        to += parts[i].iov_len;
    }
    return frame;
}

/* Return a list of the frames that begin with the packet `from` or a later one. */
static PyObject *
batch_frames(const Batch *batch, int32_t from)
{
    PyObject *frames = PyList_New(0), *frame;
    while (frames && (frame = batch_next_frame(batch, &from)))
        if (!append(frames, frame))
            Py_CLEAR(frames);
    if (PyErr_Occurred())
        Py_CLEAR(frames);
    return frames;
}
