/* A port's protocol gets what was read, and what it has written then is flushed. */

#pragma once

#include <Python.h>

#include "writing.h"

/* Whether the protocol still takes what was read for it. */
static bool
goes_on(const Port *self, PyObject *protocol)
{
    return self->reading && self->protocol == protocol;
}

/* Call the protocol for each packet. Packets that it is not to get are pending afterwards. */
static bool
hand_over_each(Port *self, PyObject *callback, PyObject *protocol, PyObject *packets)
{
    const Py_ssize_t count = PyList_GET_SIZE(packets);
    const size_t bound = PyMethod_Check(callback) ? 1 : 0; /* its function is called at once, with the object */
    PyObject *function = bound ? PyMethod_GET_FUNCTION(callback) : callback;
    PyObject *arguments[] = {NULL, bound ? PyMethod_GET_SELF(callback) : NULL, NULL};
    Py_ssize_t taken = 0;
    bool done = true;
    while (done && taken < count && (!taken || goes_on(self, protocol))) {
        arguments[2] = PyList_GET_ITEM(packets, taken++);
        done = done_with(PyObject_Vectorcall(function, arguments + 2 - bound,
                                             (1 + bound) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL));
    }
    if (taken == count)
        return done;
    Finally block;
    begin_finally(&block);
    if (!PyList_SetSlice(packets, 0, taken, NULL))
        PyList_SetSlice(self->pending, PY_SSIZE_T_MAX, PY_SSIZE_T_MAX, packets);
    return end_finally(&block);
}

/* Call the protocol. Return false with an exception set. */
static bool
hand_over(Port *self, PyObject *name, PyObject *packets)
{
    const bool each = self->delivery == EACH;
    PyObject *protocol = Py_NewRef(self->protocol); /* the callback may set another one */
    bool done;
    if (each && PyList_GET_SIZE(packets) > 1) {
        PyObject *callback = PyObject_GetAttr(protocol, name);
        done = callback && hand_over_each(self, callback, protocol, packets);
        Py_XDECREF(callback);
    }
    else
        done = done_with(PyObject_CallMethodOneArg(
            protocol, name, each ? PyList_GET_ITEM(packets, 0) : packets));
    Py_DECREF(protocol);
    return done;
}

/* Tell the owner of the exception that is set, unless it is one that ends the loop. Return false
   with an exception set. */
static bool
complain(Port *self, PyObject *where)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
        return false;
    PyObject *exception = take_exception();
    PyObject *owner = PyObject_GetAttrString((PyObject *)self, "owner");
    const bool done =
        owner && done_with(PyObject_CallMethod(owner, "_complain", "OO", exception, where));
    Py_XDECREF(owner);
    Py_DECREF(exception);
    return done;
}

/* Flush all that is in the tick, as flush_since() does. `written` is an empty list, which takes
   what is flushed. An exception does not end this. Return false with the last exception set. */
static bool
flush_tick(Port *self, PyObject *written)
{
    Finally block;
    begin_finally(&block);
    exchange_items(written, self->tick);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(written); i++) {
        PyObject *port = PyList_GET_ITEM(written, i);
        if (!done_with(Py_TYPE(port) == Py_TYPE(self)
                           ? port_end_of_tick(port, NULL)
                           : PyObject_CallMethod(port, "_end_of_tick", NULL))) {
            end_finally(&block);
            begin_finally(&block);
        }
    }
    return end_finally(&block);
}

/* Let packets wait behind those that are pending. Return false with an exception set, if there is one. */
static bool
keep_pending(Port *self, PyObject *packets)
{
    Finally block;
    begin_finally(&block);
    if (PyList_GET_SIZE(self->pending))
        PyList_SetSlice(self->pending, PY_SSIZE_T_MAX, PY_SSIZE_T_MAX, packets);
    else
        exchange_items(self->pending, packets); /* this takes no memory */
    return end_finally(&block);
}

/* Give the protocol these packets. Nothing else is pending, and no other delivery is under way. */
static bool
deliver(Port *self, PyObject *packets)
{
    PyObject *written = PyList_New(0); /* made before the tick begins: a finalizer may write */
    if (!written || PyList_Append(self->tick, (PyObject *)self)) {
        Py_XDECREF(written);
        return keep_pending(self, packets); /* the next call delivers them, with what it reads */
    }
    self->due = true;
    PyObject *name = Py_NewRef(self->callback);
    bool done = hand_over(self, name, packets) || complain(self, name);
    Py_DECREF(name);
    while (done && PyList_GET_SIZE(self->pending) && self->reading)
        done = done_with(leave_to_twin(self, "_hand_over", NULL));
    const bool flushed = flush_tick(self, written);
    Py_DECREF(written);
    return done && flushed;
}

/* Let the twin deliver the packets, or keep them until they can be delivered. */
static bool
deliver_late(Port *self, PyObject *packets)
{
    return keep_pending(self, packets) && done_with(leave_to_twin(self, "deliver", NULL));
}
