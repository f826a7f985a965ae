/* The module's state, and what the functions have in common that Python calls. */

#pragma once

#include <Python.h>

#include <limits.h>
#include <math.h>

#include "kept.h"

typedef struct {
    PyObject *checksum, *gso_split; /* the twins, once they were needed; they do what is rare */
    PyTypeObject *table_type, *counts_type, *udp_counts_type, *port_type, *messages_type,
        *item_counts_type, *source_type, *call_type, *rewrite_type;
    PyObject *super_packet; /* the type SuperPacket, once it was needed */
    KeptByThread kept;
} State;

/* Return what is kept for the calling thread by the module. */
static Kept *
kept_by(PyObject *module)
{
    return kept_here(&((State *)PyModule_GetState(module))->kept);
}

/* Return what a module in Python has by that name, as a borrowed reference. It is imported when it is
   first needed, because this module is loaded before those. */
static PyObject *
imported(PyObject **kept, const char *from, const char *name)
{
    if (!*kept) {
        PyObject *module = PyImport_ImportModule(from);
        PyObject *found = module ? PyObject_GetAttrString(module, name) : NULL;
        Py_XDECREF(module);
        Py_XSETREF(*kept, found); /* another call may have found it meanwhile */
    }
    return *kept;
}

/* A converter for PyArg_ParseTuple. It takes None, or a tuple of the numbers for IPv4 and IPv6. */
static int
to_families(PyObject *object, void *result)
{
    Families *families = result;
    unsigned v4, v6;
    *families = NO_FAMILIES;
    if (object == Py_None)
        return true;
    if (!PyTuple_Check(object))
        PyErr_SetString(PyExc_TypeError, "families are a tuple, or None");
    else if (PyArg_ParseTuple(object, "II", &v4, &v6)) {
        put32(families->v4, v4);
        put32(families->v6, v6);
        return families->any = true;
    }
    return false;
}

/* How to wait; `wait` is NULL, or it points to `room`. */
typedef struct {
    Wait room, *wait;
} Waiting;

/* For PyArg_ParseTuple's "O&". It takes None, or a tuple of seconds, None without end, and a tuple of what
   has descriptors that end the wait. */
static int
to_waiting(PyObject *object, void *result)
{
    Waiting *waiting = result;
    *waiting = (Waiting){0};
    if (object == Py_None)
        return true;
    PyObject *seconds, *interrupts;
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a wait is a tuple, or None");
        return false;
    }
    if (!PyArg_ParseTuple(object, "OO!", &seconds, &PyTuple_Type, &interrupts))
        return false;
    if (PyTuple_GET_SIZE(interrupts) > INTERRUPTS_MAX) {
        PyErr_SetString(PyExc_ValueError, "too many interrupts");
        return false;
    }
    waiting->wait = &waiting->room;
    if (seconds == Py_None)
        waiting->room.milliseconds = -1;
    else {
        const double number = ceil(1000 * PyFloat_AsDouble(seconds));
        if (PyErr_Occurred())
            return false;
        waiting->room.milliseconds = number > 0 ? number < INT_MAX ? (int)number : INT_MAX : 0;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(interrupts); i++) {
        const int fd = PyObject_AsFileDescriptor(PyTuple_GET_ITEM(interrupts, i));
        if (fd < 0)
            return false;
        waiting->room.interrupts[waiting->room.count++] = fd;
    }
    return true;
}

/* For PyArg_ParseTuple's "O&": whether a layer is that of a TAP, as check_layer in headers.py does. */
static int
to_tap(PyObject *layer, void *tap)
{
    const bool is_str = PyUnicode_Check(layer);
    *(bool *)tap = is_str && !PyUnicode_CompareWithASCIIString(layer, "tap");
    if (*(bool *)tap || (is_str && !PyUnicode_CompareWithASCIIString(layer, "tun")))
        return true;
    PyErr_Format(PyExc_ValueError, "a layer is 'tun' or 'tap', not %R", layer);
    return false;
}

/* Return the packets as a tuple, which no one else can change. Raise TypeError unless each is
   bytes. */
static PyObject *
tuple_of_bytes(PyObject *packets)
{
    PyObject *tuple = PySequence_Tuple(packets);
    if (!tuple)
        return NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
        PyObject *packet = PyTuple_GET_ITEM(tuple, i);
        if (!PyBytes_Check(packet)) {
            PyErr_Format(PyExc_TypeError, "a packet is bytes, not %s", Py_TYPE(packet)->tp_name);
            Py_DECREF(tuple);
            return NULL;
        }
    }
    return tuple;
}
