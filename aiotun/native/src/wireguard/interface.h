/* The types of an interface, its peers and their sessions, with the methods that Python calls. */

#pragma once

#include <Python.h>

#include "opening.h"
#include "sealing.h"

/* What is done for objects of an interface: those of the tuple that are left, as a list. */
typedef PyObject *(*ForPeers)(InterfaceState *self, const Types *types, PyObject *tuple, double now);

/* Whether a method was given so many arguments, and none by its name. Return false with an exception
   set. */
static bool
takes(Py_ssize_t wanted, Py_ssize_t count, PyObject *names)
{
    if (count != wanted || names)
        PyErr_Format(PyExc_TypeError, "this takes %zd arguments, and none by its name", wanted);
    return count == wanted && !names;
}

/* The method by which Python has it done, with the objects and the time. */
static PyObject *
done_for_peers(ForPeers what, PyObject *self, PyTypeObject *base, PyObject *const *arguments,
               Py_ssize_t count, PyObject *names)
{
    if (!takes(2, count, names))
        return NULL;
    const double now = PyFloat_AsDouble(arguments[1]);
    PyObject *tuple = PyErr_Occurred() ? NULL : PySequence_Tuple(arguments[0]);
    PyObject *left =
        tuple ? what((InterfaceState *)self, PyType_GetModuleState(base), tuple, now) : NULL;
    Py_XDECREF(tuple);
    return left;
}

static PyObject *
interface_seal_for_peers(PyObject *self, PyTypeObject *base, PyObject *const *arguments, Py_ssize_t count,
                         PyObject *names)
{
    return done_for_peers(seal_for_peers, self, base, arguments, count, names);
}

static PyObject *
interface_open_from_peers(PyObject *self, PyTypeObject *base, PyObject *const *arguments, Py_ssize_t count,
                          PyObject *names)
{
    return done_for_peers(open_from_peers, self, base, arguments, count, names);
}

static PyMethodDef interface_methods[] = {
    {"seal_for_peers", (PyCFunction)(void (*)(void))interface_seal_for_peers,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, NULL},
    {"open_from_peers", (PyCFunction)(void (*)(void))interface_open_from_peers,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, NULL},
    {0},
};

static PyMethodDef no_methods[] = {{0}};

STATE(session, SessionState, "SessionState", no_methods);
STATE(peer, PeerState, "PeerState", no_methods);
STATE(interface, InterfaceState, "InterfaceState", interface_methods);
