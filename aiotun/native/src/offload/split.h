/* gso_split: see segment.py. */

#pragma once

#include <Python.h>

#include "../objects.h"
#include "segment.h"

/* The segments that were made last. They are held, so the interpreter gives their place to
   nothing else. An object that is found here is therefore a segment as it was made, and its
   checksums are right. A segment that nobody else holds any more is filled anew, which spares
   freeing and allocating it. The GIL guards them. */
enum { RECENT_MAX = 256 };

typedef struct {
    PyObject *segments[RECENT_MAX];
    uint16_t frames[RECENT_MAX]; /* for a frame's first segment: how many the frame has */
    const uint8_t *payloads[RECENT_MAX]; /* and where they stand in one piece, or NULL */
    PyObject *room; /* bytes, into which frames were read last; they are there up to `next` */
    size_t next;   /* the segment that is replaced next */
    size_t cursor; /* where the segment that is written next is expected */
} Recent;

/* Return a segment to be filled, or NULL with an exception set. `recent` may be NULL. */
static PyObject *
new_segment(Recent *recent, Py_ssize_t size)
{
    if (recent && recent->next < RECENT_MAX) {
        PyObject **place = &recent->segments[recent->next];
        if (*place && Py_REFCNT(*place) == 1 && PyBytes_GET_SIZE(*place) == size)
            forget_hash(*place);
        else
            Py_XSETREF(*place, PyBytes_FromStringAndSize(NULL, size));
        if (*place)
            recent->frames[recent->next++] = 0;
        return Py_XNewRef(*place);
    }
    return PyBytes_FromStringAndSize(NULL, size);
}

/* If the packets begin with all segments of a frame in order, return how many these are, and where
   their payloads stand in one piece, if they do. Otherwise return 1 if the first packet is a segment,
   and 0 if it is none. Packets mostly leave in the order in which they came. */
static int32_t
count_recent(Recent *recent, PyObject *const *packets, Py_ssize_t count, const uint8_t **payloads)
{
    enum { AHEAD = 4 };
    for (size_t i = recent->cursor; i < recent->cursor + AHEAD && i < RECENT_MAX; i++) {
        if (recent->segments[i] != packets[0])
            continue;
        size_t segments = recent->frames[i];
        if (!segments || (Py_ssize_t)segments > count ||
            memcmp(packets, &recent->segments[i], segments * sizeof *packets))
            segments = 1;
        *payloads = i < recent->next ? recent->payloads[i] : NULL;
        recent->cursor = i + segments;
        return (int32_t)segments;
    }
    return 0;
}

/* Append all segments. Return false with an exception set. */
static bool
append_segments(PyObject *list, Recent *recent, const Segmenter *segmenter, bool stays)
{
    const size_t first = recent ? recent->next : 0, count = segments_count(segmenter);
    for (size_t i = 0; i < count; i++) {
        PyObject *segment = new_segment(recent, (Py_ssize_t)segment_size(segmenter, i));
        if (!segment)
            return false;
        make_segment(segmenter, i, (uint8_t *)PyBytes_AS_STRING(segment));
        if (!append(list, segment))
            return false;
    }
    if (recent && recent->next < RECENT_MAX) { /* then none of the frame's segments was replaced */
        recent->frames[first] = (uint16_t)(recent->next - first);
        recent->payloads[first] = stays ? segmenter->packet + segmenter->at.payload : NULL;
    }
    return true;
}

/* Append the packets of a frame, and tell what it was. `stays` is whether the frame stays in the room
   of `recent`. Return false with an exception set. */
static bool
split(PyObject *list, Recent *recent, const uint8_t *frame, size_t size, bool tap, bool stays,
      Plan *plan)
{
    VirtioNetHeader header;
    Layout layout;
    *plan = plan_split(frame, size, tap, &header, &layout);
    const uint8_t *packet = frame + VIRTIO_SIZE;
    size -= VIRTIO_SIZE;
    if (*plan == SEGMENTS) {
        Segmenter segmenter;
        const bool done = segmenter_begin(&segmenter, &header, packet, size, &layout) &&
                          append_segments(list, recent, &segmenter, stays);
        segmenter_clear(&segmenter);
        return done;
    }
    if (*plan == MALFORMED)
        return true;
    PyObject *only = PyBytes_FromStringAndSize((const char *)packet, (Py_ssize_t)size);
    if (only && header.flags & NEEDS_CSUM)
        complete_checksum(&header, (uint8_t *)PyBytes_AS_STRING(only), size);
    return append(list, only);
}
