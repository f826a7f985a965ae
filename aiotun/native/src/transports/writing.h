/* What is written to a port gathers, and is written to its channel together. */

#pragma once

#include <Python.h>

#include "../packetio/writing.h"
#include "port.h"

static bool
port_flush(Port *self)
{
    if (!PyList_GET_SIZE(self->packets))
        return true;
    self->uses++;
    PyObject *none = PyList_New(0); /* within this a finalizer may write, flush and close */
    if (!none)
        return leave(self, false);
    if (!self->base || PyObject_Size(self->backlog)) {
        Py_DECREF(none);
        return leave(self, done_with(leave_to_twin(self, "flush", NULL)));
    }
    PyObject *packets = self->packets; /* others may run while the GIL is released */
    self->packets = none;
    PyObject *const *items = PySequence_Fast_ITEMS(packets);
    const Py_ssize_t count = PyList_GET_SIZE(packets);
    Writing writing = {0};
    bool done = true;
    if (self->vnet_hdr)
        done = write_packets(&writing, items, count, &self->kept->recent[self->tap], self->channel,
                             self->tap, self->table->wanted);
    else {
        for (Py_ssize_t i = 0; i < count; i++)
            writing.bytes += PyBytes_GET_SIZE(items[i]);
        writing.frames = write_frames(self->channel, &self->families, items, count);
        if (writing.frames < count)
            done = (writing.left = PyList_GetSlice(packets, writing.frames, count));
        writing.packets = writing.frames;
    }
    Py_DECREF(packets);
    self->counts->packets_sent += (unsigned long long)count;
    self->counts->bytes_sent += (unsigned long long)writing.bytes;
    self->counts->frames_sent += (unsigned long long)writing.frames;
    self->counts->super_packets_sent += (unsigned long long)writing.super_packets;
    if (!done) { /* there was no memory for what was not written */
        self->counts->dropped_sent += (unsigned long long)(count - writing.packets);
        done = tell_no_memory(self);
    }
    else if (writing.left) {
        done = done_with(leave_to_twin(self, "write_left", writing.left));
        Py_DECREF(writing.left);
    }
    return leave(self, done);
}

static PyObject *
port_flush_method(PyObject *object, PyObject *Py_UNUSED(none))
{
    if (!port_flush((Port *)object))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
port_end_of_tick(PyObject *object, PyObject *none)
{
    ((Port *)object)->turns++;
    ((Port *)object)->due = false;
    return port_flush_method(object, none);
}

static bool
write_one(Port *self, PyObject *data)
{
    if (!PyBytes_CheckExact(data) || !PyBytes_GET_SIZE(data) ||
        PyBytes_GET_SIZE(data) > self->size_max || self->closed ||
        PyList_GET_SIZE(self->packets) + 1 >= self->limit ||
        !(self->due || PyList_GET_SIZE(self->tick)))
        return done_with(leave_to_twin(self, "write", data));
    if (!self->due) {
        if (PyList_Append(self->tick, (PyObject *)self))
            return false;
        self->due = true;
    }
    return append(self->packets, Py_NewRef(data));
}

static PyObject *
port_write(PyObject *object, PyObject *data)
{
    if (!write_one((Port *)object, data))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
port_writelines(PyObject *object, PyObject *packets)
{
    PyObject *iterator = PyObject_GetIter(packets), *packet;
    if (!iterator)
        return NULL;
    bool done = true;
    while (done && (packet = PyIter_Next(iterator))) {
        done = write_one((Port *)object, packet);
        Py_DECREF(packet);
    }
    Py_DECREF(iterator);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
port_write_super(PyObject *object, PyObject *packet)
{
    Port *self = (Port *)object;
    if (!self->base || !PyObject_TypeCheck(packet, (PyTypeObject *)self->super_packet))
        return leave_to_twin(self, "write_super", packet);
    PyObject *frame = PyObject_GetAttr(packet, self->frame);
    if (!frame || !port_flush(self)) {
        Py_XDECREF(frame);
        return NULL;
    }
    /* This is asked last: what stands above may close the port, or leave frames that wait. */
    bool written = PyBytes_CheckExact(frame) && self->vnet_hdr && !self->closed &&
                   !PyObject_Size(self->backlog);
    if (written) {
        const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(frame);
        const size_t size = (size_t)PyBytes_GET_SIZE(frame);
        const Wanted wanted = self->table->wanted;
        self->uses++; /* another thread may end the transport while the GIL is released */
        Py_BEGIN_ALLOW_THREADS
        written = write_super(self->channel, data, size, self->tap, wanted);
        Py_END_ALLOW_THREADS
        if (written) {
            Reading counted = {0};
            count_frame(&counted, data, size, self->tap);
            count_sent(self->counts, &counted);
        }
        if (!leave(self, true)) {
            Py_DECREF(frame);
            return NULL;
        }
    }
    Py_DECREF(frame);
    if (written)
        Py_RETURN_NONE;
    return leave_to_twin(self, "write_super_flushed", packet);
}
