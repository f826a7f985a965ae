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

/* Make a tuple. The references are taken over; if one is NULL, so is the tuple. */
static inline PyObject *
tuple_of(Py_ssize_t count, PyObject *const *stolen)
{
    PyObject *tuple = PyTuple_New(count);
    bool whole = tuple;
    for (Py_ssize_t i = 0; i < count; i++) {
        whole = whole && stolen[i];
        if (tuple)
            PyTuple_SET_ITEM(tuple, i, stolen[i]);
        else
            Py_XDECREF(stolen[i]);
    }
    if (!whole)
        Py_CLEAR(tuple);
    return tuple;
}

#ifdef Py_GIL_DISABLED /* lists have memory of another kind there, and none is reserved */
static bool
reserve(PyObject *Py_UNUSED(list), Py_ssize_t Py_UNUSED(room))
{
    return true;
}

static bool
append(PyObject *list, PyObject *stolen)
{
    bool done = stolen && !PyList_Append(list, stolen);
    Py_XDECREF(stolen);
    return done;
}
#else
/* Have room in a list for so many items in all: to append them does not fail then. Return false with an
   exception set. */
static bool
reserve(PyObject *list, Py_ssize_t room)
{
    PyListObject *to = (PyListObject *)list;
    if (room <= to->allocated)
        return true;
    PyObject **items = PyMem_Realloc(to->ob_item, (size_t)room * sizeof *items);
    if (!items) {
        PyErr_NoMemory();
        return false;
    }
    to->ob_item = items;
    to->allocated = room;
    return true;
}

/* Append to a list. Return false with an exception set. */
static bool
append(PyObject *list, PyObject *stolen)
{
    PyListObject *to = (PyListObject *)list;
    const Py_ssize_t size = Py_SIZE(to);
    /* What gathers packets soon has many. */
    if (stolen && size == to->allocated && !reserve(list, 4 * size + 4))
        Py_CLEAR(stolen);
    if (stolen) {
        PyList_SET_ITEM(list, size, stolen);
        Py_SET_SIZE(to, size + 1);
    }
    return stolen;
}
#endif

/* Let go of a list's last items, until so many are left. No memory is needed for it. */
static inline void
shorten(PyObject *list, Py_ssize_t size)
{
    for (Py_ssize_t last = PyList_GET_SIZE(list); last-- > size;) {
        PyObject *item = PyList_GET_ITEM(list, last);
        Py_SET_SIZE(list, last);
        Py_DECREF(item);
    }
}

/* Exchange what two lists hold. Neither is looked at by another thread meanwhile. */
static inline void
exchange_items(PyObject *one, PyObject *other)
{
    PyListObject *a = (PyListObject *)one, *b = (PyListObject *)other;
    PyObject **const items = a->ob_item;
    const Py_ssize_t size = Py_SIZE(a), allocated = a->allocated;
    a->ob_item = b->ob_item;
    a->allocated = b->allocated;
    Py_SET_SIZE(a, Py_SIZE(b));
    b->ob_item = items;
    b->allocated = allocated;
    Py_SET_SIZE(b, size);
}

/* Let go of what a call returned. Return whether it returned anything: else an exception is set. */
static inline bool
done_with(PyObject *result)
{
    Py_XDECREF(result);
    return result;
}
