/* Exceptions that are put aside while something else is done, and raised again. */

#pragma once

#include <Python.h>

#include <stdbool.h>

/* Return the exception that is set, or NULL, and set none. */
static PyObject *
take_exception(void)
{
    if (!PyErr_Occurred())
        return NULL;
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *exception, *traceback;
    PyErr_Fetch(&type, &exception, &traceback);
    PyErr_NormalizeException(&type, &exception, &traceback);
    if (traceback)
        PyException_SetTraceback(exception, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return exception;
#endif
}

/* Set an exception as it was taken. PyErr_SetObject would give it what is handled here as its context. */
static void
raise_exception(PyObject *stolen)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(stolen);
#else
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(stolen)), stolen, PyException_GetTraceback(stolen));
#endif
}

/* A `finally`: what is raised in it has the exception before it as its context. */
typedef struct {
    PyObject *exception, *type, *value, *traceback; /* the last three are what was handled before */
} Finally;

static void
begin_finally(Finally *block)
{
    block->exception = take_exception();
    if (!block->exception)
        return;
    PyErr_GetExcInfo(&block->type, &block->value, &block->traceback);
    PyErr_SetExcInfo(Py_NewRef((PyObject *)Py_TYPE(block->exception)), Py_NewRef(block->exception),
                     PyException_GetTraceback(block->exception));
}

/* Return false with an exception set, if there is one: from within, or else from before. */
static bool
end_finally(Finally *block)
{
    if (!block->exception)
        return !PyErr_Occurred();
    PyErr_SetExcInfo(block->type, block->value, block->traceback);
    if (PyErr_Occurred())
        Py_DECREF(block->exception);
    else
        raise_exception(block->exception);
    return false;
}
