/* Items that a framed end receives and sends: see sources.py and sinks.py. */

#pragma once

#include <Python.h>

#include "../counts.h"
#include "../transports/writing.h"
#include "messages.h"

/* An ItemSource or an ItemSink. _bind sets what follows `closed`; before, `call_type` is NULL. */
typedef struct {
    PyObject_HEAD
    char closed;
    PyTypeObject *call_type;
    PyObject *twin; /* the twin's type: TransportSource or TransportSink */
    Messages *protocol;
    PyObject *convert; /* the codec's decode or encode, or NULL if an item is its packet */
    ItemCounts *counts;
    /* Of a source. */
    PyObject *errors, *codec_error; /* those that wait, and their type */
    PyObject *popleft;              /* the name of a deque's method */
    /* Of a sink. */
    Port *port;
} ItemEnd;

/* LEFT says that nothing was done, and the twin is to do it. */
typedef enum { FAILED, DONE, LEFT } Outcome;

static bool
is_empty(PyObject *deque)
{
    return deque && !PyObject_Size(deque);
}

/* Decode a packet or encode an item. */
static PyObject *
converted(const ItemEnd *self, PyObject *object)
{
    return self->convert ? PyObject_CallOneArg(self->convert, object) : Py_NewRef(object);
}

static Outcome
receive_item(ItemEnd *self, PyObject *Py_UNUSED(item), PyObject **result)
{
    const Messages *protocol = self->protocol;
    if (self->closed || protocol->full || !protocol->kept || is_empty(protocol->kept) ||
        !is_empty(protocol->readers) || !is_empty(self->errors))
        return LEFT;
    PyObject *message = PyObject_CallMethodNoArgs(protocol->kept, self->popleft);
    if (!message)
        return FAILED;
    *result = converted(self, message);
    Py_DECREF(message);
    if (*result)
        self->counts->received++;
    else if (PyErr_ExceptionMatches(self->codec_error))
        self->counts->broken++;
    return *result ? DONE : FAILED;
}

/* Write an item. Return false with an exception set. */
static bool
put_item(ItemEnd *self, PyObject *item)
{
    Messages *protocol = self->protocol;
    PyObject *packet = converted(self, item);
    if (!packet)
        return false;
    bool done;
    if (PyBytes_CheckExact(packet) && PyBytes_GET_SIZE(packet) &&
        PyBytes_GET_SIZE(packet) <= self->port->size_max) {
        done = write_one(self->port, packet);
        protocol->written += done;
    }
    else
        done = done_with(PyObject_CallMethod((PyObject *)protocol, "write", "((O))", packet));
    Py_DECREF(packet);
    self->counts->sent += done;
    return done;
}

static Outcome
send_item(ItemEnd *self, PyObject *item, PyObject **result)
{
    const Messages *protocol = self->protocol;
    if (self->closed || self->port->closed || !protocol->writable || !is_empty(protocol->writers) ||
        protocol->written >= protocol->yield_at)
        return LEFT;
    if (!put_item(self, item))
        return FAILED;
    *result = Py_NewRef(Py_None);
    return DONE;
}
