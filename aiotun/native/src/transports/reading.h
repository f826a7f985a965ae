/* A port reads a batch, and hands it on: to its target, back to its channel, or to its protocol. */

#pragma once

#include <Python.h>

#include "delivering.h"
#include "passing.h"
#include "rewriting.h"

/* All that wait are read, where none is large: the more packets for one place are read together, the
   more of them leave together. */
static bool
read_super_packets(Port *self, Reading *reading)
{
    if (!read_frames(reading, self->kept, self->channel, NULL, &self->families, ROOMS))
        return false;
    Py_ssize_t large = 0, made = 0;
    bool done = true;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(reading->packets); i++) {
        PyObject *frame = PyList_GET_ITEM(reading->packets, i);
        const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(frame);
        const size_t size = (size_t)PyBytes_GET_SIZE(frame);
        large += is_large((ptrdiff_t)size);
        count_frame(reading, data, size, self->tap);
        PyObject *packet = done ? new_super_packet(self, frame) : NULL;
        done = packet;
        if (packet)
            PyList_SetItem(reading->packets, made++, packet);
        else
            lose_frame(reading, data, size, self->tap);
    }
    shorten(reading->packets, made);
    reading->more = large == LARGE_MAX;
    return done;
}

static bool
read_batch(Port *self, Reading *reading)
{
    if (may_pass(self))
        return pass_frames(self, reading);
    if (may_rewrite(self))
        return rewrite_frames(self, reading);
    if (self->delivery == SUPER)
        return read_super_packets(self, reading);
    if (self->vnet_hdr)
        return read_packets(reading, self->kept, self->channel, self->read_limit, self->tap);
    if (!read_frames(reading, self->kept, self->channel, self->receive_many, &self->families,
                     FRAMES_MAX))
        return false;
    reading->frames = PyList_GET_SIZE(reading->packets);
    const Py_ssize_t last = reading->frames - 1;
    if (last >= 0 && !PyBytes_GET_SIZE(PyList_GET_ITEM(reading->packets, last))) {
        reading->malformed = Py_NewRef(PyList_GET_ITEM(reading->packets, last));
        if (PyList_SetSlice(reading->packets, last, last + 1, NULL))
            return false;
    }
    count_packets(reading);
    return true;
}

static bool
refuse_malformed(Port *self, PyObject *frame)
{
    PyObject *reader = PyObject_GetAttrString((PyObject *)self, "reader");
    const bool done = reader && done_with(PyObject_CallMethod(reader, "refuse", "O", frame));
    Py_XDECREF(reader);
    return done;
}

/* Read one batch and deliver it. Return false with an exception set. If `reading` has no frames then
   and does not say that nothing waited, it is for the twin to read, and to say why. */
static bool
read_and_deliver(Port *self, Reading *reading)
{
    const bool super = self->delivery == SUPER;
    const bool plain = self->base && self->reading && !PyList_GET_SIZE(self->pending) &&
                       !PyList_GET_SIZE(self->tick) &&
                       (!super || self->vnet_hdr || may_pass(self));
    if (!plain)
        return true;
    self->uses++; /* another thread may end the transport while the GIL is released */
    const bool done = leave(self, read_batch(self, reading) || tell_no_memory(self));
    Counts *counts = self->counts;
    counts->frames_received += (unsigned long long)reading->frames;
    counts->super_packets_received += (unsigned long long)reading->super_packets;
    counts->packets_received += (unsigned long long)reading->count;
    counts->bytes_received += (unsigned long long)reading->bytes;
    counts->dropped_received += (unsigned long long)reading->lost;
    if (!done)
        return keep_pending(self, reading->packets);
    if (reading->malformed && !refuse_malformed(self, reading->malformed))
        return false;
    if (!PyList_GET_SIZE(reading->packets))
        return true;
    const bool still = self->reading && (self->delivery == SUPER) == super &&
                       !PyList_GET_SIZE(self->pending) && !PyList_GET_SIZE(self->tick);
    return still ? deliver(self, reading->packets) : deliver_late(self, reading->packets);
}

static PyObject *
port_read_ready(PyObject *object, PyObject *Py_UNUSED(none))
{
    Port *self = (Port *)object;
    Py_ssize_t frames = 0;
    bool done, more, nothing;
    do {
        Reading reading = {.packets = PyList_New(0)};
        done = reading.packets && read_and_deliver(self, &reading);
        frames += reading.frames;
        more = reading.more;
        nothing = reading.nothing;
        reading_clear(&reading);
    } while (done && more && frames < (self->delivery == SUPER ? SUPER_PACKETS_MAX : SPLIT_MAX));
    if (done && !frames && !nothing)
        return leave_to_twin(self, "read_ready", NULL);
    if (!done)
        return NULL;
    Py_RETURN_NONE;
}
