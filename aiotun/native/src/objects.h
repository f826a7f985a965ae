/* What functions that make Python's objects have in common. */

#pragma once

#include <Python.h>

#include <stdbool.h>

_Pragma("GCC diagnostic push")
_Pragma("GCC diagnostic ignored \"-Wdeprecated-declarations\"") /* 3.11 offers no other way */
static inline void
forget_hash(PyObject *bytes)
{
    ((PyBytesObject *)bytes)->ob_shash = -1;
}
_Pragma("GCC diagnostic pop")

static bool
append(PyObject *list, PyObject *stolen)
{
    bool done = stolen && !PyList_Append(list, stolen);
    Py_XDECREF(stolen);
    return done;
}
