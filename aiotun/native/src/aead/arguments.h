/* What callers may ask for. */

#pragma once

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

/* See aead/python.py. */
enum { PAD_MAX = 65536, CONTENT_MAX = 1 << 24 };

/* A converter for PyArg_ParseTuple: an integer, as far as a Py_ssize_t reaches. */
static int
clip(PyObject *number, void *result)
{
    Py_ssize_t *clipped = result;
    *clipped = PyNumber_AsSsize_t(number, NULL);
    return *clipped != -1 || !PyErr_Occurred();
}

/* A converter for PyArg_ParseTuple: a buffer whose bytes lie one behind the other. */
static int
get_secret(PyObject *object, void *result)
{
    if (!object) {
        PyBuffer_Release(result);
        return 1;
    }
    if (!PyObject_GetBuffer(object, result, PyBUF_SIMPLE))
        return Py_CLEANUP_SUPPORTED;
    if (PyErr_ExceptionMatches(PyExc_BufferError))
        PyErr_SetString(PyExc_ValueError,
                        "the bytes of a key, and of a nonce's head, have to lie one behind the other");
    return 0;
}

static bool
check_pad(Py_ssize_t pad)
{
    if (pad < 1 || pad > PAD_MAX)
        PyErr_Format(PyExc_ValueError, "pad is 1 to %d bytes, not %zd", PAD_MAX, pad);
    return pad >= 1 && pad <= PAD_MAX;
}

static bool
check_size(Py_ssize_t size)
{
    if (size > CONTENT_MAX)
        PyErr_Format(PyExc_ValueError, "a packet has at most %d bytes, not %zd", CONTENT_MAX, size);
    return size <= CONTENT_MAX;
}

/* How many bytes of padding follow a packet of that size. */
static Py_ssize_t
padding(Py_ssize_t size, Py_ssize_t pad, Py_ssize_t limit)
{
    const Py_ssize_t missing = (pad - size % pad) % pad, room = size < limit ? limit - size : 0;
    return missing < room ? missing : room;
}

/* Read the counter of the first of `count` messages. Return false with an exception set. */
static bool
read_first_counter(PyObject *number, size_t count, uint64_t *counter)
{
    *counter = PyLong_AsUnsignedLongLong(number);
    const bool fits = !PyErr_Occurred() && !(count && *counter > UINT64_MAX - (count - 1));
    if (!fits && (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_OverflowError)))
        PyErr_SetString(PyExc_OverflowError, "a counter has 64 bits");
    return fits;
}
