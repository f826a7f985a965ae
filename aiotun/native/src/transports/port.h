/* Port: see fastpath.py.

   This does what happens for every packet. No Python runs between the system's calls and the
   protocol's. Whatever is not plain is left to the Python twin's function, which works on the
   same object. */

#pragma once

#include <Python.h>

#include "../counts.h"
#include "../exceptions.h"
#include "../objects.h"
#include "../offload/table.h"
#include "../packetio/reading.h"
#include "../state.h"

typedef struct Port {
    PyObject_HEAD
    /* Attributes that the Python twin uses too. */
    PyObject *protocol, *callback; /* `callback` is the name of a method */
    PyObject *tick, *pending, *packets; /* these are lists */
    struct Port *target; /* it may be NULL */
    PyObject *rewrites;  /* a dict, or NULL */
    char reading, closed, due;
    int uses;
    Py_ssize_t turns;
    /* _bind sets all that follows. */
    PyTypeObject *base; /* the type in C, which all ports have as a base; NULL before _bind */
    PyObject *twin;     /* the twin's type, fastpath.Port */
    PyObject *backlog;  /* the frames that wait, of which only the number is asked */
    Counts *counts;
    Table *table;
    PyObject *super_packet, *frame; /* the type SuperPacket, and the name of its attribute */
    Kept *kept;
    Channel channel;
    bool tap, vnet_hdr;
    Families families;
    ReceiveMany receive_many; /* it may be NULL */
    Py_ssize_t size_max, limit, read_limit;
    enum { EACH, BATCH, SUPER } delivery; /* what the callback's name stands for */
} Port;

/* Call the twin's method of that name; the argument may be NULL. */
static PyObject *
leave_to_twin(Port *self, const char *name, PyObject *argument)
{
    if (!self->base)
        return PyErr_Format(PyExc_RuntimeError, "the port was not bound");
    return PyObject_CallMethod(self->twin, name, argument ? "OO" : "O", self, argument);
}

/* A call that counted itself among the uses is over. Return `done`, which is false with an
   exception set. */
static bool
leave(Port *self, bool done)
{
    if (!self->closed) {
        self->uses--;
        return done;
    }
    Finally block;
    begin_finally(&block);
    done_with(leave_to_twin(self, "_leave", NULL));
    return end_finally(&block);
}

/* Tell the owner if the exception that is set is of memory, as Port._read does. Return false with an
   exception set: another one, or one of that call. */
static bool
tell_no_memory(Port *self)
{
    if (!PyErr_ExceptionMatches(PyExc_MemoryError))
        return false;
    PyObject *exception = take_exception();
    PyObject *owner = PyObject_GetAttrString((PyObject *)self, "owner");
    const bool done = owner && done_with(PyObject_CallMethod(owner, "_fail", "O", exception));
    Py_XDECREF(owner);
    Py_DECREF(exception);
    return done;
}

static void
count_sent(Counts *counts, const Reading *written)
{
    counts->packets_sent += (unsigned long long)written->count;
    counts->bytes_sent += (unsigned long long)written->bytes;
    counts->frames_sent += (unsigned long long)written->frames;
    counts->super_packets_sent += (unsigned long long)written->super_packets;
}

/* Make SuperPacket(frame) without a call of Python. */
static PyObject *
new_super_packet(const Port *self, PyObject *frame)
{
    PyTypeObject *type = (PyTypeObject *)self->super_packet;
    PyObject *packet = type->tp_alloc(type, 0);
    if (packet && PyObject_SetAttr(packet, self->frame, frame))
        Py_CLEAR(packet);
    return packet;
}

/* One wake-up passes on so many super-packets at most, and begins no further batch after so many, or
   after it has split so many. */
enum { SUPER_PACKETS_MAX = 64, SPLIT_MAX = 12 };

/* It reads so many frames that have no virtio_net_hdr, or writes so many back. */
enum { FRAMES_MAX = 64 };
