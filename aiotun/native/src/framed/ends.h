/* ItemSource and ItemSink: see sources.py and sinks.py. */

#pragma once

#include <Python.h>
#include <structmember.h>

#include "calls.h"

static PyObject *
source_recv(PyObject *self, PyObject *Py_UNUSED(none))
{
    return new_call(self, NULL, &RECEIVE);
}

static PyObject *
source_anext(PyObject *self)
{
    return new_call(self, NULL, &NEXT);
}

static PyObject *
sink_send(PyObject *self, PyObject *item)
{
    return new_call(self, item, &SEND);
}

static PyObject *
sink_put(PyObject *object, PyObject *items)
{
    ItemEnd *self = (ItemEnd *)object;
    PyObject *iterator = is_bound(self) ? PyObject_GetIter(items) : NULL, *item;
    if (!iterator)
        return NULL;
    Py_ssize_t count = 0;
    bool done = true;
    while (done && (item = PyIter_Next(iterator))) {
        done = put_item(self, item);
        count += done;
        Py_DECREF(item);
    }
    Py_DECREF(iterator);
    if (!done)
        raise_no_stop("generator");
    return PyErr_Occurred() ? NULL : PyLong_FromSsize_t(count);
}

/* Set all that calls need: the twin's type, the protocol, decode or encode (None if an item is its
   packet), the counters; of a source the errors that wait and their type; of a sink the port. To be
   called once. */
static PyObject *
end_bind(PyObject *object, PyTypeObject *base, PyObject *const *arguments, Py_ssize_t count,
         PyObject *Py_UNUSED(names))
{
    ItemEnd *self = (ItemEnd *)object;
    State *state = PyType_GetModuleState(base);
    const bool source = base == state->source_type;
    if (self->call_type || count != (source ? 6 : 5))
        return PyErr_Format(PyExc_RuntimeError, "an end is bound once, to all that it needs");
    if (!PyObject_TypeCheck(arguments[1], state->messages_type) ||
        !PyObject_TypeCheck(arguments[3], state->item_counts_type) ||
        !(source || (PyObject_TypeCheck(arguments[4], state->port_type) &&
                     ((Port *)arguments[4])->base)))
        return PyErr_Format(PyExc_TypeError, "this is nothing to bind an end to");
    if (source && !(self->popleft = PyUnicode_InternFromString("popleft")))
        return NULL;
    self->twin = Py_NewRef(arguments[0]);
    self->protocol = (Messages *)Py_NewRef(arguments[1]);
    self->convert = arguments[2] == Py_None ? NULL : Py_NewRef(arguments[2]);
    self->counts = (ItemCounts *)Py_NewRef(arguments[3]);
    if (source) {
        self->errors = Py_NewRef(arguments[4]);
        self->codec_error = Py_NewRef(arguments[5]);
    }
    else
        self->port = (Port *)Py_NewRef(arguments[4]);
    self->call_type = (PyTypeObject *)Py_NewRef(state->call_type);
    Py_RETURN_NONE;
}

static int
end_traverse(PyObject *object, visitproc visit, void *arg)
{
    const ItemEnd *self = (ItemEnd *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->call_type);
    Py_VISIT(self->twin);
    Py_VISIT(self->protocol);
    Py_VISIT(self->convert);
    Py_VISIT(self->counts);
    Py_VISIT(self->errors);
    Py_VISIT(self->codec_error);
    Py_VISIT(self->port);
    return 0;
}

/* An end that the collector clears is unbound: nothing that calls use is NULL after `call_type`
   is set. */
static int
end_clear(PyObject *object)
{
    ItemEnd *self = (ItemEnd *)object;
    Py_CLEAR(self->call_type);
    Py_CLEAR(self->twin);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->convert);
    Py_CLEAR(self->counts);
    Py_CLEAR(self->errors);
    Py_CLEAR(self->codec_error);
    Py_CLEAR(self->popleft);
    Py_CLEAR(self->port);
    return 0;
}

static void
end_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    end_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef end_members[] = {
    {"closed", T_BOOL, offsetof(ItemEnd, closed), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

#define BIND                                                                                       \
    {"_bind", (PyCFunction)(void (*)(void))end_bind, METH_METHOD | METH_FASTCALL | METH_KEYWORDS, NULL}

static PyMethodDef source_methods[] = {
    BIND,
    {"recv", source_recv, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef sink_methods[] = {
    BIND,
    {"send", sink_send, METH_O, NULL},
    {"put", sink_put, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot source_slots[] = {
    {Py_am_anext, source_anext},
    {Py_tp_members, end_members},
    {Py_tp_methods, source_methods},
    {Py_tp_traverse, end_traverse},
    {Py_tp_clear, end_clear},
    {Py_tp_dealloc, end_dealloc},
    {0, NULL},
};

static PyType_Slot sink_slots[] = {
    {Py_tp_members, end_members},
    {Py_tp_methods, sink_methods},
    {Py_tp_traverse, end_traverse},
    {Py_tp_clear, end_clear},
    {Py_tp_dealloc, end_dealloc},
    {0, NULL},
};

enum { END_FLAGS = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
                   Py_TPFLAGS_IMMUTABLETYPE };

static PyType_Spec source_spec = {
    .name = "aiotun.native._native.ItemSource",
    .basicsize = sizeof(ItemEnd),
    .flags = END_FLAGS,
    .slots = source_slots,
};

static PyType_Spec sink_spec = {
    .name = "aiotun.native._native.ItemSink",
    .basicsize = sizeof(ItemEnd),
    .flags = END_FLAGS,
    .slots = sink_slots,
};
