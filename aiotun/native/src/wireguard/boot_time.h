/* The clock that goes on while the system sleeps. */

#pragma once

#include <Python.h>

#ifdef __linux__

#include <time.h>

/* time.clock_gettime(CLOCK_BOOTTIME). That one looks more up, which takes long after an idle while. */
static PyObject *
boot_time(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    struct timespec now;
    if (clock_gettime(CLOCK_BOOTTIME, &now))
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyFloat_FromDouble((double)(now.tv_sec * INT64_C(1000000000) + now.tv_nsec) / 1e9);
}

#endif
