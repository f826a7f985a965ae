/* The packets of a device's frames, as items to be sealed: see aead/frames.py. */

#pragma once

#include <Python.h>

#include "../offload/segment.h"
#include "arguments.h"
#include "cipher.h"

/* A frame whose packets are to be sealed. */
struct Source {
    Plan plan;
    VirtioNetHeader header;
    const uint8_t *packet;
    size_t size;
    Segmenter segmenter; /* in use if the plan is SEGMENTS */
};

/* Make a packet at the place of its message, and seal it there. */
static void
seal_in_place(const Secret *secret, EVP_CIPHER_CTX *context, Item *item)
{
    const Source *source = item->source;
    if (source->plan == SEGMENTS)
        make_segment(&source->segmenter, item->number, item->out);
    else {
        memcpy(item->out, source->packet, source->size);
        if (source->header.flags & NEEDS_CSUM)
            complete_checksum(&source->header, item->out, source->size);
    }
    item->in = item->out;
    seal_one(secret, context, item);
}

/* Raise what gso_split raises for this frame. */
static void
raise_malformed(PyObject *frame)
{
    PyObject *module = PyImport_ImportModule("aiotun.offload.segment");
    PyObject *packets = module ? PyObject_CallMethod(module, "gso_split", "O", frame) : NULL;
    if (packets)
        PyErr_SetString(PyExc_RuntimeError, "the frame is not malformed");
    Py_XDECREF(packets);
    Py_XDECREF(module);
}

/* Fill in a source, and say how many packets it has: 0 if the frame is malformed. Return false with
   an exception set. */
static bool
plan_source(Source *source, PyObject *frame, size_t *packets)
{
    *packets = 0;
    source->segmenter.large = NULL;
    if (!PyBytes_Check(frame))
        return true;
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(frame);
    const size_t size = (size_t)PyBytes_GET_SIZE(frame);
    Layout layout;
    source->plan = plan_split(data, size, false, &source->header, &layout);
    if (source->plan == MALFORMED)
        return true;
    source->packet = data + VIRTIO_SIZE;
    source->size = size - VIRTIO_SIZE;
    if (source->plan == SEGMENTS) {
        if (!segmenter_begin(&source->segmenter, &source->header, source->packet, source->size,
                             &layout))
            return false;
        *packets = segments_count(&source->segmenter);
    }
    else
        *packets = 1;
    return true;
}

/* The same, but return the number of packets, or 0 with an exception set. */
static size_t
read_source(Source *source, PyObject *frame)
{
    size_t packets;
    if (plan_source(source, frame, &packets) && !packets) {
        if (PyBytes_Check(frame))
            raise_malformed(frame);
        else
            PyErr_Format(PyExc_TypeError, "a frame is bytes, not %s", Py_TYPE(frame)->tp_name);
    }
    return packets;
}

/* Fill in the items of a source's packets but for their counters. Return false if one is too
   large. */
static bool
list_items(Item *items, const Source *source, size_t packets, Py_ssize_t pad, Py_ssize_t limit)
{
    for (size_t i = 0; i < packets; i++) {
        const Py_ssize_t size = (Py_ssize_t)(
            source->plan == SEGMENTS ? segment_size(&source->segmenter, i) : source->size);
        if (size > CONTENT_MAX)
            return false;
        items[i] = (Item){
            .size = size, .pad = padding(size, pad, limit), .source = source, .number = i};
    }
    return true;
}
