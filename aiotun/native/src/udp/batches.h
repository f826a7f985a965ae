/* Datagrams in batches, each of which can leave as one message: see trains.py. */

#pragma once

#include <Python.h>

#include "../objects.h"
#include "trains.h"

/* Cut a list of bytes into lists, each of which can be one message. */
static PyObject *
native_batches(PyObject *Py_UNUSED(module), PyObject *list)
{
    if (!PyList_Check(list))
        return PyErr_Format(PyExc_TypeError, "datagrams come in a list");
    PyObject *datagrams = PyList_GetSlice(list, 0, PyList_GET_SIZE(list)); /* a private copy */
    PyObject *batches = datagrams ? PyList_New(0) : NULL;
    Py_ssize_t first = 0;
    Train train = {0};
    for (Py_ssize_t i = 0; batches && i < PyList_GET_SIZE(datagrams); i++) {
        PyObject *datagram = PyList_GET_ITEM(datagrams, i);
        if (!PyBytes_Check(datagram)) {
            PyErr_Format(PyExc_TypeError, "a datagram is bytes, not %s",
                         Py_TYPE(datagram)->tp_name);
            Py_CLEAR(batches);
            break;
        }
        const Py_ssize_t length = PyBytes_GET_SIZE(datagram);
        if (!train_takes(&train, (size_t)length) && i) {
            if (!append(batches, PyList_GetSlice(datagrams, first, i)))
                Py_CLEAR(batches);
            first = i;
        }
    }
    if (batches && first < PyList_GET_SIZE(datagrams) &&
        !append(batches, PyList_GetSlice(datagrams, first, PyList_GET_SIZE(datagrams))))
        Py_CLEAR(batches);
    Py_XDECREF(datagrams);
    return batches;
}
