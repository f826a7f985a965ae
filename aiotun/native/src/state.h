/* The module's state, and what the functions have in common that Python calls. */

#pragma once

#include <Python.h>

#include "kept.h"

typedef struct {
    PyObject *checksum, *gso_split; /* the twins, once they were needed; they do what is rare */
    PyTypeObject *table_type, *counts_type, *udp_counts_type, *port_type, *messages_type,
        *item_counts_type, *source_type, *call_type, *rewrite_type;
    PyObject *super_packet; /* the type SuperPacket, once it was needed */
    Kept kept;
} State;

static PyObject *
import_from(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    if (!imported)
        return NULL;
    PyObject *found = PyObject_GetAttrString(imported, name);
    Py_DECREF(imported);
    return found;
}

/* Return a Python twin, as a borrowed reference. It is imported when it is first needed, because
   this module is loaded before the twins' modules. */
static PyObject *
twin(PyObject **found, const char *module, const char *name)
{
    if (!*found) {
        PyObject *imported = import_from(module, name);
        Py_XSETREF(*found, imported); /* another call may have found it meanwhile */
    }
    return *found;
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

static bool
is_tap(PyObject *layer)
{
    return PyUnicode_Check(layer) && !PyUnicode_CompareWithASCIIString(layer, "tap");
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
